import functools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.splits import Part, parse_split

COUNTS = {"train": 60_000, "test": 10_001, "tiny": 7}


@functools.cache
def tfds_splits(count: int) -> Any:
    from tensorflow_datasets.core.splits import SplitInfo

    return {"train": SplitInfo(name="train", shard_lengths=[count], num_bytes=0)}


def by_tfds(text: str, count: int) -> list[tuple[int, int]]:
    """What TFDS's own instructions make of it; an empty range for a backward one."""
    from tensorflow_datasets.core.splits import ReadInstruction

    parts = ReadInstruction.from_spec(text).to_absolute(tfds_splits(count))
    ranges = [(p.from_ or 0, count if p.to is None else p.to) for p in parts]
    return [(start, max(start, stop)) for start, stop in ranges]


def by_us(text: str, count: int) -> list[tuple[int, int]]:
    return [(part.start, part.stop) for part in parse_split(text, {"train": count})]


@pytest.mark.parametrize("count", [60_000, 10_001, 101, 7])
@pytest.mark.parametrize(
    "text",
    [
        "train",
        "train[:80%]",
        "train[80%:]",
        "train[33%:66%]",
        "train[:50.5%]",
        "train[-20%:]",
        "train[:-20%]",
        "train[0%:100%]",
        "train[-100%:]",
        "train[5:]",
        "train[:5]",
        "train[-5:]",
        "train[:-5]",
        "train[2:-2]",
        "train[6:3]",
        "train[:7]",
        "train[:20%]+train[80%:]",
        "train[:1] + train",
    ],
)
def test_expressions_mean_what_they_mean_in_tfds(text: str, count: int) -> None:
    assert by_us(text, count) == by_tfds(text, count)


@given(st.integers(1, 10**6), st.integers(-100, 100), st.integers(-100, 100))
def test_every_share_is_tfds_s(count: int, start: int, stop: int) -> None:
    # A negative share that rounds to no records means all of them in TFDS, and none here.
    bounds = [b if b >= 0 or round(b * count / 100) else 0 for b in (start, stop)]
    text = f"train[{bounds[0]}%:{bounds[1]}%]"
    assert by_us(text, count) == by_tfds(text, count)


@given(st.integers(1, 1000), st.lists(st.integers(0, 100), max_size=5))
def test_neighbouring_shares_partition_a_split(count: int, cuts: list[int]) -> None:
    bounds = [0, *sorted(cuts), 100]
    text = "+".join(f"train[{a}%:{b}%]" for a, b in zip(bounds[:-1], bounds[1:], strict=True))
    records = [i for part in parse_split(text, {"train": count}) for i in range(*part_range(part))]
    assert records == list(range(count))


def part_range(part: Part) -> tuple[int, int]:
    assert part.count == part.stop - part.start
    return part.start, part.stop


def test_several_splits() -> None:
    assert parse_split("train[:10%]+tiny+test[-1:]", COUNTS) == [
        Part("train", 0, 6000),
        Part("tiny", 0, 7),
        Part("test", 10_000, 10_001),
    ]


def test_a_small_share_of_few_records_is_none() -> None:
    assert parse_split("tiny[-1%:]", COUNTS) == [Part("tiny", 7, 7)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"split '': '' is not understood"),
        ("train[", r"'train\[' is not understood; wanted a name, with a slice such as \[:80%\]"),
        ("train[5]", r"'train\[5\]' is not understood"),
        ("train[a:b]", r"is not understood"),
        ("train[:5.5]", r"is not understood"),
        ("train+", r"split 'train\+': '' is not understood"),
        ("validation", r"split 'validation' is not there; there is train, test, tiny"),
        ("train+vaildation[:5]", r"split 'vaildation' is not there"),
        ("tiny[:8]", r"split 'tiny\[:8\]': 8 is beyond its 7 records"),
        ("tiny[-8:]", r"-8 is beyond its 7 records"),
        ("train[:101%]", r"101%: a share lies between -100% and 100%"),
        ("train[10%:50]", r"10%:50 mixes a share with a number of records"),
    ],
)
def test_what_is_not_understood(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_split(text, COUNTS)


@pytest.mark.parametrize("text", ["train[:8]", "train[-8:]", "train[:101%]", "train[-101%:]"])
def test_what_lies_beyond_is_refused_by_tfds_too(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"incompatible with 7 examples|should be in \[-100, 100\]"
    ):
        by_tfds(text, 7)
    with pytest.raises(UsageError, match="beyond its 7 records|between -100% and 100%"):
        by_us(text, 7)
