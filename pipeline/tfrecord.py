"""TFRecord framing, checksums, and reading without TensorFlow.

    offset    bytes   meaning
    0         8       length of the data, little-endian unsigned
    8         4       masked CRC32C of those 8 bytes
    12        length  data: a serialized message
    12+length 4       masked CRC32C of the data

    masked = rotate_right(crc, 15) + 0xA282EAD8, modulo 2**32

Source: the TFRecord page of TensorFlow's guide. When all records of a file are of one length,
the file is an array of equal rows, `uint8[n, stride]`, with stride = length + 16.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from crc32c import crc32c

from .errors import DatasetError

if TYPE_CHECKING:
    from .accumulate import ColumnStatistics

HEADER_BYTES = 12
FOOTER_BYTES = 4
FRAME_BYTES = HEADER_BYTES + FOOTER_BYTES
MASK_DELTA = 0xA282EAD8
READ_BYTES = 16 << 20


def index_path(path: str) -> str:
    """Where the index of a shard of records of varying length stands, beside it.

    It is a file of text: a line `offset length` for each record, frame and all, as DALI and the
    `tfrecord` package read it. Its name does not match `<name>.tfrecord*`.

    >>> index_path("out/words-train.tfrecord-00000-of-00008")
    'out/words-train.index-00000-of-00008'
    """
    folder, slash, name = path.rpartition("/")
    before, _, after = name.rpartition(".tfrecord")
    return f"{folder}{slash}{before}.index{after}"


def index_lines(offsets: npt.NDArray[np.int64]) -> bytes:
    r"""The lines of an index, of the records between these offsets.

    >>> index_lines(np.array([0, 30, 50]))
    b'0 30\n30 20\n'
    """
    pairs = np.stack([offsets[:-1], np.diff(offsets)], axis=1)
    # One format for all pairs: a tuple for each would be an object for Python's collector.
    return ("%d %d\n" * len(pairs) % tuple(pairs.reshape(-1).tolist())).encode()


def parse_index(content: bytes, path: str) -> npt.NDArray[np.int64]:
    """The offsets that an index tells, int64[n + 1]; the last is the file's end.

    Raises:
      DatasetError: It is no index, or tells gaps.
    """
    try:
        pairs = np.array(content.split(), np.int64).reshape(-1, 2)
    except ValueError as error:
        raise DatasetError(f"{path}: no index of records: {error}; repair the dataset") from error
    offsets = np.zeros(len(pairs) + 1, np.int64)
    np.cumsum(pairs[:, 1], out=offsets[1:])
    if (pairs[:, 0] != offsets[:-1]).any():
        raise DatasetError(f"{path}: its offsets leave gaps; repair the dataset")
    return offsets


def mask(crc: int) -> int:
    """TFRecord's masking of a CRC32C.

    >>> hex(mask(0))
    '0xa282ead8'
    """
    return ((crc >> 15 | crc << 17) + MASK_DELTA) & 0xFFFFFFFF


def frame(data: bytes) -> bytes:
    """One framed record."""
    length = struct.pack("<Q", len(data))
    return b"".join(
        (
            length,
            struct.pack("<I", mask(crc32c(length))),
            data,
            struct.pack("<I", mask(crc32c(data))),
        )
    )


@dataclass(frozen=True)
class Framed:
    r"""Framed records, one after the other, ready to be written.

    Attributes:
      data: uint8[bytes], C order.
      offsets: int64[n + 1]; record i is `data[offsets[i] : offsets[i + 1]]`, frame and all.
      statistics: What was seen of the records, by feature; {} where nobody looked.
      bad: Number in the source split, and reason, of each record that was set aside.

    >>> list(Framed.of_rows(np.zeros((2, 17), np.uint8)).messages())
    [b'\x00', b'\x00']
    """

    data: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]
    statistics: dict[str, ColumnStatistics] = field(default_factory=dict, repr=False)
    bad: tuple[tuple[int, str], ...] = ()

    @classmethod
    def of_rows(cls, rows: npt.NDArray[np.uint8]) -> Framed:
        """Records of one length: uint8[n, stride]."""
        count, stride = rows.shape
        return cls(rows.reshape(-1), np.arange(count + 1, dtype=np.int64) * stride)

    def __len__(self) -> int:
        """Number of records."""
        return len(self.offsets) - 1

    def messages(self) -> Iterator[bytes]:
        """The serialized message of each record, without its frame."""
        view = self.data.data
        starts, ends = self.offsets[:-1] + HEADER_BYTES, self.offsets[1:] - FOOTER_BYTES
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            yield bytes(view[start:end])


@functools.lru_cache(maxsize=16)
def _data_slices(count: int, stride: int) -> tuple[slice, ...]:
    return tuple(
        slice(start + HEADER_BYTES, start + stride - FOOTER_BYTES)
        for start in range(0, count * stride, stride)
    )


def message_slices(framed: Framed) -> Iterable[slice]:
    """Where the message of each record stands in the data; to be gone through once."""
    offsets = framed.offsets
    if len(framed) and (np.diff(offsets) == offsets[1]).all():
        return _data_slices(len(framed), int(offsets[1]))
    starts, ends = offsets[:-1] + HEADER_BYTES, offsets[1:] - FOOTER_BYTES
    # Not a list: Python's collector would follow each slice that is kept.
    return map(slice, starts.tolist(), ends.tolist())


def _masked(crcs: Iterator[int], count: int) -> npt.NDArray[np.uint32]:
    values = np.fromiter(crcs, np.uint32, count)
    masked: npt.NDArray[np.uint32] = (
        values >> np.uint32(15) | values << np.uint32(17)
    ) + np.uint32(MASK_DELTA)
    return masked


def masked_crcs(rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    """The masked CRC32C of the data of each framed row.

    Args:
      rows: uint8[n, stride], C order.

    Returns:
      uint32[n].
    """
    flat = rows.reshape(-1).data
    # A C call a row, fed by C iterators: 0.3 us for 800 bytes, most of it the interpreter's.
    return _masked(map(crc32c, map(flat.__getitem__, _data_slices(*rows.shape))), len(rows))


def message_crcs(framed: Framed) -> npt.NDArray[np.uint32]:
    """The masked CRC32C of the data of each framed record, uint32[n]."""
    views = map(framed.data.data.__getitem__, message_slices(framed))
    return _masked(map(crc32c, views), len(framed))


def stored_crcs(rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    """The checksums that stand at the end of framed rows, uint32[n]."""
    return np.ascontiguousarray(rows[:, -FOOTER_BYTES:]).view("<u4")[:, 0]


def damaged_rows(rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """The numbers of the rows whose frame or data is not what was written.

    Args:
      rows: uint8[n, stride], framed records of `stride - 16` bytes.
    """
    wanted = np.frombuffer(frame_header(rows.shape[1] - FRAME_BYTES), np.uint8)
    wrong = (rows[:, :HEADER_BYTES] != wanted).any(axis=1)
    wrong |= stored_crcs(rows) != masked_crcs(rows)
    return np.flatnonzero(wrong)


def damaged_records(framed: Framed) -> npt.NDArray[np.int64]:
    """The numbers of the records whose frame or data is not what was written."""
    data, offsets = framed.data, framed.offsets
    wrong = np.diff(offsets) < FRAME_BYTES
    if wrong.any():
        return np.flatnonzero(wrong)
    lengths = data[offsets[:-1, None] + np.arange(HEADER_BYTES)]
    sizes = np.diff(offsets) - FRAME_BYTES
    distinct, which = np.unique(sizes, return_inverse=True)
    wanted = np.frombuffer(b"".join(map(frame_header, distinct.tolist())), np.uint8)
    wrong = (lengths != wanted.reshape(-1, HEADER_BYTES)[which]).any(axis=1)
    stored = data[offsets[1:, None] - FOOTER_BYTES + np.arange(FOOTER_BYTES)]
    wrong |= stored.view("<u4")[:, 0] != message_crcs(framed)
    return np.flatnonzero(wrong)


def frame_header(length: int) -> bytes:
    """The 12 bytes before the data of a record of this length."""
    packed = struct.pack("<Q", length)
    return packed + struct.pack("<I", mask(crc32c(packed)))


def read_up_to(stream: IO[bytes], size: int) -> bytes:
    """As `stream.read(size)`, without taking memory for more than there is to read."""
    if size <= READ_BYTES:
        return stream.read(size)
    parts = []
    while size and (part := stream.read(min(size, READ_BYTES))):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


@dataclass(frozen=True)
class Record:
    """A record of a TFRecord file: its number, the offset of its frame in bytes, its data."""

    number: int
    offset: int
    data: bytes


def read_records(stream: IO[bytes], path: str, *, max_bytes: int | None = None) -> Iterator[Record]:
    """Reads the records of any TFRecord file, one by one, and checks both checksums of each.

    Args:
      stream: Positioned at the start; inflated already where the file is compressed.
      path: Named in errors.
      max_bytes: Records longer than this are taken for damage; None sets no limit of its own.

    Raises:
      DatasetError: A record is damaged or cut off; names record and offset.
    """
    number = offset = 0
    while head := stream.read(HEADER_BYTES):
        place = f"{path}: record {number} at byte {offset}"
        if len(head) < HEADER_BYTES:
            raise DatasetError(
                f"{place}: {len(head)} bytes of its header's {HEADER_BYTES}; the file is cut off"
            )
        length, length_crc = struct.unpack("<QI", head)
        if mask(crc32c(head[:8])) != length_crc:
            raise DatasetError(
                f"{place}: the checksum of its length does not fit; the file is damaged, "
                "or no TFRecord file, or compressed"
            )
        if max_bytes is not None and length > max_bytes:
            raise DatasetError(f"{place}: {length} bytes long, of a file of {max_bytes}")
        data = read_up_to(stream, length)
        foot = stream.read(FOOTER_BYTES)
        if len(data) < length or len(foot) < FOOTER_BYTES:
            raise DatasetError(
                f"{place}: {len(data) + len(foot)} of {length + FOOTER_BYTES} bytes; "
                "the file is cut off"
            )
        if mask(crc32c(data)) != struct.unpack("<I", foot)[0]:
            raise DatasetError(f"{place}: the checksum of its data does not fit; it is damaged")
        yield Record(number, offset, data)
        number += 1
        offset += length + FRAME_BYTES
