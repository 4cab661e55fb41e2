"""The IDX format of the MNIST family, read at random without reading what is not asked for.

    offset  bytes  meaning
    0       2      zero
    2       1      dtype code: 08 u1, 09 i1, 0B i2, 0C i4, 0D f4, 0E f8 (big-endian)
    3       1      rank, 1 or more
    4       4*rank sizes, unsigned big-endian; the first is the number of records
    4+4*rank …     values, big-endian, C order

Source: Yann LeCun's MNIST page, "the IDX file format". A file may be wrapped in gzip, which is
recognised by its first two bytes, never by its name.
"""

from __future__ import annotations

import contextlib
import functools
import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from . import files
from .errors import InputError, RecordmillError

DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
CODES = {np.dtype(dtype): code for code, dtype in DTYPES.items()}
GZIP_MAGIC = b"\x1f\x8b"
MAX_HEADER_BYTES = 4 + 4 * 255
INFLATE_CHUNK_BYTES = 1 << 20

# A column up to this size is read once and gathered from memory: 0.1 us a record where a
# pread costs 1 us. The bound keeps a worker's memory independent of the input's size.
RESIDENT_BYTES = 64 << 20


@dataclass(frozen=True)
class IdxHeader:
    """What the first bytes of an IDX file say.

    Attributes:
      dtype: numpy's name of the values' dtype in native order, such as "uint8".
      shape: Sizes, records first.
    """

    dtype: str
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        """Number of records."""
        return self.shape[0]

    @property
    def record_shape(self) -> tuple[int, ...]:
        """Shape of one record; () for a vector of scalars."""
        return self.shape[1:]

    @property
    def record_bytes(self) -> int:
        """Bytes of one record."""
        return math.prod(self.record_shape) * np.dtype(self.dtype).itemsize

    @property
    def header_bytes(self) -> int:
        """Offset of the first record."""
        return 4 + 4 * len(self.shape)

    @property
    def file_bytes(self) -> int:
        """Bytes that the whole file must have, uncompressed."""
        return self.header_bytes + self.count * self.record_bytes


def is_gzip(head: bytes) -> bool:
    """Whether a file that starts with these bytes is wrapped in gzip."""
    return head[:2] == GZIP_MAGIC


def parse_header(head: bytes, path: str) -> IdxHeader:
    """Reads an IDX header from a file's first bytes.

    Args:
      head: The first bytes, uncompressed; MAX_HEADER_BYTES of them or the whole file.
      path: Named in errors.

    Raises:
      InputError: These bytes do not begin an IDX file.

    >>> parse_header(bytes.fromhex("00000803 0000ea60 0000001c 0000001c"), "train-images")
    IdxHeader(dtype='uint8', shape=(60000, 28, 28))
    """
    if len(head) < 4:
        raise InputError(
            f"{path}: {len(head)} bytes, too short for an IDX header of at least 8; "
            "the file is empty or was cut off: fetch it again"
        )
    if is_gzip(head):
        raise InputError(f"{path}: gzip inside gzip; inflate it once by hand")
    if head[:2] != b"\0\0":
        raise InputError(
            f"{path}: bytes 0-3 are {head[:4].hex()}, not IDX, which starts with 0000, a dtype "
            "code and a rank; give the raw IDX file, inflated or in gzip"
        )
    if head[2] not in DTYPES:
        known = ", ".join(f"{code:02x} {np.dtype(d).name}" for code, d in DTYPES.items())
        raise InputError(f"{path}: dtype code {head[2]:02x} at byte 2 is unknown; IDX has {known}")
    rank = head[3]
    if rank == 0:
        raise InputError(f"{path}: rank 0 at byte 3; an array of records has rank 1 or more")
    if len(head) < 4 + 4 * rank:
        raise InputError(
            f"{path}: {len(head)} bytes, but a header of rank {rank} has {4 + 4 * rank}; "
            "the file was cut off: fetch it again"
        )
    shape = struct.unpack_from(f">{rank}I", head, 4)
    if 0 in shape[1:]:
        raise InputError(f"{path}: shape {shape}: records without values cannot be converted")
    return IdxHeader(np.dtype(DTYPES[head[2]]).newbyteorder("=").name, shape)


def encode_header(dtype: npt.DTypeLike, shape: Sequence[int]) -> bytes:
    """The header of an IDX file.

    >>> encode_header("uint8", (60000, 28, 28)).hex(" ", 4)
    '00000803 0000ea60 0000001c 0000001c'
    """
    code = CODES[np.dtype(dtype).newbyteorder(">")]
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, code, len(shape), *shape)


