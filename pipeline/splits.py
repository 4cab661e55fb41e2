"""Split arithmetic, as in TFDS: `train[:80%]`, `train[5000:]`, `train+validation`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from .errors import UsageError

BOUND = r"-?\d+(?:\.\d+)?%|-?\d+"
TERM = re.compile(rf"^(\w+)(?:\[({BOUND})?:({BOUND})?\])?$")


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
        share = float(text[:-1])
        if abs(share) > 100:
            raise UsageError(f"{text}: a share lies between -100% and 100%")
        # To the closest record, as TFDS does it; halves to the even one.
        value = round(share * count / 100)
    else:
        value = int(text)
    if abs(value) > count:
        raise UsageError(f"{text} is beyond its {count} records")
    # -1% of few records is none of them, where TFDS takes all.
    return value + count if text.startswith("-") else value


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
        if start and stop and start.endswith("%") != stop.endswith("%"):
            raise UsageError(
                f"split {text!r}: {start}:{stop} mixes a share with a number of records; give both "
                "bounds in percent, or neither"
            )
        count = counts[split]
        try:
            first, last = _bound(start, 0, count), _bound(stop, count, count)
        except UsageError as error:
            raise UsageError(f"split {text!r}: {error}") from error
        parts.append(Part(split, first, max(first, last)))
    return parts
