"""Which source record stands at which position: a seeded bijection, computed on demand.

A shuffle of N records needs, as a rule, N numbers in memory or a shuffle through the runner.
Neither is wanted here: a shard must be computable anywhere from its range of positions alone.
So the order is a format-preserving permutation: a Feistel network over the smallest power of
two that holds N, walked until it lands below N (cycle walking; Black and Rogaway, "Ciphers with
arbitrary finite domains", 2002). Every worker computes it for just the positions that it needs.

The bytes of every shuffled dataset depend on the constants below. A change of any of them is a
breaking change of the format, and a test pins them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# Three rounds give a pseudo-random permutation (Luby and Rackoff, 1988) when the round function
# is random; the mixer is not quite, and its statistics were even from four rounds on.
ROUNDS = 6
# In a smaller domain the halves are too narrow to reach every order about equally often.
MIN_BITS = 8
# Smaller windows would be slow, for each has a permutation of its own, and save nothing.
MIN_WINDOW = 1 << MIN_BITS
# The finalizer of MurmurHash3 (Appleby, public domain), 32 bits.
MIX_1, MIX_2 = np.uint32(0x85EBCA6B), np.uint32(0xC2B2AE35)


def _round(values: npt.NDArray[np.uint32], key: np.uint32) -> npt.NDArray[np.uint32]:
    mixed = values ^ key
    mixed ^= mixed >> np.uint32(16)
    mixed *= MIX_1
    mixed ^= mixed >> np.uint32(13)
    mixed *= MIX_2
    mixed ^= mixed >> np.uint32(16)
    return mixed


@dataclass(frozen=True)
class Permutation:
    """A bijection of `[0, count)`.

    Attributes:
      count: Number of records, below 2**62.
      seed: Any integer.
      stream: Separates the orders of, say, two splits under one seed.

    >>> Permutation(5, seed=1, stream="train")(np.arange(5)).tolist()
    [3, 2, 4, 0, 1]
    """

    count: int
    seed: int
    stream: str = ""

    def __call__(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The source records at these positions.

        Args:
          positions: int64[n], each in `[0, count)`.

        Returns:
          int64[n] in `[0, count)`, distinct where the positions are.

        Raises:
          IndexError: A position is outside; the walk from there might never come back.
        """
        if len(positions) and not 0 <= positions.min() <= positions.max() < self.count:
            raise IndexError(
                f"positions {positions.min()} to {positions.max()}: wanted 0 to {self.count - 1}"
            )
        bits = max(MIN_BITS, (self.count - 1).bit_length())
        keys = self._keys()
        result = self._encrypt(positions.astype(np.uint64), bits, keys)
        outside = np.flatnonzero(result >= self.count)
        while len(outside):
            result[outside] = self._encrypt(result[outside], bits, keys)
            outside = outside[result[outside] >= self.count]
        return result.astype(np.int64)

    def _keys(self) -> npt.NDArray[np.uint32]:
        text = f"recordmill-order-1|{self.seed}|{self.stream}".encode()
        return np.frombuffer(hashlib.sha256(text).digest(), "<u4")[:ROUNDS]

    @staticmethod
    def _encrypt(
        values: npt.NDArray[np.uint64], bits: int, keys: npt.NDArray[np.uint32]
    ) -> npt.NDArray[np.uint64]:
        """An unbalanced Feistel network over `bits` bits; the halves trade sizes each round."""
        high_bits, low_bits = bits // 2, bits - bits // 2
        high = (values >> np.uint64(low_bits)).astype(np.uint32)
        low = (values & np.uint64((1 << low_bits) - 1)).astype(np.uint32)
        for key in keys:
            mixed = _round(low, key) & np.uint32((1 << high_bits) - 1)
            high, low = low, high ^ mixed
            high_bits, low_bits = low_bits, high_bits
        return (high.astype(np.uint64) << np.uint64(low_bits)) | low


@dataclass(frozen=True)
class SourceOrder:
    """The order of the source: record i stands at position i."""

    count: int

    def __call__(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The positions themselves."""
        return positions


Order = Permutation | SourceOrder


def even_ranges(start: int, stop: int, parts: int) -> list[tuple[int, int]]:
    """Cuts `[start, stop)` into consecutive ranges whose lengths differ by at most one.

    >>> even_ranges(0, 10, 3)
    [(0, 3), (3, 6), (6, 10)]
    """
    total = stop - start
    bounds = [start + total * part // parts for part in range(parts + 1)]
    return list(zip(bounds[:-1], bounds[1:], strict=True))


@dataclass(frozen=True)
class WindowOrder:
    """A shuffle for reading: short runs of records in random order, mixed inside windows.

    A run is read from consecutive places, so a disk is not asked for single records; the records
    of the runs that make a window, drawn from everywhere, are mixed among themselves. With one
    window it is a uniform shuffle of all.

    Attributes:
      count: Number of records.
      window: Records of a window; at least `MIN_WINDOW` are mixed.
      seed: Of this order; another epoch takes another.
      run: Records of a run.
    """

    count: int
    window: int
    seed: int
    run: int = 32

    def __call__(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The records at these positions, int64[n]; a bijection of `[0, count)`."""
        window = max(self.window, MIN_WINDOW)
        if window >= self.count:
            return Permutation(self.count, self.seed, "all")(positions)
        # Whole runs fill the front; what is left over at the end is mixed into the last window.
        runs = self.count // self.run
        per_window = max(1, window // self.run) * self.run
        windows = max(1, self.count // per_window)
        owners = np.minimum(positions // per_window, windows - 1)
        inside = np.empty_like(positions)
        for owner in np.unique(owners):
            start = int(owner) * per_window
            stop = self.count if owner == windows - 1 else start + per_window
            mine = owners == owner
            mixed = Permutation(stop - start, self.seed, f"window {owner}")
            inside[mine] = start + mixed(positions[mine] - start)
        whole = inside < runs * self.run
        result = inside.copy()
        placed = Permutation(max(1, runs), self.seed, "runs")(inside[whole] // self.run)
        result[whole] = placed * self.run + inside[whole] % self.run
        return result
