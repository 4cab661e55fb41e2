import io
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import tfrecord
from pipeline.errors import DatasetError
from pipeline.tfrecord import Record, frame, read_records

DATA = [b"", b"a", bytes(range(256)), b"xyz" * 100]
CONTENT = b"".join(map(frame, DATA))


def read(content: bytes, **options: int) -> list[Record]:
    return list(read_records(io.BytesIO(content), "file", **options))


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_what_is_framed_is_read_back(data: list[bytes]) -> None:
    records = read(b"".join(map(frame, data)))
    assert [record.data for record in records] == data
    assert [record.number for record in records] == list(range(len(data)))
    offsets = np.cumsum([0, *(len(d) + tfrecord.FRAME_BYTES for d in data)])
    assert [record.offset for record in records] == offsets[:-1].tolist()


def test_frames_are_tensorflow_s(tmp_path: Path) -> None:
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(tmp_path / "a")) as writer:
        for data in DATA:
            writer.write(data)
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_the_empty_file_has_no_records() -> None:
    assert read(b"") == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (CONTENT[:-1], r"file: record 3 at byte 305: 303 of 304 bytes; the file is cut off"),
        (CONTENT[: -304 - 5], r"record 3 at byte 305: 7 bytes of its header's 12; the file is cut"),
        (
            b"<html>" * 9,
            r"record 0 at byte 0: the checksum of its length does not fit; .*no TFReco",
        ),
    ],
)
def test_cut_off_and_foreign_files(content: bytes, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read(content)


@pytest.mark.parametrize("offset", range(0, len(CONTENT), 7))
def test_each_flipped_byte_is_found(offset: int) -> None:
    changed = bytearray(CONTENT)
    changed[offset] ^= 1
    starts = [record.offset for record in read(CONTENT)]
    number = max(i for i, start in enumerate(starts) if start <= offset)
    with pytest.raises(DatasetError, match=rf"file: record {number} at byte {starts[number]}: "):
        read(bytes(changed))


def test_a_length_beyond_the_file() -> None:
    length = struct.pack("<Q", 2**50)
    head = length + struct.pack("<I", tfrecord.mask(tfrecord.crc32c(length)))
    with pytest.raises(DatasetError, match=r"record 0 at byte 0: 1125899906842624 bytes long, of"):
        read(head + b"some", max_bytes=100)


@given(st.integers(1, 5), st.integers(0, 40), st.data())
def test_rows_of_one_length(count: int, length: int, data: st.DataObject) -> None:
    records = [data.draw(st.binary(min_size=length, max_size=length)) for _ in range(count)]
    rows = np.frombuffer(b"".join(map(frame, records)), np.uint8).reshape(count, -1)
    np.testing.assert_array_equal(tfrecord.masked_crcs(rows), tfrecord.stored_crcs(rows))
    assert tfrecord.frame_header(length) == rows[0, : tfrecord.HEADER_BYTES].tobytes()
    assert len(tfrecord.damaged_rows(rows)) == 0


@pytest.mark.parametrize("offset", range(23))
def test_damaged_rows(offset: int) -> None:
    rows = np.frombuffer(frame(b"seven b") * 4, np.uint8).reshape(4, -1).copy()
    assert rows.shape[1] == 23
    rows[2, offset] ^= 0x80
    assert tfrecord.damaged_rows(rows).tolist() == [2]
