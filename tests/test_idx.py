import contextlib
import errno
import gzip
import io
import math
import os
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from samples import idx_bytes, images, write

from pipeline import idx
from pipeline.errors import DatasetError, InputError
from pipeline.idx import Column, IdxFile, IdxHeader

DTYPES = ["uint8", "int8", "int16", "int32", "float32", "float64"]
# All bit patterns, NaNs and infinities among them; any rank, and sizes that may be 0 in front.
ANY = st.sampled_from(DTYPES).flatmap(
    lambda dtype: arrays.arrays(
        np.dtype(dtype),
        st.tuples(st.integers(0, 9), arrays.array_shapes(min_dims=0, max_dims=4, max_side=3)).map(
            lambda t: (t[0], *t[1])
        ),
    )
)


def column_file(path: Path, array: Any) -> IdxFile:
    write(path, array)
    return IdxFile(str(path), idx.read_header(str(path), path.stat().st_size)[0])


@given(ANY)
def test_what_is_written_is_read_back(tmp_path_factory: Any, array: Any) -> None:
    path = str(tmp_path_factory.mktemp("law") / "a.idx")
    idx.write_idx(path, array)
    content = Path(path).read_bytes()
    header, zipped = idx.read_header(path, len(content))
    assert (header.dtype, header.shape, zipped) == (array.dtype.name, array.shape, False)
    found = IdxFile(path, header).read(0, len(array))
    assert found.tobytes() == array.astype(array.dtype.newbyteorder(">")).tobytes()
    np.testing.assert_array_equal(found.astype(array.dtype), array)


@pytest.mark.parametrize(
    ("code", "dtype", "big_endian_five"),
    [
        (0x08, "uint8", "05"),
        (0x09, "int8", "05"),
        (0x0B, "int16", "0005"),
        (0x0C, "int32", "00000005"),
        (0x0D, "float32", "40a00000"),
        (0x0E, "float64", "4014000000000000"),
    ],
)
def test_each_dtype_code_of_the_format(code: int, dtype: str, big_endian_five: str) -> None:
    content = bytes([0, 0, code, 1, 0, 0, 0, 1]) + bytes.fromhex(big_endian_five)
    header = idx.parse_header(content, "a")
    assert header == IdxHeader(dtype, (1,))
    assert header.file_bytes == len(content)
    assert idx_bytes(np.array([5], dtype)) == content


def test_a_header_tells_every_size() -> None:
    header = IdxHeader("int16", (7, 3, 2))
    assert (header.count, header.record_shape, header.record_bytes) == (7, (3, 2), 12)
    assert (header.header_bytes, header.file_bytes) == (16, 16 + 7 * 12)
    assert IdxHeader("float64", (7,)).record_bytes == 8


def test_the_largest_rank() -> None:
    head = idx.encode_header("uint8", (2,) + (1,) * 254)
    assert len(head) == idx.MAX_HEADER_BYTES
    assert math.prod(idx.parse_header(head, "a").shape) == 2


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"", r"a: 0 bytes, too short for an IDX header"),
        (b"\0\0\x08", r"3 bytes, too short"),
        (b"PK\3\4" + bytes(20), r"bytes 0-3 are 504b0304, not IDX, which starts with 0000"),
        (b"\x1f\x8b\x08\x00" + bytes(9), r"gzip inside gzip"),
        (b"\0\0\x0a\x01" + bytes(4), r"dtype code 0a at byte 2 is unknown; IDX has 08 uint8"),
        (b"\0\0\x08\x00" + bytes(4), r"rank 0 at byte 3"),
        (b"\0\0\x08\x03" + bytes(8), r"12 bytes, but a header of rank 3 has 16"),
        (struct.pack(">BBBB2I", 0, 0, 8, 2, 5, 0), r"shape \(5, 0\): records without values"),
    ],
)
def test_what_is_no_header(head: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        idx.parse_header(head, "a")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (-1, r"a\.idx: the header promises 5x5x4 uint8 values, 116 bytes in all, the file has 115"),
        (-1, r"1 are missing: it was cut off"),
        (3, r"3 trail behind"),
    ],
)
def test_size_against_header(tmp_path: Path, change: int, message: str) -> None:
    content = idx_bytes(images(5)) + bytes(3)
    path = tmp_path / "a.idx"
    path.write_bytes(content[: len(content) - 3 + change])
    with pytest.raises(InputError, match=message):
        idx.read_header(str(path), path.stat().st_size)


def test_a_promise_of_all_memory_costs_none(tmp_path: Path) -> None:
    path = tmp_path / "a.idx"
    path.write_bytes(struct.pack(">BBBB3I", 0, 0, 0x0E, 3, *[2**32 - 1] * 3))
    with pytest.raises(InputError, match=r"6\d{29} bytes in all, the file has 16"):
        idx.read_header(str(path), 16)


@pytest.mark.parametrize("name", ["a.gz", "a.idx", "a"])
def test_gzip_is_known_by_its_bytes(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(idx_bytes(images(5))))
    assert idx.read_header(str(path), 1) == (IdxHeader("uint8", (5, 5, 4)), True)


