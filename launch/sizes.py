"""Sizes and numbers as people write them."""

from __future__ import annotations

import re

from pipeline.errors import UsageError

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def parse_size(text: str) -> int:
    """Reads a size in bytes.

    >>> parse_size("128MiB"), parse_size("1.5GB"), parse_size("4096")
    (134217728, 1500000000, 4096)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", text.strip())
    if not match or match[2].upper() not in UNITS:
        raise UsageError(f"size {text!r}: wanted a number with a unit such as 128MiB or 2GB")
    return int(float(match[1]) * UNITS[match[2].upper()])


def format_size(num_bytes: float) -> str:
    """Writes a size for people.

    >>> format_size(47_040_016)
    '44.9 MiB'
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if num_bytes < 1024:
            return f"{num_bytes:.0f} B" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1024
    return f"{num_bytes:.1f} TiB"


def parse_shards(text: str) -> int | dict[str, int]:
    """Reads a number of shards, for all splits or by split.

    >>> parse_shards("8"), parse_shards("train=8,test=1")
    (8, {'train': 8, 'test': 1})
    """
    try:
        if "=" not in text:
            return int(text)
        pairs = [part.partition("=") for part in text.split(",")]
        return {split.strip(): int(count) for split, _, count in pairs}
    except ValueError as error:
        raise UsageError(
            f"num_shards {text!r}: wanted a number, or one a split such as train=8,test=1"
        ) from error


def parse_share(text: str) -> float | int:
    """Reads a fraction, or a whole number of records.

    >>> parse_share("0.1"), parse_share("5000"), parse_share("10%")
    (0.1, 5000, 0.1)
    """
    try:
        if text.endswith("%"):
            return float(text[:-1]) / 100
        return float(text) if "." in text else int(text)
    except ValueError as error:
        raise UsageError(
            f"validation {text!r}: wanted a fraction such as 0.1, or a number of records"
        ) from error
