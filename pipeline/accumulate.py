"""Statistics of a column, block by block: exact, mergeable, the same on any sharding.

Floating point sums depend on their order, and the order on the sharding. So every sum here is of
integers: integers as they are, floats cut at fixed binary places (a value is the sum of its
pieces, each a multiple of some power of 2**24, whatever block it stands in; Demmel and Nguyen,
"Parallel reproducible summation", 2015, do so with bins that are allocated in advance). What is
divided and rounded is divided and rounded once, at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

# 256 rows of bytes as float32 stay in the processor's cache, and every sum over them of values up
# to 255, or over 256 values of squares, is an integer below 2**24: exact in float32.
FLOAT32_ROWS = 256
# A value histogram is counted from one record in `step`, so that about this many take part.
HISTOGRAM_RECORDS = 1 << 16
# Histograms of what is not a byte: sign, exponent and three bits of the mantissa of a float32.
FLOAT_BIN_SHIFT = 20
# Distinct integers that are counted one by one, as labels are.
MAX_DISTINCT = 1000
# Records that are named where they are all of one value.
MAX_NAMED = 10
PIECE_BITS = 24
WIDE_VALUES = 1 << 14
# Integers within so many of one another, tokens say, are counted one by one. The squares of values
# up to the limit, times as many as are counted at once, fit int64: 2**(2 * 20 + 22).
COUNTED_SPAN = 1 << 18
COUNTED_LIMIT = 1 << 20
COUNTED_VALUES = 1 << 22

Pieces = dict[int, Any]


@dataclass
class ColumnStatistics:
    """What has been seen of a column.

    Attributes:
      records: Number of records.
      sums: By exponent e: int64[values of a record]; the sum at each place is that times 2**e,
        summed over e.
      squares: By exponent e: an integer; the sum of all squares is that times 2**e, summed over e.
      zeros: Values that are 0.
      nans: Values that are no number; they are in none of the other figures.
      infinities: Values that are infinite, likewise.
      low: The least value; None where there is none.
      high: The greatest value.
      histogram: int64[256] by byte, or int64[4096] by sign, exponent and mantissa; from one
        record in some.
      distinct: How often each integer occurs, for scalars; None where there are too many.
      constant: Records of one value throughout, where a record has several.
      blank: Those of them that are all 0.
      constant_records: The numbers of the first of them.
    """

    records: int = 0
    sums: Pieces = field(default_factory=dict)
    squares: Pieces = field(default_factory=dict)
    zeros: int = 0
    nans: int = 0
    infinities: int = 0
    low: float | None = None
    high: float | None = None
    histogram: npt.NDArray[np.int64] | None = None
    distinct: dict[int, int] | None = None
    constant: int = 0
    blank: int = 0
    constant_records: list[int] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As JSON values; `from_json` gives the same again."""
        value = dict(vars(self))
        value["sums"] = {str(e): part.tolist() for e, part in self.sums.items()}
        value["squares"] = {str(e): str(part) for e, part in self.squares.items()}
        value["histogram"] = None if self.histogram is None else self.histogram.tolist()
        if self.distinct is not None:
            value["distinct"] = {str(k): count for k, count in self.distinct.items()}
        return value

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ColumnStatistics:
        """The reverse of `to_json`."""
        value = dict(value)
        value["sums"] = {int(e): np.array(p, np.int64) for e, p in value["sums"].items()}
        value["squares"] = {int(e): int(part) for e, part in value["squares"].items()}
        if value["histogram"] is not None:
            value["histogram"] = np.array(value["histogram"], np.int64)
        if value["distinct"] is not None:
            value["distinct"] = {int(k): count for k, count in value["distinct"].items()}
        return cls(**value)


def _add(one: Pieces, other: Pieces) -> Pieces:
    return {
        e: one[e] + other[e] if e in one and e in other else one.get(e, other.get(e))
        for e in sorted(one.keys() | other.keys())
    }


