import hashlib
import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.order import Permutation, SourceOrder, WindowOrder, even_ranges

COUNTS = st.one_of(st.integers(1, 600), st.integers(1, 20_000))


@pytest.mark.parametrize(
    ("order", "first", "digest"),
    [
        (Permutation(10, 0, "train"), [5, 4, 7, 2, 9, 3, 6, 1, 0, 8], "579ed3a60bbc8bf0"),
        (Permutation(60_000, 0, "train"), [32707, 9887, 37456, 20348], "35bae04caae4eb62"),
        (Permutation(60_000, 1, "train"), [11805, 28040, 20491, 22254], "70d2da651e2ad760"),
        (Permutation(60_000, -1, "test"), [14070, 36823, 21555, 15684], "507fbb2c2781d5d8"),
        (Permutation(2**17, 2**70, ""), [91658, 88931, 76460, 99780], "cd7b42b3e8d08680"),
    ],
    ids=str,
)
def test_the_order_is_pinned(order: Permutation, first: list[int], digest: str) -> None:
    """The bytes of every shuffled dataset depend on these numbers, and with them all that was
    ever published, cached or cited by its digest. A change here is a breaking change."""
    found = order(np.arange(order.count))
    assert found[: len(first)].tolist() == first
    assert hashlib.sha256(found.astype("<i8").tobytes()).hexdigest()[:16] == digest


def test_huge_domains_are_pinned() -> None:
    positions = np.array([0, 1, 2**40, 2**61, 2**62 - 2])
    assert Permutation(2**62 - 1, 7, "x")(positions).tolist() == [
        1141427941961414873,
        2008513072986847934,
        2982324954128449077,
        2740972189195608511,
        4015566501485421734,
    ]


@given(COUNTS, st.integers(-(2**70), 2**70), st.text(max_size=5))
def test_every_record_stands_at_one_position(count: int, seed: int, stream: str) -> None:
    found = Permutation(count, seed, stream)(np.arange(count))
    np.testing.assert_array_equal(np.sort(found), np.arange(count))


@given(COUNTS, st.integers(0, 9), st.data())
def test_a_range_is_part_of_the_whole(count: int, seed: int, data: Any) -> None:
    positions = np.array(data.draw(st.lists(st.integers(0, count - 1), max_size=30)), np.int64)
    order = Permutation(count, seed, "train")
    np.testing.assert_array_equal(order(positions), order(np.arange(count))[positions])


@given(st.integers(2**32, 2**62 - 1), st.integers())
def test_huge_domains(count: int, seed: int) -> None:
    positions = np.array([(count - 1) * part // 49 for part in range(50)], np.int64)
    found = Permutation(count, seed)(positions)
    assert len(set(found.tolist())) == len(positions)
    assert 0 <= found.min() <= found.max() < count


def test_another_seed_or_stream_is_another_order() -> None:
    orders = [Permutation(100, seed, name) for seed in (0, 1, -1) for name in ("train", "test")]
    found = {tuple(order(np.arange(100)).tolist()) for order in orders}
    assert len(found) == len(orders)


def test_small_orders_are_about_equally_likely() -> None:
    # 6 orders of 3 records: 50 seeds each on average, chi squared of 5 degrees of freedom.
    found = Counter(
        tuple(Permutation(3, seed, "train")(np.arange(3)).tolist()) for seed in range(300)
    )
    assert found.keys() == set(itertools.permutations(range(3)))
    assert sum((count - 50) ** 2 / 50 for count in found.values()) < 20.5  # p = 0.001


def test_neighbours_are_torn_apart() -> None:
    found = Permutation(60_000, 0, "train")(np.arange(60_000))
    correlation = np.corrcoef(found[:-1], found[1:])[0, 1]
    assert abs(correlation) < 0.02
    assert abs(np.corrcoef(found, np.arange(60_000))[0, 1]) < 0.02
    assert (np.abs(np.diff(found)) == 1).sum() < 12  # 2 expected


def test_the_order_of_the_source() -> None:
    positions = np.array([3, 1, 2])
    np.testing.assert_array_equal(SourceOrder(5)(positions), positions)


@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(1, 50))
def test_even_ranges_partition(start: int, count: int, parts: int) -> None:
    ranges = even_ranges(start, start + count, parts)
    assert len(ranges) == parts
    assert ranges[0][0] == start
    assert ranges[-1][1] == start + count
    assert all(a[1] == b[0] for a, b in itertools.pairwise(ranges))
    assert {stop - first for first, stop in ranges} <= {count // parts, -(-count // parts)}


@given(st.integers(1, 900), st.integers(30, 700), st.integers(0, 5), st.integers(1, 40))
def test_windows_hold_every_record_once(count: int, window: int, seed: int, run: int) -> None:
    order = WindowOrder(count, window, seed, run)
    found = order(np.arange(count))
    np.testing.assert_array_equal(np.sort(found), np.arange(count))
    positions = np.arange(count)[::7]
    np.testing.assert_array_equal(order(positions), found[::7])


def test_a_window_holds_whole_runs_from_everywhere() -> None:
    found = WindowOrder(10_000, 320, 0)(np.arange(10_000))
    for start in range(0, 9600, 320):
        runs = Counter((found[start : start + 320] // 32).tolist())
        assert set(runs.values()) == {32}
        assert len(runs) == 10
    # The first windows draw from the whole range, not from its beginning.
    assert found[:3200].max() > 9000
    assert (np.diff(found) == 1).sum() < 300


def test_a_window_of_all_is_a_uniform_shuffle() -> None:
    positions = np.arange(500)
    np.testing.assert_array_equal(
        WindowOrder(500, 500, 3)(positions), Permutation(500, 3, "all")(positions)
    )
    assert (
        WindowOrder(500, 100, 3)(positions).tolist() != WindowOrder(500, 100, 4)(positions).tolist()
    )


@pytest.mark.parametrize("position", [-1, 10])
def test_positions_outside_are_refused(position):
    with pytest.raises(IndexError, match="wanted 0 to 9"):
        Permutation(10, 0)(np.array([3, position]))


def test_a_tiny_window_takes_no_longer():
    assert (
        WindowOrder(10_000, 2, 0)(np.arange(10_000)).tolist()
        == WindowOrder(10_000, 256, 0)(np.arange(10_000)).tolist()
    )
