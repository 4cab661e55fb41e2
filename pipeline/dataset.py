"""A finished dataset, read by record number as numpy arrays, without TensorFlow or Beam.

    dataset = open_dataset("data/tfrecord/fashion_mnist/1.0.0")
    dataset["train"][0]["image"]            # uint8[28, 28]
    dataset["train[:80%]"][100:200]["label"]  # int64[100]

Shards of fixed stride are arrays of rows: record i is found by a multiplication, and the system's
page cache is shared by all processes that map the same shard.
"""

from __future__ import annotations

import contextlib
import functools
import operator
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, Literal, SupportsIndex, overload

import numpy as np
import numpy.typing as npt
from crc32c import crc32c

from . import files, manifest, tfrecord
from .errors import DatasetError, UsageError
from .example import Layout, decode_examples
from .features import Feature
from .manifest import MANIFEST, Manifest, ShardEntry
from .splits import Part, parse_split

CHECK_BYTES = 8 << 20
Check = Literal["record", "shard", "none"]
Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Segment:
    """Consecutive records of one shard: rows `[start, stop)` of the file at `path`."""

    path: str
    start: int
    stop: int

    @property
    def count(self) -> int:
        """Number of records."""
        return self.stop - self.start


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
          DatasetError: The shards are compressed, so a row has no place of its own.
        """
        if not self.random_access:
            raise DatasetError(
                f"{self.path}: its shards are {self.manifest.plan.compression}, which cannot be "
                "read by record number; convert with --compression none, or use train.load"
            )
        return self.manifest.plan.layout

    def label_names(self, feature: str = "label") -> tuple[str, ...]:
        """Names of a feature's classes; () where none are known."""
        return next((f.names for f in self.features if f.name == feature), ())

    def segments(self, split: str, start: int = 0, stop: int | None = None) -> list[Segment]:
        """Where records `[start, stop)` of a split expression stand, in order."""
        segments, first = [], 0
        for part in parse_split(split, self.splits):
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
        return Records(self, self.segments(split), check=check)

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


class Records:
    """Records by number, decoded from memory-mapped shards.

    Sequences of this kind can be shared by processes that fork or pickle them: only file names
    travel.
    """

    def __init__(self, dataset: Dataset, segments: list[Segment], *, check: Check) -> None:
        """Use `Dataset[split]`."""
        self._dataset, self._segments, self._check = dataset, segments, check
        self._features, self._layout = dataset.features, dataset.layout
        self._compared: set[str] = set()
        self._starts = np.cumsum([0] + [s.count for s in segments], dtype=np.int64)

    def __len__(self) -> int:
        """Number of records."""
        return int(self._starts[-1])

    @overload
    def __getitem__(self, key: SupportsIndex) -> Arrays: ...
    @overload
    def __getitem__(self, key: slice | npt.NDArray[Any] | list[int]) -> Arrays: ...

    def __getitem__(self, key: Any) -> Arrays:
        """Decodes records.

        Args:
          key: A number; a slice of step 1; or numbers, int[n], in any order and repeated.

        Returns:
          By feature: `[*shape]` for a number, else `[n, *shape]`.

        Raises:
          IndexError: A number out of range.
          DatasetError: A record is damaged; names shard and record.
        """
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            if step != 1:
                return self._decode(self._gather(np.arange(start, stop, step)))
            return self._decode(self._range(start, max(start, stop)))
        if isinstance(key, (np.ndarray, list)):
            return self._decode(self._gather(np.asarray(key, np.int64)))
        index = operator.index(key)
        row = index + len(self) if index < 0 else index
        if not 0 <= row < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        return {name: values[0] for name, values in self._decode(self._range(row, row + 1)).items()}

    def __getitems__(self, numbers: list[int]) -> list[Arrays]:
        """A batch of records as PyTorch's DataLoader asks for it."""
        batch = self[numbers]
        return [{name: values[i] for name, values in batch.items()} for i in range(len(numbers))]

    def _decode(self, rows: npt.NDArray[np.uint8]) -> Arrays:
        return decode_examples(self._features, self._layout, rows)

    def _range(self, start: int, stop: int) -> npt.NDArray[np.uint8]:
        parts = []
        owner = int(np.searchsorted(self._starts, start, side="right")) - 1
        while start < stop:
            segment, first = self._segments[owner], int(self._starts[owner])
            end = min(stop, first + segment.count)
            rows = np.arange(start - first, end - first) + segment.start
            parts.append(self._rows(segment, slice(int(rows[0]), int(rows[-1]) + 1), rows))
            start, owner = end, owner + 1
        if not parts:
            return np.empty((0, self._layout.stride), np.uint8)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _gather(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        numbers = np.where(numbers < 0, numbers + len(self), numbers)
        if len(numbers) and not 0 <= numbers.min() <= numbers.max() < len(self):
            raise IndexError(f"record numbers {numbers.min()}..{numbers.max()} of {len(self)}")
        owners = np.searchsorted(self._starts, numbers, side="right") - 1
        rows = np.empty((len(numbers), self._layout.stride), np.uint8)
        for owner in np.unique(owners):
            mine = np.flatnonzero(owners == owner)
            segment = self._segments[owner]
            inside = numbers[mine] - self._starts[owner] + segment.start
            rows[mine] = self._rows(segment, inside, inside)
        return rows

    def _rows(
        self,
        segment: Segment,
        key: slice | npt.NDArray[np.int64],
        numbers: npt.NDArray[np.int64],
    ) -> npt.NDArray[np.uint8]:
        rows = _map(segment.path, self._layout.stride)[key]
        if self._check == "shard" and segment.path not in self._compared:
            self._dataset.check_shard(segment.path)
            self._compared.add(segment.path)
        if self._check == "record":
            # Gathered first, so that what is checked is what is decoded.
            rows = np.ascontiguousarray(rows)
            check_rows(rows, segment.path, numbers)
        return rows


def check_rows(
    rows: npt.NDArray[np.uint8], path: str, numbers: npt.NDArray[np.int64] | range
) -> None:
    """Compares the checksums of rows.

    Args:
      rows: uint8[n, stride].
      path: The shard, for the error.
      numbers: Of the n rows in the shard.

    Raises:
      DatasetError: A row is damaged; names shard and record.
    """
    damaged = tfrecord.damaged_rows(rows)
    if len(damaged):
        number = int(numbers[int(damaged[0])])
        raise DatasetError(
            f"{path}: record {number} at byte {number * rows.shape[1]}: its checksum does not fit; "
            "the shard is damaged: rebuild it with recordmill repair"
        )


def _map(path: str, stride: int) -> npt.NDArray[np.uint8]:
    if not files.is_local(path):
        raise UsageError(
            f"{path}: only local files can be mapped; copy the dataset to a local disk first"
        )
    return _mapped(path, stride, files.version(path))


# As many mapped shards as a process can keep; the version lets go of one that was replaced.
@functools.lru_cache(maxsize=4096)
def _mapped(path: str, stride: int, _version: str) -> npt.NDArray[np.uint8]:
    if os.path.getsize(path) % stride:
        raise DatasetError(f"{path}: is cut off; rebuild it with recordmill repair")
    return np.memmap(path, np.uint8, mode="r").reshape(-1, stride)
