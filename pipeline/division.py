"""Which records of train become validation, where not just the order decides.

The split options change the order alone: the records of validation are moved to its end, where
`--validation` cuts. So shards stay ranges of positions, and every worker computes the same. Unlike
a plain order this one cannot be computed for single positions: a process keeps 8 bytes a record.
"""

from __future__ import annotations

import functools
import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from . import idx
from .errors import UsageError
from .options import Shuffle
from .order import Order, Permutation, SourceOrder
from .source import SourceFile

By = Literal["hash", "stratify", "group"]


@dataclass(frozen=True)
class Division:
    """How validation is chosen from train.

    Attributes:
      by: "hash" of a record's number, so that a record stays where it is when others are
        appended; "stratify", as large a share of each value of a column; "group", by hash of a
        column's value, so that records of one value stay together.
      column: Of "stratify" and "group".
      share: Of validation, above 0 and below 1.
      seed: Of the hash.
    """

    by: By
    column: str
    share: float
    seed: int


def hash_numbers(values: npt.NDArray[np.int64], seed: int, stream: str) -> npt.NDArray[np.uint64]:
    """A hash below 2**32 of each number: the finalizer of SplitMix64 (Steele et al., 2014).

    The division of every dataset depends on it; a change is a breaking change.
    """
    text = f"recordmill-division-1|{seed}|{stream}".encode()
    key = np.frombuffer(hashlib.sha256(text).digest()[:8], "<u8")[0]
    mixed = values.astype(np.uint64) ^ key
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    result: npt.NDArray[np.uint64] = (mixed ^ (mixed >> np.uint64(31))) >> np.uint64(32)
    return result


def choose(
    division: Division, count: int, values: npt.NDArray[np.int64] | None
) -> npt.NDArray[np.bool_]:
    """Which records are validation's.

    Args:
      division: How to choose.
      count: Number of records.
      values: int64[count] of the column; None where there is no column.

    Returns:
      bool[count] by record number.

    >>> choose(Division("stratify", "label", 0.5, 0), 4, np.array([7, 7, 7, 7])).sum()
    np.int64(2)
    """
    numbers = np.arange(count, dtype=np.int64)
    bound = np.uint64(round(division.share * 2**32))
    if division.by != "stratify" or values is None:
        keys = numbers if values is None else values
        return hash_numbers(keys, division.seed, division.by) < bound
    # Within each value those of the least hashes; ties by number, so that the count is exact.
    hashes = hash_numbers(numbers, division.seed, division.by)
    chosen = np.zeros(count, bool)
    for value in np.unique(values):
        own = np.flatnonzero(values == value)
        ranked = own[np.argsort(hashes[own], kind="stable")]
        chosen[ranked[: round(division.share * len(own))]] = True
    return chosen


@functools.lru_cache(maxsize=4)
def read_column(parts: tuple[SourceFile, ...]) -> npt.NDArray[np.int64]:
    """The values of a column of integers, int64[records].

    Raises:
      UsageError: It holds something else.
    """
    found = []
    for part in parts:
        if part.header.record_shape or np.dtype(part.header.dtype).kind == "f":
            shape = "x".join(map(str, part.header.record_shape)) or "scalar"
            raise UsageError(
                f"{part.path}: holds {part.header.dtype} {shape}; --stratify and --group want a "
                "column of one integer a record"
            )
        with tempfile.TemporaryDirectory(prefix="recordmill-") as scratch:
            plain = part.path
            if part.gzip:
                plain = f"{scratch}/column.idx"
                idx.inflate(part.path, plain, part.header)
            values = idx.IdxFile(plain, part.header).read(0, part.header.count)
            found.append(values.astype(np.int64))
    return np.concatenate(found)


@functools.lru_cache(maxsize=4)
def _divided(
    base: Order, division: Division, parts: tuple[SourceFile, ...]
) -> tuple[npt.NDArray[np.int64], int]:
    values = read_column(parts) if division.by != "hash" else None
    chosen = choose(division, base.count, values)
    numbers = base(np.arange(base.count, dtype=np.int64))
    late = chosen[numbers]
    return np.concatenate([numbers[~late], numbers[late]]), int(late.sum())


@dataclass(frozen=True)
class DividedOrder:
    """An order whose last positions are validation's, each part in the order of `base`.

    Attributes:
      base: The order of all.
      division: Who goes last.
      parts: The files of the column that decides; () for "hash".
    """

    base: Order
    division: Division
    parts: tuple[SourceFile, ...]

    @property
    def count(self) -> int:
        """Number of records."""
        return self.base.count

    @property
    def late(self) -> int:
        """Number of validation's records."""
        return _divided(self.base, self.division, self.parts)[1]

    def __call__(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The records at these positions, int64[n]."""
        return _divided(self.base, self.division, self.parts)[0][positions]


def make_order(
    shuffle: Shuffle,
    seed: int,
    source: str,
    count: int,
    division: Division | None,
    columns: Mapping[str, tuple[SourceFile, ...]],
) -> Order | DividedOrder:
    """Which record of a source split stands at which position.

    Raises:
      UsageError: The division is by a column that is not there.
    """
    base = SourceOrder(count) if shuffle == "none" else Permutation(count, seed, source)
    if division is None:
        return base
    if division.column and division.column not in columns:
        raise UsageError(
            f"{division.by} {division.column!r}: is no column; there is {', '.join(columns)}"
        )
    return DividedOrder(base, division, columns.get(division.column, ()))
