"""Records of a finished dataset by number, from memory-mapped shards.

The system's page cache is shared by all processes that map the same shard.
"""

from __future__ import annotations

import functools
import operator
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex, overload

import numpy as np
import numpy.typing as npt

from . import files, tfrecord
from .errors import DatasetError, UsageError
from .example import decode_examples
from .sequence import decode_records
from .varying import check_records, gather, join, reorder

if TYPE_CHECKING:
    from .dataset import Dataset

Check = Literal["record", "shard", "none"]
# By feature an array, or a `ragged.Ragged` where it is a sequence.
Arrays = dict[str, Any]


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


class Records:
    """Records of one length by number, decoded from memory-mapped shards.

    Sequences of this kind can be shared by processes that fork or pickle them: only file names
    travel.
    """

    def __init__(self, dataset: Dataset, segments: list[Segment], *, check: Check) -> None:
        """Use `Dataset[split]`."""
        self._dataset, self._segments, self._check = dataset, segments, check
        dataset.require_random_access()
        self._features = dataset.features
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
          By feature: `[*shape]` for a number, else `[n, *shape]`; of a sequence the steps,
          `[steps, *shape]`, or a `Ragged` of them.

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

    def _decode(self, found: Any) -> Arrays:
        return decode_examples(self._features, self._dataset.layout, found)

    def _range(self, start: int, stop: int) -> Any:
        parts = []
        owner = int(np.searchsorted(self._starts, start, side="right")) - 1
        while start < stop:
            segment, first = self._segments[owner], int(self._starts[owner])
            end = min(stop, first + segment.count)
            rows = np.arange(start - first, end - first) + segment.start
            parts.append(self._rows(segment, slice(int(rows[0]), int(rows[-1]) + 1), rows))
            start, owner = end, owner + 1
        return self._join(parts)

    def _join(self, parts: list[Any]) -> Any:
        if not parts:
            return np.empty((0, self._dataset.layout.stride), np.uint8)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _owned(
        self, numbers: npt.NDArray[np.int64]
    ) -> Iterator[tuple[npt.NDArray[np.int64], Segment, npt.NDArray[np.int64]]]:
        """Of each segment asked for: places in `numbers`, the segment, numbers in its shard."""
        numbers = np.where(numbers < 0, numbers + len(self), numbers)
        if len(numbers) and not 0 <= numbers.min() <= numbers.max() < len(self):
            raise IndexError(f"record numbers {numbers.min()}..{numbers.max()} of {len(self)}")
        owners = np.searchsorted(self._starts, numbers, side="right") - 1
        for owner in np.unique(owners):
            mine = np.flatnonzero(owners == owner)
            segment = self._segments[owner]
            yield mine, segment, numbers[mine] - self._starts[owner] + segment.start

    def _gather(self, numbers: npt.NDArray[np.int64]) -> Any:
        rows = np.empty((len(numbers), self._dataset.layout.stride), np.uint8)
        for mine, segment, inside in self._owned(numbers):
            rows[mine] = self._rows(segment, inside, inside)
        return rows

    def _compare_shard(self, path: str) -> None:
        if self._check == "shard" and path not in self._compared:
            self._dataset.check_shard(path)
            self._compared.add(path)

    def _rows(
        self,
        segment: Segment,
        key: slice | npt.NDArray[np.int64],
        numbers: npt.NDArray[np.int64],
    ) -> Any:
        stride = self._dataset.layout.stride
        data = _map(segment.path)
        if len(data) % stride:
            raise DatasetError(f"{segment.path}: is cut off; rebuild it with recordmill repair")
        rows = data.reshape(-1, stride)[key]
        self._compare_shard(segment.path)
        if self._check == "record":
            # Gathered first, so that what is checked is what is decoded.
            rows = np.ascontiguousarray(rows)
            check_rows(rows, segment.path, numbers)
        return rows


class VaryingRecords(Records):
    """Records that differ in length, found through the index beside each shard."""

    def _decode(self, found: Any) -> Arrays:
        return decode_records(self._features, found)

    def _join(self, parts: list[Any]) -> Any:
        return join(parts)

    def _gather(self, numbers: npt.NDArray[np.int64]) -> Any:
        parts = [(mine, self._rows(s, inside, inside)) for mine, s, inside in self._owned(numbers)]
        joined = join([framed for _, framed in parts])
        if len(parts) < 2:
            return joined
        return reorder(joined, np.argsort(np.concatenate([mine for mine, _ in parts])))

    def _rows(
        self,
        segment: Segment,
        key: slice | npt.NDArray[np.int64],
        numbers: npt.NDArray[np.int64],
    ) -> Any:
        offsets = self._dataset.offsets(segment.path)
        self._compare_shard(segment.path)
        data = _map(segment.path)
        if len(data) != offsets[-1]:
            raise DatasetError(f"{segment.path}: is cut off; rebuild it with recordmill repair")
        framed = gather(data, offsets, numbers)
        if self._check == "record":
            check_records(framed, segment.path, offsets, numbers)
        return framed


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


def _map(path: str) -> npt.NDArray[np.uint8]:
    if not files.is_local(path):
        raise UsageError(
            f"{path}: only local files can be mapped; copy the dataset to a local disk first"
        )
    return _mapped(path, files.version(path))


# As many mapped shards as a process can keep; the version lets go of one that was replaced.
@functools.lru_cache(maxsize=4096)
def _mapped(path: str, _version: str) -> npt.NDArray[np.uint8]:
    if not os.path.getsize(path):
        return np.empty(0, np.uint8)
    return np.memmap(path, np.uint8, mode="r")
