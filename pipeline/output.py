"""The output's folder while a conversion is under way: whose it is, what is finished, what is left.

<output>/<name>/<version>/
    <shard>                      complete, whatever else is missing
    <shard>.tmp-…                being written
    .recordmill/plan.json        the plan that the shards here belong to
    .recordmill/lock             held by a conversion on this machine
    .recordmill/receipts/<shard>.json
    .recordmill/inflated/…       what was in gzip
    manifest.json                written last; .recordmill/ goes after it
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from . import files
from .accumulate import ColumnStatistics
from .errors import OutputError
from .manifest import MANIFEST, Manifest, load_manifest, write_json
from .plan import Plan, Shard
from .tfrecord import index_path
from .write import TEMPORARY, Receipt, digest_file, without_statistics

STATE = ".recordmill"


def state_path(folder: str, *parts: str) -> str:
    """A path below a dataset's working state."""
    return files.join(folder, STATE, *parts)


def _receipt_path(folder: str, shard_name: str) -> str:
    return state_path(folder, "receipts", f"{shard_name}.json")


def save_receipt(folder: str, receipt: Receipt) -> Receipt:
    """Notes that a shard is complete."""
    value = asdict(without_statistics(receipt))
    value["statistics"] = {name: found.to_json() for name, found in receipt.statistics.items()}
    write_json(_receipt_path(folder, receipt.path.rpartition("/")[2]), value)
    return receipt


def count_receipts(folder: str) -> int:
    """How many shards are complete."""
    return len(files.match(state_path(folder, "receipts", "*.json")))


def kept_receipt(
    folder: str, plan: Plan, shard: Shard, *, with_statistics: bool = False
) -> Receipt | None:
    """The receipt of a shard that is complete and unharmed: its bytes are read and compared.

    Args:
      folder: The dataset's.
      plan: Of the dataset.
      shard: Which one.
      with_statistics: A shard whose statistics were not taken doesn't count as complete.
    """
    path = _receipt_path(folder, plan.shard_name(shard))
    shard_path = files.join(folder, plan.shard_name(shard))
    if not files.exists(path) or not files.exists(shard_path):
        return None
    with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
        value = json.loads(files.read_bytes(path))
        found = value.pop("statistics")
        statistics = {name: ColumnStatistics.from_json(one) for name, one in found.items()}
        bad = tuple((number, reason) for number, reason in value.pop("bad"))
        receipt = Receipt(**value, statistics=statistics, bad=bad)
        if with_statistics and not statistics:
            return None
        if digest_file(shard_path) != (receipt.num_bytes, receipt.sha256, receipt.crc32c):
            return None
        if _index_fits(shard_path, receipt):
            return receipt
    return None


def _index_fits(shard_path: str, receipt: Receipt) -> bool:
    path = index_path(shard_path)
    return not receipt.index_sha256 or (
        files.exists(path) and digest_file(path)[1] == receipt.index_sha256
    )


def differences(old: Any, new: Any, where: str = "") -> list[str]:
    """Where two JSON values differ, in words.

    >>> differences({"seed": 0, "splits": [{"count": 5}]}, {"seed": 1, "splits": [{"count": 5}]})
    ['seed was 0, is 1']
    """
    if isinstance(old, dict) and isinstance(new, dict):
        pairs = [(f"{where}.{k}".lstrip("."), old.get(k), new.get(k)) for k in {**old, **new}]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = [
            (f"{where}[{a.get('name', i) if isinstance(a, dict) else i}]", a, b)
            for i, (a, b) in enumerate(zip(old, new, strict=True))
        ]
    else:
        return [] if old == new else [f"{where} was {json.dumps(old)}, is {json.dumps(new)}"]
    return [line for name, a, b in pairs for line in differences(a, b, name)]


def _refuse(folder: str, old: dict[str, Any], plan: Plan, what: str) -> OutputError:
    new = json.loads(json.dumps(plan.identity()))
    lines = differences(old, new)
    shown = "; ".join(lines[:5]) + (f"; and {len(lines) - 5} more" if len(lines) > 5 else "")
    return OutputError(
        f"{folder}: holds {what} of another plan ({shown}); give another --name, --version or "
        "--output, or --overwrite to replace it"
    )


