"""Columns whose records are lists of varying length: a file of values and a file of lengths.

    values   [total, *step_shape]     the steps of all records, one record after the other
    lengths  [records]                how many steps each record has; their sum is `total`

Where a record's steps begin is the sum of all lengths before it. That sum is kept for every
WINDOW-th record only, so that a billion records need 62 MB and not 8 GB.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from . import idx

WINDOW = 128
# Lengths that are looked at in one go when all of them are.
SCAN_RECORDS = 1 << 20
# In an object store, a gap of so many bytes costs less than another request.
GAP_BYTES = 1 << 20


def spread(starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The numbers in all ranges `[start, start + length)`, one range after the other.

    >>> spread(np.array([7, 2]), np.array([3, 1])).tolist()
    [7, 8, 9, 2]
    """
    ends = np.cumsum(lengths)
    return np.repeat(starts - ends + lengths, lengths) + np.arange(ends[-1] if len(ends) else 0)


@dataclass(frozen=True)
class Ragged:
    """A block of lists of varying length.

    Attributes:
      values: `[total, *step_shape]`, the steps of all records.
      lengths: int64[n], steps of each record.

    >>> words = Ragged(np.array([5, 6, 7]), np.array([2, 0, 1]))
    >>> len(words), words[0].tolist(), words[1:].padded().tolist()
    (3, [5, 6], [[0], [7]])
    """

    values: npt.NDArray[Any]
    lengths: npt.NDArray[np.int64]

    @classmethod
    def of_dense(cls, values: npt.NDArray[Any]) -> Ragged:
        """Records of one length: `[n, time, *step_shape]`."""
        count, time = values.shape[:2]
        return cls(values.reshape(-1, *values.shape[2:]), np.full(count, time, np.int64))

    @classmethod
    def concatenate(cls, parts: list[Ragged]) -> Ragged:
        """The records of all parts; there is one at least."""
        return cls(
            np.concatenate([part.values for part in parts]),
            np.concatenate([part.lengths for part in parts]),
        )

    @functools.cached_property
    def starts(self) -> npt.NDArray[np.int64]:
        """int64[n], where each record's steps begin."""
        starts: npt.NDArray[np.int64] = np.cumsum(self.lengths) - self.lengths
        return starts

    def __len__(self) -> int:
        """Number of records."""
        return len(self.lengths)

    def __getitem__(self, key: Any) -> Any:
        """The steps of a record, or, for a slice, numbers or a mask, the records chosen."""
        starts, lengths = self.starts[key], self.lengths[key]
        if np.ndim(lengths) == 0:
            return self.values[starts : starts + lengths]
        return Ragged(self.values[spread(starts, lengths)], lengths)

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        """Record by record."""
        for start, length in zip(self.starts.tolist(), self.lengths.tolist(), strict=True):
            yield self.values[start : start + length]

    def padded(self, fill: Any = 0, length: int | None = None) -> npt.NDArray[Any]:
        """All records at one length.

        Args:
          fill: What stands behind the end of a shorter record.
          length: Steps of each; longer records are cut. None takes the longest.

        Returns:
          `[n, length, *step_shape]`.
        """
        longest = int(self.lengths.max(initial=0)) if length is None else length
        result = np.full((len(self), longest, *self.values.shape[1:]), fill, self.values.dtype)
        kept = np.minimum(self.lengths, longest)
        whole = (kept == self.lengths).all()
        values = self.values if whole else self.values[spread(self.starts, kept)]
        result[np.arange(longest) < kept[:, None]] = values
        return result


@dataclass(frozen=True)
class RaggedColumn:
    """A column of lists, read by record number."""

    values: idx.Column
    lengths: idx.Column

    @functools.cached_property
    def _marks(self) -> npt.NDArray[np.int64]:
        """Steps before each WINDOW-th record."""
        sums = [
            np.add.reduceat(block, np.arange(0, len(block), WINDOW))
            for block in scan_lengths(self.lengths)
        ]
        return np.cumsum(np.concatenate([np.zeros(1, np.int64), *sums]))

    def gather(self, numbers: npt.NDArray[np.int64]) -> Ragged:
        """The records of these numbers, in this order; values big-endian."""
        windows, owners = np.unique(numbers // WINDOW, return_inverse=True)
        table = self._windows(windows)
        inside = numbers % WINDOW
        lengths = table[owners, inside]
        before = np.cumsum(table, axis=1)[owners, inside] - lengths
        starts = self._marks[windows][owners] + before
        return Ragged(read_ranges(self.values, starts, lengths), lengths)

    def _windows(self, windows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The lengths in each window, int64[w, WINDOW]; zeros behind the last record."""
        numbers = windows[:, None] * WINDOW + np.arange(WINDOW)
        if self.lengths.resident:
            last = self.lengths.count - 1
            table = self.lengths.gather(np.minimum(numbers, last).reshape(-1)).astype(np.int64)
            return np.where(numbers > last, 0, table.reshape(numbers.shape))
        table = np.zeros(numbers.shape, np.int64)
        for row, first in zip(table, numbers[:, 0].tolist(), strict=True):
            found = self.lengths.read(first, min(first + WINDOW, self.lengths.count))
            row[: len(found)] = found
        return table


def scan_lengths(lengths: idx.Column) -> Iterator[npt.NDArray[np.int64]]:
    """All lengths in order, some at a time; whole windows, but for the last."""
    for start in range(0, lengths.count, SCAN_RECORDS):
        yield lengths.read(start, min(start + SCAN_RECORDS, lengths.count)).astype(np.int64)


def read_ranges(
    column: idx.Column, starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]
) -> npt.NDArray[Any]:
    """The rows of all ranges `[start, start + length)`, one range after the other."""
    if not len(starts) or not lengths.any():
        return column.read(0, 0)
    if (starts[1:] == starts[:-1] + lengths[:-1]).all():
        return column.read(int(starts[0]), int(starts[-1] + lengths[-1]))
    if column.resident:
        return column.gather(spread(starts, lengths))
    if not column.local:
        return _read_remote(column, starts, lengths)
    if len(column.parts) == 1:
        return column.parts[0].read_ranges(starts, lengths)
    ranges = zip(starts.tolist(), (starts + lengths).tolist(), strict=True)
    return np.concatenate([column.read(start, stop) for start, stop in ranges])


def _read_remote(
    column: idx.Column, starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]
) -> npt.NDArray[Any]:
    """Reads neighbours together; a gap that is passed over costs less than a request."""
    order = np.argsort(starts, kind="stable")
    ordered, ends = starts[order], np.maximum.accumulate((starts + lengths)[order])
    far = ordered[1:] - ends[:-1] > GAP_BYTES // column.row_bytes
    parts: list[npt.NDArray[Any]] = [column.read(0, 0)] * len(starts)
    for group in np.split(order, np.flatnonzero(far) + 1):
        first = int(starts[group[0]])
        rows = column.read(first, int((starts + lengths)[group].max()))
        for number in group.tolist():
            begin = int(starts[number]) - first
            parts[number] = rows[begin : begin + int(lengths[number])]
    return np.concatenate(parts)
