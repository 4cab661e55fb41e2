"""The manifest: what a finished dataset is. It is written last; without it there is no dataset.

It holds nothing that depends on time, runner or number of workers, so that two conversions of one
plan leave the same manifest, too.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import Any

from . import files, schema
from .content import content_digest
from .errors import DatasetError, OutputError, UsageError
from .plan import Plan
from .source import check_name, check_version
from .tfrecord import index_path

MANIFEST = "manifest.json"
# The same bytes once more: should one of the two be damaged, the other says what was.
MANIFEST_COPY = "manifest.copy.json"
MANIFEST_FORMAT = 1


@dataclass(frozen=True)
class ShardEntry:
    """A shard of a finished dataset.

    Attributes:
      file: Its name in the dataset's folder.
      bad_records: How many of those planned for it were set aside.
      num_bytes: Its size as stored.
      sha256: Of the file, in hexadecimal.
      crc32c: Of the file, in hexadecimal.
      content: Digest of its records, whatever their order; see `content`.
    """

    file: str
    records: int
    bad_records: int
    num_bytes: int
    sha256: str
    crc32c: str
    content: str


@dataclass(frozen=True)
class Manifest:
    """A finished dataset.

    Attributes:
      plan: What it was made from.
      sources: Each source file: name, num_bytes, sha256.
      splits: The shards of each split, in order.
      counters: Sums over all shards.
      versions: Of what took part.
      files: SHA-256, in hexadecimal, of each file beside the shards that doesn't follow from the
        manifest itself, by its name relative to the folder: statistics, a transform.
    """

    plan: Plan
    sources: tuple[dict[str, Any], ...]
    splits: dict[str, tuple[ShardEntry, ...]]
    counters: dict[str, int]
    versions: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 over the digests of all shards in order, in hexadecimal."""
        text = "".join(
            f"{split} {shard.sha256}\n" for split, shards in self.splits.items() for shard in shards
        )
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def content_digest(self) -> str:
        """What depends on the records of each split alone, not on their order or on shards."""
        splits = self.splits.items()
        return content_digest({s: [shard.content for shard in shards] for s, shards in splits})

    def count(self, split: str) -> int:
        """Number of records of a split."""
        return sum(shard.records for shard in self.splits[split])

    def to_json(self) -> dict[str, Any]:
        """The manifest as JSON values."""
        value: dict[str, Any] = json.loads(self.to_bytes())
        return value

    def to_bytes(self) -> bytes:
        """The content of its file."""
        return _signed(self._content())

    def _content(self) -> dict[str, Any]:
        plan = self.plan
        return {
            "format": MANIFEST_FORMAT,
            "name": plan.name,
            "version": plan.version,
            "digest": self.digest,
            "content_digest": self.content_digest,
            "plan_digest": plan.digest(),
            "splits": {
                split: {
                    "records": self.count(split),
                    "num_bytes": sum(shard.num_bytes for shard in shards),
                    "shards": [asdict(shard) for shard in shards],
                }
                for split, shards in self.splits.items()
            },
            "layout": asdict(plan.layout) if plan.fixed else None,
            "counters": self.counters,
            "sources": list(self.sources),
            "versions": self.versions,
            "files": self.files,
            "plan": plan.to_json(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any], path: str) -> Manifest:
        """The reverse of `to_json`.

        Raises:
          DatasetError: It is not a manifest, or contradicts itself.
        """
        try:
            manifest = cls(
                plan=Plan.from_json(value["plan"]),
                sources=tuple(value["sources"]),
                splits={
                    split: tuple(ShardEntry(**shard) for shard in entry["shards"])
                    for split, entry in value["splits"].items()
                },
                counters=dict(value["counters"]),
                versions=dict(value["versions"]),
                files=dict(value["files"]),
            )
            manifest._content()
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise DatasetError(
                f"{path}: not a manifest of recordmill ({error!r}); repair the dataset, or convert "
                "it again"
            ) from error
        _check_names(manifest, path)
        return manifest


def _check_names(manifest: Manifest, path: str) -> None:
    """What becomes part of a path must be what the plan makes of it, and lead nowhere else."""
    plan = manifest.plan
    try:
        check_name("name", plan.name)
        check_version(plan.version)
        for split in plan.splits:
            check_name("split", split.name)
        for feature in plan.features:
            check_name("feature", feature.name)
        for name in manifest.files:
            if not name or name[0] == "/" or {"", ".", ".."} & set(name.split("/")):
                raise UsageError(f"file {name!r} leads outside of its folder")
    except UsageError as error:
        raise DatasetError(f"{path}: {error}; do not trust this dataset") from error
    wanted = {split.name: [*map(plan.shard_name, split.shards())] for split in plan.splits}
    found = {split: [shard.file for shard in shards] for split, shards in manifest.splits.items()}
    if found != wanted:
        raise DatasetError(
            f"{path}: names other shards than its plan does; do not trust this dataset"
        )


def versions() -> dict[str, str]:
    """Versions of what makes the bytes."""
    names = ("recordmill", "apache-beam", "numpy")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in names}}