def write_idx(path: str, array: npt.NDArray[Any]) -> None:
    """Writes an array of rank 1 or more as an uncompressed IDX file."""
    values = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder(">"))
    with files.replacing(path) as stream:
        stream.write(encode_header(array.dtype, array.shape))
        stream.write(values.reshape(-1).view(np.uint8).data)


def check_size(header: IdxHeader, size_bytes: int, path: str) -> None:
    """Compares what a header promises with the uncompressed size that the file has.

    Raises:
      InputError: The file is cut off, or goes on behind its last record.
    """
    missing = header.file_bytes - size_bytes
    if not missing:
        return
    what = f"{missing} are missing: it was cut off" if missing > 0 else f"{-missing} trail behind"
    raise InputError(
        f"{path}: the header promises {'x'.join(map(str, header.shape))} {header.dtype} values, "
        f"{header.file_bytes} bytes in all, the file has {size_bytes}; {what}; fetch it again"
    )


@contextlib.contextmanager
def inflating(
    stream: IO[bytes], path: str, error_class: type[RecordmillError] = InputError
) -> Iterator[IO[bytes]]:
    """Inflates with isal, three times as fast as the standard library's gzip.

    Raises:
      RecordmillError: Of the given class: the gzip is broken or cut off.
    """
    from isal import igzip, igzip_lib

    # IsalError is declared as an instance in isal's stubs; it is a class.
    broken: Any = (OSError, EOFError, zlib.error, igzip_lib.IsalError)
    try:
        with igzip.open(stream, "rb") as inflated:  # type: ignore[no-untyped-call]  # has no types
            yield inflated
    except broken as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise error_class(f"{path}: broken gzip: {error}; the file is damaged") from error


def _inflated(path: str) -> Iterator[bytes]:
    """What a file in gzip holds, some at a time; an error is told as one of this file."""
    with files.open_read(path) as stream, inflating(stream, path) as inflated:
        while True:
            try:
                chunk = inflated.read(INFLATE_CHUNK_BYTES)
            except OSError as error:
                if error.errno is None:
                    raise
                raise files.unreadable(path, error) from error
            if not chunk:
                return
            yield chunk


def inflate(path: str, target: str, header: IdxHeader) -> None:
    """Writes what a file in gzip holds to another file, and no more than its header promises.

    Raises:
      InputError: The gzip is broken or unreadable, or does not hold the promised number of bytes.
    """
    done = 0
    with files.replacing(target) as output:
        for chunk in _inflated(path):
            done += len(chunk)
            if done > header.file_bytes:
                raise InputError(
                    f"{path}: inflates to more than the {header.file_bytes} bytes that its header "
                    f"promises ({'x'.join(map(str, header.shape))} {header.dtype} values); "
                    "bytes trail behind the last record: fetch it again"
                )
            output.write(chunk)
        check_size(header, done, path)


def read_header(path: str, size_bytes: int) -> tuple[IdxHeader, bool]:
    """Reads the header of a file, and of no more, and whether it is wrapped in gzip.

    The size of an uncompressed file is checked against the header; what gzip holds is only
    known when it is inflated, and is checked there.

    Raises:
      InputError: Not an IDX file, or not of the size that its header promises.
    """
    with files.open_read(path) as stream:
        head = stream.read(MAX_HEADER_BYTES)
        if is_gzip(head):
            stream.seek(0)
            with inflating(stream, path) as inflated:
                return parse_header(inflated.read(MAX_HEADER_BYTES), path), True
    if path.endswith(".gz") and head[:2] != b"\0\0":
        raise InputError(
            f"{path}: named .gz, but bytes 0-3 are {head[:4].hex()}, neither gzip (1f8b) nor IDX "
            "(0000); fetch it again"
        )
    header = parse_header(head, path)
    check_size(header, size_bytes, path)
    return header, False


