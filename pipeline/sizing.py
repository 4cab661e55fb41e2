"""Sizes of records that differ in length, and shards cut by bytes, before any value is read.

The lengths are small beside the values, and all that sizes depend on. They are looked at a
constant number at a time, in the order in which the records will be written.
"""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from . import idx
from .division import DividedOrder
from .errors import InputError, UsageError
from .features import Feature
from .order import Order, SourceOrder
from .ragged import SCAN_RECORDS, scan_lengths
from .sequence import record_sizes
from .source import LENGTHS, VALUES, Source, SourceFile, place_of

# Column -> its lengths, or the one length that all its records have.
Lengths = Mapping[str, idx.Column | int]


@contextlib.contextmanager
def open_lengths(
    columns: Mapping[str, tuple[SourceFile, ...]],
) -> Iterator[dict[str, idx.Column]]:
    """The files of lengths of a split, by column; what is in gzip is inflated for the while."""
    with tempfile.TemporaryDirectory(prefix="recordmill-lengths-") as folder:
        opened = {}
        for name, parts in columns.items():
            if name.endswith(LENGTHS):
                found = [
                    idx.IdxFile(_inflated(part, f"{folder}/{name}-{number}"), part.header)
                    for number, part in enumerate(parts)
                ]
                opened[name.removesuffix(LENGTHS)] = idx.Column(tuple(found))
        yield opened


def _inflated(part: SourceFile, target: str) -> str:
    if not part.gzip:
        return part.path
    idx.inflate(part.path, target, part.header)
    return target


def longest_lists(source: Source) -> dict[str, int]:
    """Most steps in a record of each column of lists.

    Raises:
      InputError: Lengths that are negative or do not sum up to the values.
    """
    longest: dict[str, int] = {}
    for columns in source.splits.values():
        with open_lengths(columns) as opened:
            for column, lengths in opened.items():
                parts, values = columns[column + LENGTHS], columns[column + VALUES]
                steps = sum(part.header.count for part in values)
                found = _check_lengths(lengths, steps, parts, values[0].path)
                longest[column] = max(longest.get(column, 0), found)
    return longest


def _check_lengths(
    lengths: idx.Column, steps: int, parts: tuple[SourceFile, ...], values: str
) -> int:
    """Looks at all lengths of a column, a constant number of them at a time.

    Args:
      lengths: The lengths.
      steps: Rows that the values' files hold.
      parts: The files of the lengths, for errors.
      values: Names the values, for errors.

    Returns:
      The longest.

    Raises:
      InputError: A length is negative, or their sum is not the number of steps.
    """
    total = longest = first = 0
    for block in scan_lengths(lengths):
        if (block < 0).any():
            wrong = int(np.flatnonzero(block < 0)[0])
            part, record = place_of(parts, first + wrong)
            raise InputError(
                f"{part.path}: record {record}: a length of {int(block[wrong])}; wanted 0 or "
                "more: mend the file"
            )
        total += int(block.sum())
        longest = max(longest, int(block.max(initial=0)))
        first += len(block)
    if total != steps:
        raise InputError(
            f"{parts[0].path}: the {lengths.count} lengths sum up to {total}, but "
            f"{values} holds {steps} values; the two files must be of the same making"
        )
    return longest


def agree_in_length(source: Source, stacks: Mapping[str, int]) -> bool:
    """Whether all sequences of a record are of one length, whatever the record.

    Args:
      source: Its columns of lists agree where they share their files of lengths.
      stacks: Length by column, of columns whose first axis is time.
    """
    shared = {
        tuple(part.path for columns in source.splits.values() for part in columns[name])
        for name in next(iter(source.splits.values()))
        if name.endswith(LENGTHS)
    }
    return len(shared) + len(set(stacks.values())) <= 1


@dataclass(frozen=True)
class Cut:
    """A split, cut into shards.

    Attributes:
      cuts: Where one shard ends and the next begins.
      shard_bytes: Bytes of each shard, before compression.
      longest_bytes: Of the longest record.
    """

    cuts: tuple[int, ...]
    shard_bytes: tuple[int, ...]
    longest_bytes: int