def test_raw_idx_may_be_named_gz(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(idx_bytes(images(5)))
    assert idx.read_header(str(path), 116) == (IdxHeader("uint8", (5, 5, 4)), False)


def test_neither_gzip_nor_idx_under_the_name_gz(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(b"<html>")
    with pytest.raises(InputError, match=r"named \.gz, but bytes 0-3 are 3c68746d, neither gzip"):
        idx.read_header(str(path), 6)


def test_inflate(tmp_path: Path) -> None:
    content, path, target = idx_bytes(images(300)), tmp_path / "a.gz", tmp_path / "out" / "a"
    path.write_bytes(gzip.compress(content))
    idx.inflate(str(path), str(target), IdxHeader("uint8", (300, 5, 4)))
    assert target.read_bytes() == content
    assert [p.name for p in target.parent.iterdir()] == ["a"]


ZIPPED = gzip.compress(idx_bytes(images(300)), mtime=0)
FLIPPED = ZIPPED[:-8] + bytes([ZIPPED[-8] ^ 1]) + ZIPPED[-7:]


@pytest.mark.parametrize(
    ("content", "count", "message"),
    [
        (ZIPPED, 299, r"inflates to more than the 5996 bytes that its header promises \(299x5x4"),
        (ZIPPED, 301, r"6036 bytes in all, the file has 6016; 20 are missing"),
        (ZIPPED[:-200], 300, r"broken gzip: .*; the file is damaged"),
        (FLIPPED, 300, r"broken gzip: "),
    ],
    ids=["longer", "shorter", "cut off", "checksum"],
)
def test_inflate_writes_all_or_nothing(
    tmp_path: Path, content: bytes, count: int, message: str
) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        idx.inflate(str(path), str(tmp_path / "out" / "a"), IdxHeader("uint8", (count, 5, 4)))
    assert list((tmp_path / "out").iterdir()) == []


def test_the_header_of_broken_gzip(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(b"\x1f\x8b" + b"\xff" * 40)
    with pytest.raises(InputError, match=r"a\.gz: broken gzip"):
        idx.read_header(str(path), 42)


def test_inflating_raises_the_class_that_was_asked_for() -> None:
    with (
        pytest.raises(DatasetError, match=r"shard: broken gzip"),
        idx.inflating(io.BytesIO(ZIPPED[:-200]), "shard", DatasetError) as stream,
    ):
        stream.read()


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize(
    "numbers", [[], [7], [0, 1, 2], [49, 0, 25, 25], [5, 4, 3], [1, 0, 2, 3]], ids=str
)
def test_gather_in_the_order_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, numbers: list[int], resident: bool
) -> None:
    monkeypatch.setattr(idx, "RESIDENT_BYTES", 1 << 20 if resident else 0)
    file = column_file(tmp_path / "a.idx", images(50))
    found = file.gather(np.array(numbers, np.int64))
    np.testing.assert_array_equal(found, images(50)[np.array(numbers, int)])


def test_gather_from_afar_merges_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = np.arange(40 * 100_000, dtype=np.uint32).astype(np.int32).reshape(40, -1)
    file = column_file(tmp_path / "a.idx", wide)
    requests = []
    read = IdxFile.read
    monkeypatch.setattr(IdxFile, "read", lambda *a: requests.append(a[1:]) or read(*a))
    numbers = np.array([30, 3, 1, 31, 1])
    np.testing.assert_array_equal(file._gather_remote(numbers), wide[numbers])
    assert requests == [(1, 4), (30, 32)]


def test_resident_columns_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idx, "RESIDENT_BYTES", 1000)
    monkeypatch.setattr(idx, "_RESIDENT", kept := idx._Resident())
    for index in range(5):
        file = column_file(tmp_path / f"{index}.idx", images(40, first=index))
        assert file.gather(np.array([3]))[0, 0, 0] == index + 3
        assert 0 < sum(array.nbytes for array in kept._arrays.values()) <= 2000


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=5).filter(any),
    st.data(),
)
def test_a_column_of_several_files_is_one(
    tmp_path_factory: Any, counts: list[int], data: Any
) -> None:
    folder, total = tmp_path_factory.mktemp("parts"), sum(counts)
    firsts = np.cumsum([0, *counts])
    parts = tuple(
        column_file(folder / f"{index}.idx", images(count, first=int(firsts[index])))
        for index, count in enumerate(counts)
    )
    numbers = np.array(data.draw(st.lists(st.integers(0, total - 1), max_size=20)), np.int64)
    found = Column(parts).gather(numbers)
    np.testing.assert_array_equal(found, images(total)[numbers])


def test_a_file_that_was_cut_during_the_run(tmp_path: Path) -> None:
    path = tmp_path / "a.idx"
    file = column_file(path, images(50))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(InputError, match=r"484 bytes at offset 16, wanted 1000: .*is shorter than"):
        file.gather(np.arange(50))


def _broken(*_: object) -> bytes:
    raise OSError(errno.EIO, "Input/output error")


def test_a_source_that_cannot_be_read_is_told_by_its_own_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.idx"
    path.write_bytes(idx.encode_header("uint8", (3,)) + b"abc")
    file = IdxFile(str(path), IdxHeader("uint8", (3,)))
    monkeypatch.setattr(os, "pread", _broken)
    with pytest.raises(InputError, match=r"a.idx: cannot be read: Input/output error; mend that"):
        file.read(0, 3)


def test_a_source_in_gzip_that_cannot_be_read_is_told_by_its_own_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, target = tmp_path / "a.gz", tmp_path / "inflated"
    path.write_bytes(gzip.compress(bytes(100)))
    broken = SimpleNamespace(read=_broken)
    monkeypatch.setattr(idx, "inflating", lambda *_: contextlib.nullcontext(broken))
    with pytest.raises(InputError, match=r"a.gz: cannot be read: Input/output error"):
        idx.inflate(str(path), str(target), IdxHeader("uint8", (300, 5, 4)))
    assert not list(tmp_path.glob("inflated*"))
