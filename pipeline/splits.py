"""Split arithmetic, as in TFDS: `train[:80%]`, `train+validation`; and folds: `fold0/train`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from .errors import UsageError
from .order import even_ranges

BOUND = r"-?\d+(?:\.\d+)?%|-?\d+"
FOLD = re.compile(r"^fold(\d+)/(train|validation)$")
TERM = re.compile(rf"^(\w+(?:/\w+)?)(?:\[({BOUND})?:({BOUND})?\])?$")


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


def _fold(name: str, folds: int, counts: Mapping[str, int]) -> list[Part] | None:
    """The parts of train that a fold's side is; None where the name is none of a fold."""
    match = FOLD.match(name)
    if not match or "train" not in counts or int(match[1]) >= folds:
        return None
    count, number = counts["train"], int(match[1])
    start, stop = even_ranges(0, count, folds)[number]
    if match[2] == "validation":
        return [Part("train", start, stop)]
    return [part for part in (Part("train", 0, start), Part("train", stop, count)) if part.count]


def fold_counts(folds: int, counts: Mapping[str, int]) -> dict[str, int]:
    """Number of records of each side of each fold.

    >>> fold_counts(2, {"train": 5})
    {'fold0/train': 3, 'fold0/validation': 2, 'fold1/train': 2, 'fold1/validation': 3}
    """
    names = [f"fold{k}/{side}" for k in range(folds) for side in ("train", "validation")]
    return {name: sum(p.count for p in _fold(name, folds, counts) or ()) for name in names}


def parse_split(text: str, counts: Mapping[str, int], folds: int = 0) -> list[Part]:
    """What a split expression stands for.

    Args:
      text: Terms joined by `+`; each the name of a split, with a slice of records or percent.
      counts: Number of records by split.
      folds: How many folds of train there are, named as `fold0/train`.

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
        fold = _fold(split, folds, counts)
        if fold is not None:
            if start or stop:
                raise UsageError(f"split {text!r}: a fold is taken whole; leave out the slice")
            parts += fold
            continue
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