@dataclass(frozen=True)
class IdxFile:
    """An uncompressed IDX file whose records are read by number.

    Attributes:
      path: Where the uncompressed bytes are.
      version: As `files.version`, so that a replaced file is not read by an old handle.
    """

    path: str
    header: IdxHeader
    version: str = ""

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Records `[start, stop)` as big-endian values of shape `[stop - start, *record_shape]`."""
        size = self.header.record_bytes
        data = files.open_at(self.path, self.version).read_at(
            self.header.header_bytes + start * size, (stop - start) * size
        )
        return self._view(data)

    def read_ranges(
        self, starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]
    ) -> npt.NDArray[Any]:
        """All records `[start, start + length)`, one range after the other."""
        size = self.header.record_bytes
        offsets = starts * size + self.header.header_bytes
        opened = files.open_at(self.path, self.version)
        return self._view(opened.read_ranges(offsets.tolist(), (lengths * size).tolist()))

    def gather(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """The records of these numbers, in this order, big-endian."""
        size, first = self.header.record_bytes, self.header.header_bytes
        if not len(numbers):
            return self._view(b"")
        if self.header.count * size <= RESIDENT_BYTES:
            return _RESIDENT.column(self)[numbers]
        if int(numbers[-1]) - int(numbers[0]) == len(numbers) - 1 and (np.diff(numbers) == 1).all():
            return self.read(int(numbers[0]), int(numbers[-1]) + 1)
        if not files.is_local(self.path):
            return self._gather_remote(numbers)
        read_at = files.open_at(self.path, self.version).read_at
        return self._view(b"".join([read_at(o, size) for o in (numbers * size + first).tolist()]))

    def _gather_remote(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Merges neighbours into one request where the gap costs less than a round trip."""
        ranks = np.argsort(numbers, kind="stable")
        ordered = numbers[ranks]
        gap_records = max(1, (1 << 20) // self.header.record_bytes)
        runs = np.split(ordered, np.flatnonzero(np.diff(ordered) > gap_records) + 1)
        parts = [self.read(int(r[0]), int(r[-1]) + 1)[r - r[0]] for r in runs]
        result = np.empty((len(numbers), *self.header.record_shape), parts[0].dtype)
        result[ranks] = np.concatenate(parts)
        return result

    def _view(self, data: bytes) -> npt.NDArray[Any]:
        dtype = np.dtype(self.header.dtype).newbyteorder(">")
        return np.frombuffer(data, dtype).reshape(-1, *self.header.record_shape)


class _Resident:
    """Whole columns in memory, by file; at most two RESIDENT_BYTES of them in a process."""

    def __init__(self) -> None:
        self._arrays: dict[IdxFile, npt.NDArray[Any]] = {}
        self._held_bytes = 0

    def column(self, file: IdxFile) -> npt.NDArray[Any]:
        if file not in self._arrays:
            array = file.read(0, file.header.count)
            if self._held_bytes + array.nbytes > 2 * RESIDENT_BYTES:
                self._arrays.clear()
                self._held_bytes = 0
            self._arrays[file] = array
            self._held_bytes += array.nbytes
        return self._arrays[file]


_RESIDENT = _Resident()


@dataclass(frozen=True)
class Column:
    """The records of several IDX files, one after the other, read by number."""

    parts: tuple[IdxFile, ...]

    @functools.cached_property
    def _starts(self) -> npt.NDArray[np.int64]:
        return np.cumsum([0] + [part.header.count for part in self.parts], dtype=np.int64)

    @property
    def count(self) -> int:
        """Number of records."""
        return int(self._starts[-1])

    @property
    def row_bytes(self) -> int:
        """Bytes of a record."""
        return self.parts[0].header.record_bytes

    @property
    def local(self) -> bool:
        """Whether all files are on this machine."""
        return all(files.is_local(part.path) for part in self.parts)

    @property
    def resident(self) -> bool:
        """Whether all of it may be kept in memory, where `gather` then finds it."""
        return self.count * self.row_bytes <= RESIDENT_BYTES

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Records `[start, stop)`, big-endian, `[stop - start, *record_shape]`."""
        read = []
        for part, first in zip(self.parts, self._starts.tolist(), strict=False):
            begin, end = max(start - first, 0), min(stop - first, part.header.count)
            if begin < end:
                read.append(part.read(begin, end))
        if not read:
            return self.parts[0].read(0, 0)
        return read[0] if len(read) == 1 else np.concatenate(read)

    def gather(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Records by number, `[len(numbers), *record_shape]`, big-endian, in the order asked."""
        if len(self.parts) == 1:
            return self.parts[0].gather(numbers)
        starts = self._starts
        owner = np.searchsorted(starts, numbers, side="right") - 1
        first = self.parts[0].header
        result = np.empty(
            (len(numbers), *first.record_shape), np.dtype(first.dtype).newbyteorder(">")
        )
        ranks = np.argsort(owner, kind="stable")
        bounds = np.flatnonzero(np.diff(owner[ranks], prepend=-1, append=-1))
        for begin, end in zip(bounds[:-1], bounds[1:], strict=True):
            mine = ranks[begin:end]
            index = int(owner[mine[0]])
            result[mine] = self.parts[index].gather(numbers[mine] - starts[index])
        return result