def merge(one: ColumnStatistics, other: ColumnStatistics) -> ColumnStatistics:
    """The statistics of both together; in any order and grouping the same comes out."""
    if not one.records or not other.records:
        return one if one.records else other
    lows = [part.low for part in (one, other) if part.low is not None]
    highs = [part.high for part in (one, other) if part.high is not None]
    histogram = one.histogram
    if histogram is not None and other.histogram is not None:
        histogram = histogram + other.histogram
    distinct = None
    if one.distinct is not None and other.distinct is not None:
        keys = sorted(one.distinct.keys() | other.distinct.keys())
        if len(keys) <= MAX_DISTINCT:
            distinct = {k: one.distinct.get(k, 0) + other.distinct.get(k, 0) for k in keys}
    return ColumnStatistics(
        records=one.records + other.records,
        sums=_add(one.sums, other.sums),
        squares=_add(one.squares, other.squares),
        zeros=one.zeros + other.zeros,
        nans=one.nans + other.nans,
        infinities=one.infinities + other.infinities,
        low=min(lows, default=None),
        high=max(highs, default=None),
        histogram=histogram,
        distinct=distinct,
        constant=one.constant + other.constant,
        blank=one.blank + other.blank,
        constant_records=sorted(one.constant_records + other.constant_records)[:MAX_NAMED],
    )


def total(pieces: Pieces) -> Fraction:
    """The exact value of pieces that are integers.

    >>> total({-1: 3, 4: 1})
    Fraction(35, 2)
    """
    return sum((int(part) * Fraction(2) ** e for e, part in pieces.items()), Fraction(0))


def observe(
    values: npt.NDArray[Any],
    numbers: npt.NDArray[np.int64],
    histogram_step: int,
    lengths: npt.NDArray[np.int64] | None = None,
) -> ColumnStatistics:
    """The statistics of a block of a column.

    Args:
      values: `[n, *record_shape]` of integers or floats, of either byte order.
      numbers: int64[n], the numbers of the records, by which those for the histogram are chosen.
      histogram_step: The records whose number is a multiple of it take part in the histogram.
      lengths: Of lists, how many steps, one after the other in `values`, each number stands for;
        each step counts as a record. None stands for ones.

    >>> observe(np.array([[3, 4], [0, 0]], np.uint8), np.arange(2), 1).sums[0].tolist()
    [3, 4]
    """
    count = len(values)
    if not count:
        return ColumnStatistics()
    in_histogram = numbers % histogram_step == 0
    if lengths is not None:
        in_histogram = np.repeat(in_histogram, lengths)
    flat = values.reshape(count, -1)
    if flat.shape[1] == 1 and values.dtype.kind in "ui" and values.dtype.itemsize > 1:
        counted = _observe_counted(flat[:, 0], in_histogram)
        if counted is not None:
            return counted
    result = ColumnStatistics(records=count)
    finite, same = flat, None
    if values.dtype.kind == "f":
        flat = finite = flat.astype(np.float64)
        usual = np.isfinite(flat)
        if not usual.all():
            result.nans = int(np.isnan(flat).sum())
            result.infinities = flat.size - int(usual.sum()) - result.nans
            finite = np.where(usual, flat, 0.0)
            flat = flat[usual]
        result.sums, result.squares = _wide_sums(finite, cut)
    elif values.dtype.itemsize == 1:
        if flat.shape[1] == 1:
            return _observe_bytes(flat[:, 0], in_histogram)
        sums, record_squares = _byte_sums(flat)
        result.sums, result.squares = {0: sums}, {0: int(record_squares.sum())}
        # True of a record of one value, and by chance of few others.
        same = record_squares == flat[:, 0].astype(np.int64) ** 2 * flat.shape[1]
    else:
        result.sums, result.squares = _wide_sums(finite, _cut_integers)
    result.zeros = flat.size - int(np.count_nonzero(flat))
    if flat.size:
        kind = float if values.dtype.kind == "f" else int
        result.low, result.high = kind(flat.min()), kind(flat.max())
    result.histogram = _histogram(finite if histogram_step == 1 else finite[in_histogram])
    if finite.shape[1] > 1:
        if same is None:
            middle = finite.shape[1] // 2
            same = (finite[:, 0] == finite[:, middle]) & (finite[:, 0] == finite[:, -1])
        each = numbers if lengths is None else np.repeat(numbers, lengths)
        _find_constant(result, finite, each, np.flatnonzero(same))
    elif values.dtype.kind in "ui":
        keys, counts = np.unique(flat, return_counts=True)
        if len(keys) <= MAX_DISTINCT:
            result.distinct = dict(zip(keys.tolist(), counts.tolist(), strict=True))
    return result