def cut_split(
    name: str,
    features: tuple[Feature, ...],
    lengths: Lengths,
    order: Order | DividedOrder,
    bounds: tuple[int, int],
    num_shards: int | None,
    limit_bytes: int | None,
    default_num_shards: int,
) -> Cut:
    """Cuts a split by bytes.

    Args:
      name: Of the split, for errors.
      features: Of the dataset.
      lengths: Of the source split.
      order: Of the source split.
      bounds: The split's positions in that order.
      num_shards: Wanted, or None.
      limit_bytes: No shard is to be larger; None sets no limit. With both, there are at least as
        many shards as wanted.
      default_num_shards: Where neither is given.

    Raises:
      UsageError: A single record is larger than a shard may be.
    """
    start, stop = bounds

    def measure(ordered: Order | DividedOrder) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
        for first in range(start, stop, SCAN_RECORDS):
            numbers = ordered(np.arange(first, min(first + SCAN_RECORDS, stop), dtype=np.int64))
            found = {
                column: np.full(len(numbers), known, np.int64)
                if isinstance(known, int)
                else known.gather(numbers).astype(np.int64)
                for column, known in lengths.items()
            }
            yield first, record_sizes(features, found, len(numbers))

    # For the sum over a whole split the order does not matter, and the source's is the cheapest.
    whole = bounds == (0, order.count)
    total = longest = 0
    for _, sizes in measure(SourceOrder(order.count) if whole else order):
        total += int(sizes.sum())
        longest = max(longest, int(sizes.max(initial=0)))
    if limit_bytes is not None and limit_bytes < longest:
        raise UsageError(
            f"max_shard_size {limit_bytes} bytes: the longest record of {name} takes {longest}; "
            "allow more"
        )
    sized = functools.partial(measure, order)
    if limit_bytes is not None:
        fair = -(-total // num_shards) if num_shards else limit_bytes
        cuts = _cut_at(sized, max(longest, min(limit_bytes, fair)))
    else:
        count = max(1, min(num_shards or default_num_shards, stop - start))
        cuts = _cut_evenly(sized, total, count, bounds)
    return Cut(tuple(cuts), _sums(sized, cuts), longest)


Measured = Callable[[], Iterator[tuple[int, npt.NDArray[np.int64]]]]


def _cut_at(sized: Measured, limit: int) -> list[int]:
    """Fills each shard up to a limit, which no record exceeds."""
    cuts: list[int] = []
    used = 0
    for first, sizes in sized():
        ends = np.cumsum(sizes)
        begin = -used
        while (fitting := int(np.searchsorted(ends, begin + limit, side="right"))) < len(ends):
            cuts.append(first + fitting)
            begin = int(ends[fitting - 1]) if fitting else 0
        used = int(ends[-1]) - begin
    return cuts


def _cut_evenly(sized: Measured, total: int, count: int, bounds: tuple[int, int]) -> list[int]:
    """Cuts into so many shards of about equal bytes, each of one record at least."""
    if count == 1:
        return []
    targets = np.array([total * shard // count for shard in range(1, count)], np.int64)
    cuts = np.full(count - 1, bounds[1], np.int64)
    before = 0
    for first, sizes in sized():
        ends = before + np.cumsum(sizes)
        mine = (targets >= before) & (targets < ends[-1])
        cuts[mine] = first + np.searchsorted(ends, targets[mine], side="right")
        before = int(ends[-1])
    # A long record may cover several targets; the shards after it then begin one record apart.
    order = np.arange(1, count)
    cuts = np.maximum.accumulate(np.maximum(cuts, bounds[0] + order) - order) + order
    return [int(cut) for cut in np.minimum(cuts, bounds[1] - count + order)]


def _sums(sized: Measured, cuts: list[int]) -> tuple[int, ...]:
    sums = np.zeros(len(cuts) + 1, np.int64)
    for first, sizes in sized():
        owners = np.searchsorted(cuts, np.arange(first, first + len(sizes)), side="right")
        np.add.at(sums, owners, sizes)
    return tuple(sums.tolist())
