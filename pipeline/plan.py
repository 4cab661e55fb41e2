"""Options and headers become a Plan: every shard's records, bytes and name, before data moves.

Of lists of varying length, the lengths are read as well. The bytes of a shard are a function of
the plan and the shard's number. Nothing else may enter: not the runner, not the number of
workers, not the time, not the folder in which the input lies. The digest covers just what decides
the bytes.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import example, idx, sequence
from .carry import Carried, carried_from_json
from .division import DividedOrder, Division, make_order
from .errors import UsageError
from .features import Feature, RecordType
from .idx import IdxHeader
from .options import Compression, Materialize, OnBadRecord, Shuffle
from .order import Order, even_ranges
from .rules import Rules, load_rule
from .source import SourceFile

PLAN_FORMAT = 1
BLOCK_BYTES = 2 << 20
# Where records differ in length, the largest block may be this many times the usual one.
LONGEST_BLOCKS = 16


@dataclass(frozen=True)
class Shard:
    """A shard to be written: the records at positions `[start, stop)` of its source's order.

    >>> Shard("train", index=0, num_shards=8, start=0, stop=7500).count
    7500
    """

    split: str
    index: int
    num_shards: int
    start: int
    stop: int

    @property
    def count(self) -> int:
        """Number of records."""
        return self.stop - self.start


@dataclass(frozen=True)
class Split:
    """A split of the output: a range of positions of a source split, cut into shards.

    Attributes:
      cuts: Where shards that are cut by bytes meet; () where all records are of one length.
      shard_bytes: Bytes of each shard, before compression; () where a stride tells them.
      longest_bytes: Of the longest record; 0 where a stride tells it.
    """

    name: str
    source: str
    start: int
    stop: int
    num_shards: int
    cuts: tuple[int, ...] = ()
    shard_bytes: tuple[int, ...] = ()
    longest_bytes: int = 0

    @property
    def count(self) -> int:
        """Number of records."""
        return self.stop - self.start

    def shards(self) -> list[Shard]:
        """The shards in order; not cut by bytes, their lengths differ by one record at most."""
        bounds = (self.start, *self.cuts, self.stop)
        ranges = list(itertools.pairwise(bounds))
        if not self.cuts:
            ranges = even_ranges(self.start, self.stop, self.num_shards)
        return [
            Shard(self.name, index, self.num_shards, start, stop)
            for index, (start, stop) in enumerate(ranges)
        ]


@dataclass(frozen=True)
class Preprocess:
    """A preprocessing by tensorflow-transform.

    Attributes:
      module: "default", or the name of the user's module.
      sha256: Of the user's module, in hexadecimal.
      materialize: Whether the shards hold the "raw" Examples or the "transformed" ones.
      raw_features: What the raw Examples hold, and `preprocessing_fn` is given.
      path: Of the user's module; "" where the plan comes from a manifest, whose word is no reason
        to run a file.
    """

    module: str
    sha256: str
    materialize: Materialize
    raw_features: tuple[Feature, ...]
    path: str = field(default="", repr=False, compare=False)


@dataclass(frozen=True)
class Plan:
    """Everything that decides the bytes of a dataset, and where its input lies.

    Attributes:
      sources: source split -> column -> files.
      splits: Those of the output; "validation" has "train" as its source.
      preprocess: What comes before training; None where nothing does.
      division: How validation was chosen, where the order alone does not.
      folds: Views of train that readers are offered.
      carried: Files that travel with the dataset.
    """

    name: str
    version: str
    description: str
    features: tuple[Feature, ...]
    sources: dict[str, dict[str, tuple[SourceFile, ...]]]
    splits: tuple[Split, ...]
    shuffle: Shuffle
    seed: int
    compression: Compression
    on_bad_record: OnBadRecord = "fail"
    max_bad_fraction: float = 0.01
    allow_nan: bool = False
    rule: str = ""
    rule_code: str = field(default="", repr=False)

    @property
    def rules(self) -> Rules:
        """Which records are bad, and what becomes of them.

        Raises:
          UsageError: The plan comes from a manifest, which has no code, and it has a rule.
        """
        if self.rule and not self.rule_code:
            raise UsageError(
                f"the records were chosen by a rule, {self.rule}: give --rule "
                "path/to/module.py:function, the same file as then"
            )
        return Rules(
            skip=self.on_bad_record == "skip",
            allow_nan=self.allow_nan,
            rule=self.rule,
            code=self.rule_code,
            max_bad=self.max_bad,
        )

    @property
    def max_bad(self) -> int:
        """How many bad records a run may set aside."""
        return int(self.max_bad_fraction * self.num_records)

    def with_rule(self, option: str | None) -> Plan:
        """The plan with the code of its rule, which is never taken from a file that was found.

        Raises:
          UsageError: It is not the rule that the plan was made with.
        """
        if option is None:
            return self
        name, code = load_rule(option)
        if name != self.rule:
            raise UsageError(
                f"--rule {option}: is {name}, but the records were chosen by "
                f"{self.rule or 'no rule'}"
            )
        return dataclasses.replace(self, rule_code=code)

    preprocess: Preprocess | None = None
    division: Division | None = None
    folds: int = 0
    carried: tuple[Carried, ...] = ()

    @property
    def fixed(self) -> bool:
        """Whether all records are of one length; only then is there a layout and a stride."""
        return sequence.is_fixed(self.features)

    @property
    def record_type(self) -> RecordType:
        """Which message a record is."""
        lists = any(feature.sequence == "feature_list" for feature in self.features)
        return "sequence_example" if lists else "example"

    @property
    def layout(self) -> example.Layout:
        """Where the features stand in each framed record."""
        return example.layout_of(self.features)

    @property
    def stride(self) -> int:
        """Bytes from one record to the next, before compression."""
        return self.layout.stride

    @property
    def block_records(self) -> int:
        """Records that are read, encoded and written at a time."""
        if self.fixed:
            return max(1, BLOCK_BYTES // self.stride)
        longest = max(split.longest_bytes for split in self.splits)
        mean = self.num_bytes // max(1, self.num_records)
        return max(1, BLOCK_BYTES // max(1, mean, longest // LONGEST_BLOCKS))

    @property
    def num_bytes(self) -> int:
        """Bytes of all shards, before compression."""
        if self.fixed:
            return self.num_records * self.stride
        return sum(sum(split.shard_bytes) for split in self.splits)

    @property
    def num_records(self) -> int:
        """Records of all splits."""
        return sum(split.count for split in self.splits)

    def split(self, name: str) -> Split:
        """The split of this name."""
        return next(split for split in self.splits if split.name == name)

    def source_count(self, source: str) -> int:
        """Records of a source split."""
        return sum(part.header.count for part in next(iter(self.sources[source].values())))

    def order(self, source: str) -> Order | DividedOrder:
        """Which record of a source split stands at which position."""
        count = self.source_count(source)
        division = self.division if source == "train" else None
        return make_order(self.shuffle, self.seed, source, count, division, self.sources[source])

    def source_files(self) -> list[SourceFile]:
        """Every file of the input, each once."""
        parts = (
            part
            for columns in self.sources.values()
            for parts in columns.values()
            for part in parts
        )
        return list(dict.fromkeys(parts))

    @property
    def folder(self) -> str:
        """The dataset's folder, relative to the output."""
        return f"{self.name}/{self.version}"

    def prefix(self, split: str) -> str:
        """What the names of a split's shards begin with, as TFDS names them."""
        return f"{self.name}-{split}.tfrecord"

    def shard_name(self, shard: Shard) -> str:
        """The file name of a shard."""
        return f"{self.prefix(shard.split)}-{shard.index:05d}-of-{shard.num_shards:05d}"

    def identity(self) -> dict[str, Any]:
        """What decides the bytes, as JSON values: no folder, no time, no machine."""
        plan = self.to_json()
        del plan["description"], plan["max_bad_fraction"]
        # What is as it always was leaves the digest as it always was.
        for name, value in (("on_bad_record", "fail"), ("allow_nan", False), ("rule", "")):
            if plan[name] == value:
                del plan[name]
        if self.preprocess is not None:
            # The user's file is known by its content.
            del plan["preprocess"]["module"]
        for columns in plan["sources"].values():
            for parts in columns.values():
                for part in parts:
                    del part["path"], part["version"]
        return plan

    def digest(self) -> str:
        """SHA-256 of the identity, in hexadecimal."""
        return self._digest

    @functools.cached_property
    def _digest(self) -> str:
        text = json.dumps(self.identity(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values; without code."""
        value = dataclasses.asdict(self)
        del value["rule_code"]
        if self.division is None:
            del value["division"]
        if not self.folds:
            del value["folds"]
        if self.carried:
            for one in value["carried"]:
                del one["path"]
        else:
            del value["carried"]
        if self.preprocess is None:
            del value["preprocess"]
        else:
            del value["preprocess"]["path"]
        return {"format": PLAN_FORMAT, **value}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Plan:
        """The reverse of `to_json`, also after a trip through JSON text."""
        if value.get("format") != PLAN_FORMAT:
            raise UsageError(
                f"a plan of format {value.get('format')!r}, wanted {PLAN_FORMAT}: it was made by "
                "another version of recordmill; convert again, or install that version"
            )

        def source_file(part: Mapping[str, Any]) -> SourceFile:
            header = IdxHeader(part["header"]["dtype"], tuple(part["header"]["shape"]))
            return SourceFile(**{**part, "header": header})

        return cls(
            name=value["name"],
            version=value["version"],
            description=value["description"],
            features=features_from_json(value["features"]),
            sources={
                split: {
                    column: tuple(source_file(part) for part in parts)
                    for column, parts in columns.items()
                }
                for split, columns in value["sources"].items()
            },
            splits=tuple(
                Split(
                    **{
                        **split,
                        "cuts": tuple(split["cuts"]),
                        "shard_bytes": tuple(split["shard_bytes"]),
                    }
                )
                for split in value["splits"]
            ),
            shuffle=value["shuffle"],
            seed=value["seed"],
            compression=value["compression"],
            on_bad_record=value["on_bad_record"],
            max_bad_fraction=value["max_bad_fraction"],
            allow_nan=value["allow_nan"],
            rule=value["rule"],
            preprocess=preprocess_from_json(value.get("preprocess")),
            division=Division(**value["division"]) if "division" in value else None,
            folds=value.get("folds", 0),
            carried=carried_from_json(value.get("carried", ())),
        )


def preprocess_from_json(value: Mapping[str, Any] | None) -> Preprocess | None:
    """A preprocessing from the form that `dataclasses.asdict` gives it."""
    if value is None:
        return None
    return Preprocess(**{**value, "raw_features": features_from_json(value["raw_features"])})


def features_from_json(values: list[dict[str, Any]]) -> tuple[Feature, ...]:
    """Features from the form that `dataclasses.asdict` gives them, lists for tuples or not."""
    return tuple(
        Feature(**{**value, "shape": tuple(value["shape"]), "names": tuple(value["names"])})
        for value in values
    )


def estimate_peak_bytes(plan: Plan) -> int:
    """Resident memory of one converting process: the same for a thousand times the records."""
    base = 230 << 20  # Beam, numpy and the interpreter, measured
    columns = [
        sum(part.header.count * part.header.record_bytes for part in parts)
        for by_column in plan.sources.values()
        for parts in by_column.values()
    ]
    resident = min(sum(c for c in columns if c <= idx.RESIDENT_BYTES), 2 * idx.RESIDENT_BYTES)
    if plan.fixed:
        return base + resident + 6 * max(BLOCK_BYTES, plan.stride)
    longest = max(split.longest_bytes for split in plan.splits)
    return base + resident + 6 * max(BLOCK_BYTES, plan.block_records * longest)
