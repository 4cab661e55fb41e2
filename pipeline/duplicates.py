"""Exact duplicates inside of a split and between splits: leaks, found by content.

Records are equal when the bytes of all features but labels, constants and the index are; whether
their labels agree is told apart. Records that differ in length are compared as a whole.

Only hashes travel, 40 bytes a record, in arrays and not one by one: each goes to the bucket that
its hash belongs to, and a bucket is sorted by itself.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64_digest, xxh3_128_digest

from . import files
from .dataset import open_shard
from .example import Rows
from .features import Feature
from .plan import Plan
from .tfrecord import read_records

DUPLICATES = "duplicates.json"
DUPLICATES_FORMAT = 1
# A bucket of so many records is 80 MB.
BUCKET_RECORDS = 2_000_000
READ_BYTES = 4 << 20
VARYING_RECORDS = 10_000
# What is listed is bounded; what is counted is not.
MAX_GROUPS, MAX_IN_GROUP = 10_000, 100
HASHED = np.dtype(
    [
        ("high", ">u8"),
        ("low", ">u8"),
        ("label", ">u8"),
        ("split", "<u4"),
        ("shard", "<u4"),
        ("record", "<u8"),
    ]
)
Hashed = npt.NDArray[Any]
Found = tuple[dict[str, int], list[dict[str, Any]]]


def _is_label(feature: Feature) -> bool:
    return feature.num_classes is not None


def _join(features: Iterable[Feature], plan: Plan, rows: Rows) -> Rows:
    slots = {slot.feature: slot for slot in plan.layout.slots}
    parts = [slots[feature.name] for feature in features]
    joined = [rows[:, slot.offset : slot.offset + slot.size_bytes] for slot in parts]
    return np.ascontiguousarray(np.concatenate(joined, axis=1))


def _each(rows: Rows) -> Iterator[memoryview]:
    view, size = rows.reshape(-1).data, rows.shape[1]
    return (view[start : start + size] for start in range(0, len(rows) * size, size))


def hash_rows(plan: Plan, rows: Rows) -> Hashed:
    """Hashes of rows: XXH3-128 of the content, XXH3-64 of the labels.

    Args:
      plan: Of the dataset.
      rows: uint8[n, stride].

    Returns:
      HASHED[n], with `split`, `shard` and `record` left at 0.
    """
    own = [feature for feature in plan.features if feature.column is not None]
    labels = [feature for feature in own if _is_label(feature)]
    content = [feature for feature in own if not _is_label(feature)] or labels
    hashed = np.zeros(len(rows), HASHED)
    digests = b"".join(map(xxh3_128_digest, _each(_join(content, plan, rows))))
    pairs = np.frombuffer(digests, ">u8").reshape(-1, 2)
    hashed["high"], hashed["low"] = pairs[:, 0], pairs[:, 1]
    if labels:
        digests = b"".join(map(xxh3_64_digest, _each(_join(labels, plan, rows))))
        hashed["label"] = np.frombuffer(digests, ">u8")
    return hashed


def _hash_blocks(plan: Plan, stream: IO[bytes], path: str) -> Iterator[Hashed]:
    if plan.fixed:
        step = max(1, READ_BYTES // plan.stride)
        while data := stream.read(step * plan.stride):
            yield hash_rows(plan, np.frombuffer(data, np.uint8).reshape(-1, plan.stride))
        return
    records = read_records(stream, path)
    while part := list(itertools.islice(records, VARYING_RECORDS)):
        hashed = np.zeros(len(part), HASHED)
        digests = b"".join(xxh3_128_digest(record.data) for record in part)
        pairs = np.frombuffer(digests, ">u8").reshape(-1, 2)
        hashed["high"], hashed["low"] = pairs[:, 0], pairs[:, 1]
        yield hashed


def hash_shard(
    shard: tuple[str, int, str], plan: Plan, buckets: int
) -> Iterator[tuple[int, bytes]]:
    """The hashes of a written shard, `(split, index, path)`, by bucket."""
    split, index, path = shard
    names = [one.name for one in plan.splits]
    first = 0
    with open_shard(path, plan.compression) as stream:
        for hashed in _hash_blocks(plan, stream, path):
            hashed["split"], hashed["shard"] = names.index(split), index
            hashed["record"] = np.arange(first, first + len(hashed))
            first += len(hashed)
            owners = hashed["low"] % np.uint64(buckets)
            for bucket in np.unique(owners).tolist():
                yield bucket, hashed[owners == bucket].tobytes()


def find_groups(parts: Iterable[bytes], splits: Sequence[str]) -> Found:
    """The duplicates of one bucket.

    Args:
      parts: Arrays of HASHED, as bytes, in any order.
      splits: Names of the splits, by number.

    Returns:
      Counters, and the first groups in the order of their first records.
    """
    every = np.frombuffer(b"".join(parts), HASHED)
    keys = [every[name] for name in ("record", "shard", "split", "low", "high")]
    every = every[np.lexsort(keys)]
    same = (np.diff(every["high"]) == 0) & (np.diff(every["low"]) == 0)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], same, [False]]).astype(np.int8)))
    counters: dict[str, int] = {}
    groups = []
    for start, stop in edges.reshape(-1, 2).tolist():
        group = every[start : stop + 1]
        numbers, counts = np.unique(group["split"], return_counts=True)
        by_split = {splits[n]: c for n, c in zip(numbers.tolist(), counts.tolist(), strict=True)}
        agree = bool((group["label"] == group["label"][0]).all())
        _count(counters, by_split, agree)
        shown = group[:MAX_IN_GROUP]
        where = zip(*(shown[k].tolist() for k in ("split", "shard", "record")), strict=True)
        groups.append(
            {
                "records": by_split,
                "labels": "agree" if agree else "differ",
                "at": [[splits[split], shard, record] for split, shard, record in where],
            }
        )
    return counters, _first_groups(groups, splits)


def _first_groups(groups: list[dict[str, Any]], splits: Sequence[str]) -> list[dict[str, Any]]:
    def place(group: dict[str, Any]) -> tuple[int, int, int]:
        split, shard, record = group["at"][0]
        return splits.index(split), shard, record

    return sorted(groups, key=place)[:MAX_GROUPS]


def _count(counters: dict[str, int], by_split: Mapping[str, int], agree: bool) -> None:
    def add(name: str, number: int) -> None:
        counters[name] = counters.get(name, 0) + number

    add("duplicate_groups", 1)
    add("duplicate_groups_with_other_labels", int(not agree))
    for split, count in by_split.items():
        add(f"duplicates_inside_{split}", count - 1)
    for one, other in itertools.combinations(by_split, 2):
        add(f"duplicates_of_{one}_in_{other}", by_split[other])


def summarize(found: Iterable[Found], splits: Sequence[str]) -> Found:
    """What all buckets found, taken together."""
    counters = {"duplicate_groups": 0, "duplicate_groups_with_other_labels": 0}
    groups: list[dict[str, Any]] = []
    for counted, listed in found:
        for name, number in counted.items():
            counters[name] = counters.get(name, 0) + number
        groups = _first_groups(groups + listed, splits)
    return {k: v for k, v in sorted(counters.items()) if v or "_groups" in k}, groups


def duplicates_json(found: Found) -> dict[str, Any]:
    """The content of `duplicates.json`; `at` is split, shard, record in it."""
    counters, groups = found
    return {"format": DUPLICATES_FORMAT, **counters, "listed": len(groups), "groups": groups}


class FindDuplicates(beam.PTransform):  # type: ignore[misc]  # Beam has no types
    """Written shards, `(split, index, path)`, to what each bucket found."""

    def __init__(self, plan: Plan) -> None:
        """Takes the plan of the dataset."""
        super().__init__()
        self._plan = plan

    def expand(self, pcoll: Any) -> Any:
        """As many buckets as keep each of them small."""
        plan = self._plan
        splits = [split.name for split in plan.splits]
        return (
            pcoll
            | "Spread" >> beam.Reshuffle()
            | "Hash" >> beam.FlatMap(hash_shard, plan, math.ceil(plan.num_records / BUCKET_RECORDS))
            | "ByHash" >> beam.GroupByKey()
            | "Groups" >> beam.MapTuple(lambda _, parts: find_groups(parts, splits))
        )


def find_duplicates(
    folder: str, plan: Plan, shards: Sequence[tuple[str, int, str]], beam_args: Sequence[str]
) -> Found:
    """Finds the duplicates of a finished dataset.

    Args:
      folder: A folder for what the workers found.
      plan: Of the dataset.
      shards: `(split, index, path)` of each.
      beam_args: Flags for Beam's PipelineOptions.
    """
    from . import engine, manifest

    target = files.join(folder, DUPLICATES)
    splits = [split.name for split in plan.splits]

    def write(_: Any, found: list[Found]) -> None:
        manifest.write_json(target, list(summarize(found, splits)))

    def build(root: beam.Pipeline) -> None:
        found = root | "Shards" >> beam.Create(list(shards)) | FindDuplicates(plan)
        root | beam.Create([None]) | beam.Map(write, beam.pvalue.AsList(found))

    options = engine.make_options(beam_args, plan.num_bytes, len(shards))
    engine.run(build, options)
    counters, groups = manifest.read_json(target)
    return counters, groups