def _observe_bytes(
    values: npt.NDArray[Any], in_histogram: npt.NDArray[np.bool_]
) -> ColumnStatistics:
    """The statistics of scalars of a byte, all from how often each occurs."""
    counts = np.bincount(values.view(np.uint8), minlength=256)
    keys = np.arange(256, dtype=np.uint8).view(values.dtype).astype(np.int64)
    there = np.sort(keys[counts > 0])
    return ColumnStatistics(
        records=len(values),
        sums={0: np.array([keys @ counts])},
        squares={0: int(keys**2 @ counts)},
        zeros=int(counts[0]),
        low=int(there[0]),
        high=int(there[-1]),
        histogram=_histogram(values[in_histogram]),
        distinct={int(key): int(counts[key & 0xFF]) for key in there},
    )


def _observe_counted(
    values: npt.NDArray[Any], in_histogram: npt.NDArray[np.bool_]
) -> ColumnStatistics | None:
    """The same for wider integers that are near one another; None where they are not."""
    if len(values) > COUNTED_VALUES:
        return None
    low, high = int(values.min()), int(values.max())
    if max(-low, high) > COUNTED_LIMIT or high - low >= min(COUNTED_SPAN, len(values)):
        return None
    places = values.astype(np.int64) - low
    every = np.bincount(places)
    there = np.flatnonzero(every)
    keys, counts = there + low, every[there]
    chosen = keys.astype(np.float32), np.bincount(places[in_histogram], minlength=len(every))[there]
    return ColumnStatistics(
        records=len(values),
        sums={0: np.array([keys @ counts])},
        squares={0: int(keys**2 @ counts)},
        zeros=int(counts[keys == 0].sum()),
        low=low,
        high=high,
        histogram=_histogram(*chosen),
        distinct=dict(zip(keys.tolist(), counts.tolist(), strict=True))
        if len(keys) <= MAX_DISTINCT
        else None,
    )


def _find_constant(
    result: ColumnStatistics,
    flat: npt.NDArray[Any],
    numbers: npt.NDArray[np.int64],
    maybe: npt.NDArray[np.int64],
) -> None:
    """Notes which records hold one value throughout, of those that may."""
    if not len(maybe):
        return
    found = maybe[flat[maybe].max(1) == flat[maybe].min(1)]
    result.constant = len(found)
    result.blank = int((flat[found, 0] == 0).sum())
    result.constant_records = np.sort(numbers[found])[:MAX_NAMED].tolist()


def _width(size: int) -> int:
    """The widest divisor up to `FLOAT32_ROWS`: records are cut into parts of that many values."""
    return next(width for width in range(FLOAT32_ROWS, 0, -1) if size % width == 0)