def _text(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def _signed(value: dict[str, Any]) -> bytes:
    """JSON whose last key is the SHA-256 of the same without it.

    >>> list(json.loads(_signed({"a": 1})))
    ['a', 'checksum']
    """
    # Encoding is what takes long of a manifest of thousands of files, so it happens once.
    text = _text(value)
    checksum = hashlib.sha256(text).hexdigest()
    return text.removesuffix(b"\n}\n") + f',\n "checksum": "{checksum}"\n}}\n'.encode()


def write_json(path: str, value: Any) -> None:
    """Replaces a JSON file in one step."""
    files.write_bytes(path, _text(value))


def read_json(path: str) -> Any:
    """What a JSON file holds."""
    return json.loads(files.read_bytes(path))


def load_manifest(folder: str) -> Manifest:
    """Reads the manifest of a dataset.

    Raises:
      DatasetError: None is there, or it is damaged.
    """
    path = files.join(folder, MANIFEST)
    if not files.exists(path):
        raise DatasetError(
            f"{folder}: no {MANIFEST}, so this is no finished dataset; a conversion that was "
            "stopped is finished by starting the same convert command again"
        )
    content = files.read_bytes(path)
    return parse_manifest(content, path)


def parse_manifest(content: bytes, path: str) -> Manifest:
    """A manifest from its file's content.

    Raises:
      DatasetError: It is damaged, or of another version of recordmill.
    """
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: not JSON ({error}); repair the dataset") from error
    if not isinstance(value, dict) or value.get("format") != MANIFEST_FORMAT:
        raise DatasetError(
            f"{path}: not a manifest of format {MANIFEST_FORMAT}; it was made by another version "
            "of recordmill, or damaged: convert again"
        )
    # Written again, it must come out as it stands there: no byte of it is without meaning. This
    # comes before anything in it is believed.
    value.pop("checksum", None)
    if _signed(value) != content:
        raise _changed(path)
    manifest = Manifest.from_json(value, path)
    if manifest.to_bytes() != content:
        raise _changed(path)
    return manifest


def _changed(path: str) -> DatasetError:
    return DatasetError(
        f"{path}: its checksum does not fit; it was changed after it was written: repair the "
        "dataset, or convert it again"
    )


def make_manifest(
    plan: Plan,
    receipts: Iterable[Any],
    sources: Iterable[tuple[str, int, str]],
    beside: Mapping[str, str] | None = None,
    counters: Mapping[str, int] | None = None,
) -> Manifest:
    """Compares what was written with what was planned, and tells it.

    Args:
      plan: What was planned.
      receipts: `write.Receipt` of each shard, in any order.
      sources: `(name, bytes, sha256)` of each source file, in any order.
      beside: See `Manifest.files`.
      counters: More of them.

    Raises:
      OutputError: A shard is missing or of another number of records: the runner lost elements.
    """
    by_shard = {(receipt.split, receipt.index): receipt for receipt in receipts}
    splits: dict[str, tuple[ShardEntry, ...]] = {}
    for split in plan.splits:
        entries = []
        for shard in split.shards():
            receipt = by_shard.get((split.name, shard.index))
            if receipt is None or receipt.records + len(receipt.bad) != shard.count:
                raise OutputError(
                    f"{plan.shard_name(shard)}: {receipt.records if receipt else 'no'} records "
                    f"were written of {shard.count} planned: the runner lost elements; start the "
                    "same command again, with another runner or --direct_running_mode=in_memory"
                )
            entries.append(
                ShardEntry(
                    plan.shard_name(shard),
                    receipt.records,
                    len(receipt.bad),
                    receipt.num_bytes,
                    receipt.sha256,
                    receipt.crc32c,
                    receipt.content,
                )
            )
        splits[split.name] = tuple(entries)
    shards = [shard for entries in splits.values() for shard in entries]
    indexes = {
        index_path(receipt.path).rpartition("/")[2]: receipt.index_sha256
        for receipt in by_shard.values()
        if receipt.index_sha256
    }
    return Manifest(
        plan=plan,
        sources=tuple(
            {"name": name, "num_bytes": num_bytes, "sha256": sha256}
            for name, num_bytes, sha256 in sorted(set(sources))
        ),
        splits=splits,
        counters={
            "bad_records": sum(shard.bad_records for shard in shards),
            "records": sum(shard.records for shard in shards),
            "num_bytes": sum(shard.num_bytes for shard in shards),
            "shards": len(shards),
            **(counters or {}),
        },
        versions=versions(),
        files=dict(sorted({**(beside or {}), **indexes}.items())),
    )


def check_shards(folder: str, manifest: Manifest) -> None:
    """Compares each shard's size with the manifest's.

    Raises:
      DatasetError: A shard is missing, or of another size.
    """
    for shards in manifest.splits.values():
        for shard in shards:
            path = files.join(folder, shard.file)
            found = files.match(path)
            size = found[0][1] if found else None
            if size != shard.num_bytes:
                what = "is missing" if size is None else f"has {size} bytes"
                raise DatasetError(
                    f"{path}: {what}, the manifest says {shard.num_bytes} bytes; repair the "
                    "dataset with: recordmill repair"
                )


def metadata_files(manifest: Manifest) -> dict[str, bytes]:
    """Content by name of the files beside the shards that follow from the manifest alone."""
    plan = manifest.plan
    splits = [
        (name, sum(s.num_bytes for s in shards), [s.records for s in shards])
        for name, shards in manifest.splits.items()
    ]
    info = schema.dataset_info_json(plan.name, plan.version, plan.description, splits)
    texts = {
        "schema.pbtxt": schema.schema_pbtxt(plan.features),
        **schema.label_files(plan.features),
    }
    return {
        "dataset_info.json": _text(info),
        "features.json": _text(schema.features_json(plan.features)),
        **{name: text.encode() for name, text in texts.items()},
        MANIFEST_COPY: manifest.to_bytes(),
    }


def publish(folder: str, manifest: Manifest) -> None:
    """Writes the metadata of a dataset, the manifest last."""
    made = metadata_files(manifest)
    for name, content in made.items():
        files.write_bytes(files.join(folder, name), content)
    files.write_bytes(files.join(folder, MANIFEST), made[MANIFEST_COPY])
