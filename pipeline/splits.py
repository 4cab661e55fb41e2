"""Split arithmetic, as in TFDS: `train[:80%]`, `train[5000:]`, `train+validation`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from .errors import UsageError

TERM = re.compile(r"^(\w+)(?:\[(-?\d+%?)?:(-?\d+%?)?\])?$")


@dataclass(frozen=True)
class Part:
    """Records `[start, stop)` of a split."""

    split: str
    start: int
    stop: int

    @property
    def count(self) -> int:
        """Number of records."""
        return self.stop - self.start


def _bound(text: str | None, default: int, count: int) -> int:
    if text is None:
        return default
    if text.endswith("%"):
        share = int(text[:-1])
        if abs(share) > 100:
            raise UsageError(f"{text}: a share lies between -100% and 100%")
        # To the closest record, as TFDS does; halves to the even one.
        value = round(count * share / 100)
    else:
        value = int(text)
    return min(max(value + count if value < 0 or text.startswith("-") else value, 0), count)


def parse_split(text: str, counts: Mapping[str, int]) -> list[Part]:
    """What a split expression stands for.

    Args:
      text: Terms joined by `+`; each the name of a split, with a slice of records or percent.
      counts: Number of records by split.

    Raises:
      UsageError: It is not understood, or names a split that is not there.

    >>> parse_split("train[:80%]+test[-5:]", {"train": 10, "test": 7})
    [Part(split='train', start=0, stop=8), Part(split='test', start=2, stop=7)]
    """
    parts = []
    for term in text.split("+"):
        match = TERM.match(term.strip())
        if not match:
            raise UsageError(
                f"split {text!r}: {term.strip()!r} is not understood; wanted a name, with a slice "
                "such as [:80%] or [5000:] where only a part is meant, joined by +"
            )
        split, start, stop = match.groups()
        if split not in counts:
            raise UsageError(f"split {split!r} is not there; there is {', '.join(counts)}")
        count = counts[split]
        first = _bound(start, 0, count)
        parts.append(Part(split, first, max(first, _bound(stop, count, count))))
    return parts
