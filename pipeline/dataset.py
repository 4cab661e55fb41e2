"""A finished dataset, read by record number as numpy arrays, without TensorFlow or Beam.

    dataset = open_dataset("data/tfrecord/fashion_mnist/1.0.0")
    dataset["train"][0]["image"]            # uint8[28, 28]
    dataset["train[:80%]"][100:200]["label"]  # int64[100]

Shards of fixed stride are arrays of rows: record i is found by a multiplication. Where records
differ in length, an index beside each shard tells where they stand.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import IO

import numpy as np
import numpy.typing as npt
from crc32c import crc32c

from . import files, manifest
from .errors import DatasetError
from .example import Layout, decode_examples
from .features import Feature
from .manifest import MANIFEST, Manifest, ShardEntry
from .records import Arrays, Check, Records, Segment, VaryingRecords, check_rows
from .sequence import decode_records
from .splits import Part, parse_split
from .varying import check_records, load_offsets, read_blocks

CHECK_BYTES = 8 << 20


def find_dataset(path: str) -> str:
    """The folder of the dataset at or below a path.

    Raises:
      DatasetError: None is there, or several.
    """
    if files.exists(files.join(path, MANIFEST)):
        return path
    found = [
        match.rpartition("/")[0]
        for pattern in ("*", "*/*")
        for match, _ in files.match(files.join(path, pattern, MANIFEST))
    ]
    if len(found) > 1:
        raise DatasetError(f"{path}: holds {len(found)} datasets; name one: {', '.join(found[:5])}")
    if not found:
        raise DatasetError(
            f"{path}: no {MANIFEST} at or below it, so there is no finished dataset; a conversion "
            "that was stopped is finished by starting the same convert command again"
        )
    return found[0]


class Dataset:
    """A finished dataset.

    Attributes:
      path: Its folder.
      manifest: All that is known of it.
    """

    def __init__(self, path: str, contents: Manifest, *, check: Check) -> None:
        """Use `open_dataset`."""
        self.path, self.manifest, self._check = path, contents, check

    @property
    def features(self) -> tuple[Feature, ...]:
        """What each record holds, sorted by name."""
        return self.manifest.plan.features

    @property
    def splits(self) -> dict[str, int]:
        """Number of records by split."""
        return {split: self.manifest.count(split) for split in self.manifest.splits}

    @property
    def random_access(self) -> bool:
        """Whether records can be read by number."""
        return self.manifest.plan.compression == "none"

    @property
    def layout(self) -> Layout:
        """Where the features stand in each row.

        Raises:
          DatasetError: The shards are compressed, or their records differ in length, so a row has
            no place of its own.
        """
        self.require_random_access()
        if not self.manifest.plan.fixed:
            raise DatasetError(f"{self.path}: its records differ in length; they have no layout")
        return self.manifest.plan.layout

    def require_random_access(self) -> None:
        """Checks that records can be read by number.

        Raises:
          DatasetError: The shards are compressed.
        """
        if not self.random_access:
            raise DatasetError(
                f"{self.path}: its shards are {self.manifest.plan.compression}, which cannot be "
                "read by record number; convert with --compression none, or use train.load"
            )

    def offsets(self, path: str) -> npt.NDArray[np.int64]:
        """Where the records of a shard stand, int64[records + 1], where they differ in length.

        Raises:
          DatasetError: The index beside the shard is missing or tells of another.
        """
        entry = self.entry(path)
        return load_offsets(path, entry.records, entry.num_bytes if self.random_access else None)

    def label_names(self, feature: str = "label") -> tuple[str, ...]:
        """Names of a feature's classes; () where none are known."""
        return next((f.names for f in self.features if f.name == feature), ())

    def segments(self, split: str, start: int = 0, stop: int | None = None) -> list[Segment]:
        """Where records `[start, stop)` of a split expression stand, in order."""
        segments, first = [], 0
        for part in parse_split(split, self.splits, self.manifest.plan.folds):
            for segment in self._part(part):
                begin = max(segment.start, segment.start + start - first)
                end = segment.stop
                if stop is not None:
                    end = min(end, segment.start + stop - first)
                first += segment.count
                if begin < end:
                    segments.append(Segment(segment.path, begin, end))
        return segments

    def _part(self, part: Part) -> Iterator[Segment]:
        first = 0
        for shard in self.manifest.splits[part.split]:
            start, stop = max(part.start - first, 0), min(part.stop - first, shard.records)
            if start < stop:
                yield Segment(files.join(self.path, shard.file), start, stop)
            first += shard.records

    def entry(self, path: str) -> ShardEntry:
        """What the manifest says of the shard at a path."""
        return self._entries[path]

    def record_sizes(self, split: str) -> npt.NDArray[np.int64]:
        """Bytes of each record of a split expression, int64[n], where they differ in length."""
        sizes = [
            np.diff(self.offsets(segment.path)[segment.start : segment.stop + 1])
            for segment in self.segments(split)
        ]
        return np.concatenate([np.zeros(0, np.int64), *sizes])

    @functools.cached_property
    def _entries(self) -> dict[str, ShardEntry]:
        return {
            files.join(self.path, shard.file): shard
            for shards in self.manifest.splits.values()
            for shard in shards
        }

    def check_shard(self, path: str) -> None:
        """Compares a whole shard with its checksum in the manifest, at the speed of memory.

        Raises:
          DatasetError: It differs; names the first damaged record where one is found.
        """
        found = 0
        with files.open_read(path) as stream:
            while data := stream.read(CHECK_BYTES):
                found = crc32c(data, found)
        if f"{found:08x}" == self.entry(path).crc32c:
            return
        for _ in self._segment_blocks(Segment(path, 0, self.entry(path).records), check=True):
            pass
        raise DatasetError(
            f"{path}: each record fits its own checksum, but the file is not the one that was "
            "written: rebuild it with recordmill repair"
        )

    def __getitem__(self, split: str) -> Records:
        """The records of a split expression such as `train` or `train[:80%]+validation`."""
        return self.records(split, check=self._check)

    def records(self, split: str, *, check: Check) -> Records:
        """As `dataset[split]`, compared in another way."""
        kind = Records if self.manifest.plan.fixed else VaryingRecords
        return kind(self, self.segments(split), check=check)

    def blocks(self, split: str, start: int = 0, stop: int | None = None) -> Iterator[Arrays]:
        """Records `[start, stop)` of a split expression in order, some at a time.

        Works for compressed shards, too; what stands before `start` in a shard is then inflated
        and passed over.

        Raises:
          DatasetError: A record is damaged; names shard and record.
        """
        for segment in self.segments(split, start, stop):
            yield from self._segment_blocks(segment, check=self._check != "none")

    def _segment_blocks(self, segment: Segment, *, check: bool) -> Iterator[Arrays]:
        plan, number = self.manifest.plan, segment.start
        if not plan.fixed:
            yield from self._varying_blocks(segment, check=check)
            return
        layout, step = plan.layout, plan.block_records
        with open_shard(segment.path, plan.compression) as stream:
            stream.seek(number * layout.stride)
            while number < segment.stop:
                wanted = min(step, segment.stop - number)
                data = stream.read(wanted * layout.stride)
                if len(data) < wanted * layout.stride:
                    raise DatasetError(
                        f"{segment.path}: record {number + len(data) // layout.stride}: the shard "
                        "ends before it; rebuild it with recordmill repair"
                    )
                rows = np.frombuffer(data, np.uint8).reshape(wanted, layout.stride)
                if check:
                    check_rows(rows, segment.path, range(number, number + wanted))
                yield decode_examples(self.features, layout, rows)
                number += wanted

    def _varying_blocks(self, segment: Segment, *, check: bool) -> Iterator[Arrays]:
        plan, offsets = self.manifest.plan, self.offsets(segment.path)
        start, stop, step = segment.start, segment.stop, plan.block_records
        with open_shard(segment.path, plan.compression) as stream:
            for first, framed in read_blocks(stream, segment.path, offsets, start, stop, step):
                if check:
                    numbers = range(first, first + len(framed))
                    check_records(framed, segment.path, offsets, numbers)
                yield decode_records(self.features, framed)


@contextlib.contextmanager
def open_shard(path: str, compression: str) -> Iterator[IO[bytes]]:
    """Opens a shard for sequential reading, inflated where it is compressed.

    Raises:
      DatasetError: The gzip around it is broken.
    """
    with files.open_read(path) as stream:
        if compression == "none":
            yield stream
            return
        from .idx import inflating

        with inflating(stream, path, DatasetError) as inflated:
            yield inflated


def open_dataset(path: str, *, check: Check = "record") -> Dataset:
    """Opens a dataset for reading by record number.

    Args:
      path: Its folder, or one above that holds no other dataset.
      check: Compares the checksum of each record that is read ("record"), or of each whole shard
        when the first of its records is read ("shard"), or none.

    Raises:
      DatasetError: No finished dataset is there, or a shard is missing or of another size.
    """
    folder = find_dataset(path)
    contents = manifest.load_manifest(folder)
    manifest.check_shards(folder, contents)
    return Dataset(folder, contents, check=check)
