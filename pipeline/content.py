"""A digest of records that depends neither on their order nor on how they are cut into shards.

The digest of a set of records is the sum, modulo 2**128, of the XXH3-128 of each record's bytes; so
those of shards add up to that of a split. It finds accidents, not forgers: for those there is the
SHA-256 of each shard.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np
from xxhash import xxh3_128_digest

from . import tfrecord
from .tfrecord import Framed

MODULUS = 1 << 128


def record_hashes(framed: Framed) -> bytes:
    """The XXH3-128 of each record's message, 16 bytes each, big-endian."""
    view = framed.data.data
    return b"".join(map(xxh3_128_digest, map(view.__getitem__, tfrecord.message_slices(framed))))


def content_sum(framed: Framed) -> int:
    """The digest of a block of records.

    >>> one, other = (Framed.of_rows(np.full((1, 20), fill, np.uint8)) for fill in (1, 2))
    >>> both = Framed.of_rows(np.array([[2] * 20, [1] * 20], np.uint8))
    >>> content_sum(both) == (content_sum(one) + content_sum(other)) % MODULUS
    True
    """
    words = np.frombuffer(record_hashes(framed), ">u4").reshape(-1, 4)
    high, upper, lower, low = map(int, words.sum(axis=0, dtype=np.uint64))
    return ((high << 96) + (upper << 64) + (lower << 32) + low) % MODULUS


def content_digest(splits: Mapping[str, Iterable[str]]) -> str:
    """The digest of a dataset.

    Args:
      splits: By split, the digests of its shards in hexadecimal.

    Returns:
      SHA-256, in hexadecimal, of the splits' names and digests.
    """
    sums = {split: sum(int(one, 16) for one in shards) for split, shards in splits.items()}
    text = "".join(f"{split} {sums[split] % MODULUS:032x}\n" for split in sorted(sums))
    return hashlib.sha256(text.encode()).hexdigest()
