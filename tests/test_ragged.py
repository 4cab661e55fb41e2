import itertools

import numpy as np
import pytest
import samples
from hypothesis import given
from hypothesis import strategies as st

from pipeline import idx, ragged
from pipeline.errors import InputError
from pipeline.ragged import Ragged, RaggedColumn, spread


def column(folder, name, *arrays):
    """Several files as one column."""
    parts = []
    for number, array in enumerate(arrays):
        path = samples.write(folder / f"{name}-{number}.idx", array)
        header = idx.parse_header(path.read_bytes()[: idx.MAX_HEADER_BYTES], str(path))
        parts.append(idx.IdxFile(str(path), header, str(path.stat().st_mtime_ns)))
    return idx.Column(tuple(parts))


@pytest.mark.parametrize("resident", [True, False])
def test_records_are_read_by_number_in_any_order(tmp_path, monkeypatch, resident):
    random = np.random.default_rng(0)
    lengths = random.integers(0, 9, 3 * ragged.WINDOW + 5).astype(np.int16)
    values = random.integers(-9, 9, (lengths.sum(), 2)).astype(np.int32)
    wanted = np.split(values, np.cumsum(lengths)[:-1])
    # Neither the files of values nor those of lengths end where a record ends.
    lists = RaggedColumn(
        column(tmp_path, "values", *np.array_split(values, 3)),
        column(tmp_path, "lengths", lengths[:7], lengths[7:]),
    )
    if not resident:
        monkeypatch.setattr(idx, "RESIDENT_BYTES", 0)
    orders = (np.arange(len(lengths)), np.array([5, 5, 300, 0]), random.permutation(len(lengths)))
    for numbers in (*orders, np.arange(0)):
        found = lists.gather(numbers)
        assert found.lengths.tolist() == [len(wanted[n]) for n in numbers]
        for one, n in zip(found, numbers, strict=True):
            assert (one == wanted[n]).all()


def test_ranges_of_a_large_file_are_read_one_by_one(tmp_path, monkeypatch):
    monkeypatch.setattr(idx, "RESIDENT_BYTES", 0)
    values = column(tmp_path, "values", np.arange(200, dtype=np.int32).reshape(100, 2))
    found = ragged.read_ranges(values, np.array([90, 3, 8]), np.array([2, 0, 1]))
    assert found.tolist() == [[180, 181], [182, 183], [16, 17]]
    with pytest.raises(InputError, match="bytes at offset .*, wanted 16: the file is shorter"):
        ragged.read_ranges(values, np.array([3, 99]), np.array([1, 2]))


def test_neighbours_are_read_together_from_a_store(tmp_path, monkeypatch):
    values = column(tmp_path, "values", np.arange(100, dtype=np.int32))
    reads = []
    read = idx.Column.read
    monkeypatch.setattr(
        idx.Column, "read", lambda c, a, b: (reads.append((a, b)), read(c, a, b))[1]
    )
    monkeypatch.setattr(ragged, "GAP_BYTES", 40)
    found = ragged._read_remote(values, np.array([90, 3, 8]), np.array([2, 3, 1]))
    assert found.tolist() == [90, 91, 3, 4, 5, 8]
    assert [r for r in reads if r != (0, 0)] == [(3, 9), (90, 92)]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5))))
def test_spread_is_the_ranges_one_after_the_other(pairs):
    starts, lengths = np.array(pairs, np.int64).reshape(-1, 2).T
    wanted = itertools.chain.from_iterable(range(s, s + n) for s, n in pairs)
    assert spread(starts, lengths).tolist() == list(wanted)


def test_a_block_is_indexed_as_an_array_of_lists():
    lists = Ragged(np.arange(6), np.array([3, 0, 1, 2]))
    assert [one.tolist() for one in lists] == [[0, 1, 2], [], [3], [4, 5]]
    assert lists[-1].tolist() == [4, 5]
    assert [one.tolist() for one in lists[np.array([3, 0])]] == [[4, 5], [0, 1, 2]]
    assert [one.tolist() for one in lists[np.array([False, True, True, False])]] == [[], [3]]
    assert [one.tolist() for one in lists[1:3]] == [[], [3]]
    both = Ragged.concatenate([lists, lists[:1]])
    assert both.padded(-1, 2).tolist() == [[0, 1], [-1, -1], [3, -1], [4, 5], [0, 1]]
    assert Ragged.of_dense(np.zeros((2, 3, 4))).padded().shape == (2, 3, 4)
    assert Ragged(np.zeros((0, 4)), np.zeros(0, np.int64)).padded().shape == (0, 0, 4)
