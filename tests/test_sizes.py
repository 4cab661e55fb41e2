from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.sizes import UNITS, format_size, parse_shards, parse_share, parse_size
from pipeline.errors import UsageError


@given(st.integers(0, 10**6), st.sampled_from(sorted(UNITS)), st.sampled_from(["", " "]))
def test_whole_sizes(number: int, unit: str, space: str) -> None:
    assert parse_size(f"{number}{space}{unit}") == number * UNITS[unit]
    assert parse_size(f" {number}{unit.lower()} ") == number * UNITS[unit]


@pytest.mark.parametrize(
    ("text", "size"),
    [("1.5KiB", 1536), ("0.5 kb", 500), ("2tib", 2 << 40), ("0", 0)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1MiB", "1.2.3MB", "5 apples", "1e9", "0x10"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match=r"wanted a number with a unit such as 128MiB or 2GB"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (128 << 20, "128.0 MiB"),
        (5 << 30, "5.0 GiB"),
        (3 << 40, "3.0 TiB"),
        (3000 << 40, "3000.0 TiB"),
    ],
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("text", "wanted"), [("8", 8), ("train=8", {"train": 8}), ("a=1, b=2", {"a": 1, "b": 2})]
)
def test_shards(text: str, wanted: Any) -> None:
    assert parse_shards(text) == wanted


@pytest.mark.parametrize("text", ["many", "train=", "train=8,test", "1.5", "train=8;test=1"])
def test_what_is_no_number_of_shards(text: str) -> None:
    with pytest.raises(UsageError, match=r"num_shards '.*': wanted a number, or one a split"):
        parse_shards(text)


@pytest.mark.parametrize(
    ("text", "wanted"), [("0.25", 0.25), ("25%", 0.25), ("5000", 5000), ("1", 1), ("1.0", 1.0)]
)
def test_shares(text: str, wanted: float) -> None:
    found = parse_share(text)
    assert (found, type(found)) == (wanted, type(wanted))


@pytest.mark.parametrize("text", ["tenth", "%", "0,1", "5k"])
def test_what_is_no_share(text: str) -> None:
    with pytest.raises(UsageError, match=r"validation '.*': wanted a fraction such as 0\.1"):
        parse_share(text)