def _byte_sums(
    flat: npt.NDArray[Any],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Sums by place, and of the squares of each record, of bytes: exact within `FLOAT32_ROWS`."""
    count, size = flat.shape
    sums, squares = np.zeros(size, np.int64), np.empty(count, np.int64)
    held = np.empty((min(count, FLOAT32_ROWS), size), np.float32)
    ones = np.ones(len(held), np.float32)
    for start in range(0, count, FLOAT32_ROWS):
        some = held[: min(FLOAT32_ROWS, count - start)]
        some[:] = flat[start : start + FLOAT32_ROWS]
        sums += (ones[: len(some)] @ some).astype(np.int64)
        parts = some.reshape(len(some), -1, _width(size))
        squares[start : start + len(some)] = np.vecdot(parts, parts).sum(1, dtype=np.float64)
    return sums, squares


def _wide_sums(
    flat: npt.NDArray[Any],
    cut_values: Callable[[npt.NDArray[Any]], dict[int, npt.NDArray[np.int64]]],
) -> tuple[Pieces, Pieces]:
    """The same for wider values, some at a time: the pieces of a whole block leave the cache."""
    step = max(1, WIDE_VALUES // flat.shape[1])
    sums: Pieces = {}
    squares: Pieces = {}
    for start in range(0, len(flat), step):
        some = _sums(cut_values(flat[start : start + step]))
        sums, squares = _add(sums, some[0]), _add(squares, some[1])
    return sums, squares


def _sums(pieces: dict[int, npt.NDArray[np.int64]]) -> tuple[Pieces, Pieces]:
    """Sums by place, and of all squares, of values in pieces below 2**24."""
    squares: Pieces = {}
    exponents = list(pieces)
    for i, e in enumerate(exponents):
        one = pieces[e].reshape(-1, _width(pieces[e].shape[1]))
        for f in exponents[i:]:
            # Products below 2**48, at most 256 of them to a sum: that fits int64.
            products = np.einsum("ij,ij->i", one, pieces[f].reshape(one.shape))
            amount = (int((products >> 32).sum()) << 32) + int((products & 0xFFFFFFFF).sum())
            squares[e + f] = squares.get(e + f, 0) + amount * (1 if e == f else 2)
    return {e: piece.sum(0) for e, piece in pieces.items()}, squares


def _cut_integers(flat: npt.NDArray[Any]) -> dict[int, npt.NDArray[np.int64]]:
    values = flat.astype(np.int64)
    if flat.dtype.itemsize <= 2:
        return {0: values}
    low = (1 << PIECE_BITS) - 1
    return {
        2 * PIECE_BITS: values >> (2 * PIECE_BITS),
        PIECE_BITS: values >> PIECE_BITS & low,
        0: values & low,
    }


def cut(values: npt.NDArray[np.float64]) -> dict[int, npt.NDArray[np.int64]]:
    """Cuts finite values at fixed binary places.

    Returns:
      By exponent e, a multiple of 24: integers below 2**24 in magnitude, of the values' shape.
      The pieces of a value times 2**e add up to it, and depend on it alone.

    >>> {e: part.tolist() for e, part in cut(np.array([1.5, -2.0**30])).items()}
    {24: [0, -64], 0: [1, 0], -24: [8388608, 0]}
    """
    pieces = {}
    rest = values
    top = int(np.frexp(np.abs(values).max(initial=0.0))[1])
    e = -(-top // PIECE_BITS) * PIECE_BITS - PIECE_BITS
    while rest.any():
        # Powers of two: the products are exact. ldexp would be, too, and is ten times slower.
        piece = np.trunc(_scaled(rest, -e))
        rest = rest - _scaled(piece, e)
        pieces[e] = piece.astype(np.int64)
        e -= PIECE_BITS
    return pieces


def _scaled(values: npt.NDArray[np.float64], e: int) -> npt.NDArray[np.float64]:
    return values * 2.0**e if -1000 < e < 1000 else np.ldexp(values, e)


def _histogram(
    values: npt.NDArray[Any], counts: npt.NDArray[np.int64] | None = None
) -> npt.NDArray[np.int64]:
    """How many values there are by bin; with `counts`, each so many times (below 2**53)."""
    flat = np.ascontiguousarray(values).reshape(-1)
    if flat.dtype.itemsize == 1:
        return np.bincount(flat.view(np.uint8), minlength=256)
    with np.errstate(over="ignore"):
        bits = flat.astype(np.float32).view(np.uint32) >> np.uint32(FLOAT_BIN_SHIFT)
    return np.bincount(bits, counts, 1 << (32 - FLOAT_BIN_SHIFT)).astype(np.int64)