def _names(folder: str) -> list[str]:
    if files.is_local(folder):
        return sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return [path.rpartition("/")[2] for path, _ in files.match(files.join(folder, "*"))]


def check_ours(folder: str) -> None:
    """Checks that a folder is empty or was made by a conversion.

    Raises:
      OutputError: It holds something else, which nothing here may delete or mix with shards.
    """
    names = [name for name in _names(folder) if name != STATE]
    started = files.exists(state_path(folder, "plan.json"))
    if names and MANIFEST not in names and not started:
        raise OutputError(
            f"{folder}: is not empty, and holds no dataset of recordmill ({', '.join(names[:3])}); "
            "give another --output, or empty it by hand"
        )


def prepare(folder: str, plan: Plan, *, overwrite: bool) -> Manifest | None:
    """Makes a folder ready for the shards of a plan.

    Returns:
      The manifest of a dataset of just this plan that is finished already, else None.

    Raises:
      OutputError: The folder holds something that must not be lost, or cannot be written.
    """
    names = _names(folder)
    if overwrite:
        _delete_content(folder, names)
    elif MANIFEST in names:
        manifest = load_manifest(folder)
        if manifest.plan.digest() != plan.digest():
            old = json.loads(json.dumps(manifest.plan.identity()))
            raise _refuse(folder, old, plan, "a finished dataset")
        return manifest
    identity = state_path(folder, "plan.json")
    if not overwrite and files.exists(identity):
        old = json.loads(files.read_bytes(identity))
        _check_source_versions(folder, old["source_versions"], plan)
        if old["digest"] != plan.digest():
            raise _refuse(folder, old["identity"], plan, "an unfinished conversion")
        _delete_temporaries(folder, names)
    else:
        value = {
            "digest": plan.digest(),
            "identity": plan.identity(),
            "source_versions": _source_versions(plan),
        }
        write_json(identity, value)
    return None


def _source_versions(plan: Plan) -> dict[str, str]:
    return {part.name: f"{part.size_bytes}-{part.version}" for part in plan.source_files()}


def _check_source_versions(folder: str, old: dict[str, str], plan: Plan) -> None:
    new = _source_versions(plan)
    changed = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    if changed:
        raise OutputError(
            f"{folder}: holds an unfinished conversion, and its input was changed since: "
            f"{', '.join(changed[:5])}; give --overwrite to start anew"
        )


def _delete_content(folder: str, names: list[str]) -> None:
    # The manifest goes first: from then on nobody takes what is left for a dataset.
    files.delete([files.join(folder, MANIFEST)])
    for name in names:
        path = files.join(folder, name)
        # The lock's file stays: it is held by this very process.
        if name == STATE:
            for inside in ("receipts", "inflated"):
                files.delete_tree(files.join(path, inside))
            files.delete([files.join(path, "plan.json")])
        elif files.is_local(path) and os.path.isdir(path):
            files.delete_tree(path)
        else:
            files.delete([path])


def _delete_temporaries(folder: str, names: list[str]) -> None:
    files.delete([files.join(folder, name) for name in names if TEMPORARY in name])


def clean(folder: str) -> None:
    """Removes the working state of a finished conversion."""
    _delete_temporaries(folder, _names(folder))
    files.delete_tree(state_path(folder))


@contextlib.contextmanager
def locked(folder: str) -> Iterator[None]:
    """Keeps a second conversion on this machine out of a folder.

    The system lets go of the lock when the process ends, however it ends. An object store has no
    locks; there, the plan's own file tells a second conversion of another plan to stay out.

    Raises:
      OutputError: Another conversion is at work, or the folder cannot be written.
    """
    if not files.is_local(folder):
        yield
        return
    import fcntl

    path = state_path(folder, "lock")
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be written: {error.strerror}; give --output a folder that can"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(
                f"{folder}: another conversion is writing there; wait for it, or stop it"
            ) from error
        try:
            yield
        finally:
            _leave(folder)
    finally:
        os.close(descriptor)


def _leave(folder: str) -> None:
    """Removes what only the lock was kept for."""
    with contextlib.suppress(OSError):
        if os.listdir(state_path(folder)) == ["lock"]:
            os.unlink(state_path(folder, "lock"))
            os.rmdir(state_path(folder))
            os.rmdir(folder)
