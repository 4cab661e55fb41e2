"""Shards of records of varying length, read by record number through their indexes.

As `dataset.py` does for rows: from one shard come framed records, whose checksums are compared,
and whose values are decoded a block at a time.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from . import files, tfrecord
from .errors import DatasetError
from .ragged import Ragged, spread
from .tfrecord import Framed, index_path

Ints = npt.NDArray[np.int64]


def load_offsets(path: str, records: int, num_bytes: int | None) -> Ints:
    """Where the records of a shard stand, int64[records + 1], from its index.

    Args:
      path: Of the shard.
      records: That it holds.
      num_bytes: Its size; None where it is compressed.

    Raises:
      DatasetError: The index is missing, or tells of another shard.
    """
    path = index_path(path)
    if not files.exists(path):
        raise DatasetError(f"{path}: is missing; repair the dataset with: recordmill repair")
    return _offsets(path, records, num_bytes, files.version(path))


@functools.lru_cache(maxsize=4096)
def _offsets(path: str, records: int, num_bytes: int | None, _version: str) -> Ints:
    offsets = tfrecord.parse_index(files.read_bytes(path), path)
    if len(offsets) != records + 1 or num_bytes not in (None, int(offsets[-1])):
        raise DatasetError(
            f"{path}: tells of {len(offsets) - 1} records and {offsets[-1]} bytes, but the shard "
            f"has {records} and {num_bytes}; repair the dataset"
        )
    return offsets


def gather(data: npt.NDArray[np.uint8], offsets: Ints, numbers: Ints) -> Framed:
    """Records by number, copied out of a shard.

    Args:
      data: uint8[bytes], the shard.
      offsets: Of its records.
      numbers: int64[n], in any order and repeated.
    """
    starts, ends = offsets[numbers], offsets[numbers + 1]
    found = np.zeros(len(numbers) + 1, np.int64)
    np.cumsum(ends - starts, out=found[1:])
    if len(numbers) and (np.diff(numbers) == 1).all():
        return Framed(np.array(data[starts[0] : ends[-1]]), found)
    view = data.data
    pieces = map(view.__getitem__, map(slice, starts.tolist(), ends.tolist()))
    return Framed(np.frombuffer(b"".join(pieces), np.uint8), found)


def read_blocks(
    stream: IO[bytes], path: str, offsets: Ints, start: int, stop: int, step: int
) -> Iterator[tuple[int, Framed]]:
    """Records `[start, stop)` of a shard in order, `(number of the first, records)`.

    Raises:
      DatasetError: The shard ends before them.
    """
    stream.seek(int(offsets[start]))
    for first in range(start, stop, step):
        last = min(first + step, stop)
        size = int(offsets[last] - offsets[first])
        data = stream.read(size)
        if len(data) < size:
            cut = np.searchsorted(offsets, offsets[first] + len(data), side="right") - 1
            raise DatasetError(
                f"{path}: record {cut}: the shard ends before it; rebuild it with recordmill repair"
            )
        yield (
            first,
            Framed(np.frombuffer(data, np.uint8), offsets[first : last + 1] - offsets[first]),
        )


def check_records(framed: Framed, path: str, offsets: Ints, numbers: Ints | range) -> None:
    """Compares the checksums of records.

    Args:
      framed: n records.
      path: The shard, for the error.
      offsets: Of all its records.
      numbers: Of the n records in the shard.

    Raises:
      DatasetError: A record is damaged; names shard and record.
    """
    damaged = tfrecord.damaged_records(framed)
    if len(damaged):
        number = int(numbers[int(damaged[0])])
        raise DatasetError(
            f"{path}: record {number} at byte {offsets[number]}: its checksum does not fit; the "
            "shard is damaged: rebuild it with recordmill repair"
        )


def join(parts: list[Framed]) -> Framed:
    """The records of all parts, one after the other."""
    if len(parts) == 1:
        return parts[0]
    sizes = [np.diff(part.offsets) for part in parts]
    offsets = np.concatenate([np.zeros(1, np.int64), *sizes]).cumsum()
    return Framed(np.concatenate([np.zeros(0, np.uint8), *(part.data for part in parts)]), offsets)


def reorder(framed: Framed, order: Ints) -> Framed:
    """The records in another order: record `order[i]` of the old ones comes i-th."""
    starts, sizes = framed.offsets[:-1][order], np.diff(framed.offsets)[order]
    offsets = np.zeros(len(order) + 1, np.int64)
    np.cumsum(sizes, out=offsets[1:])
    return Framed(framed.data[spread(starts, sizes)], offsets)


def concatenate(blocks: list[Any]) -> Any:
    """Arrays, or `Ragged`s, of the same feature, one after the other."""
    return Ragged.concatenate(blocks) if isinstance(blocks[0], Ragged) else np.concatenate(blocks)
