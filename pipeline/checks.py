"""What is wrong with the bytes of a TFRecord file: found record by record, vectorised over blocks.

A shard of ours is an array of rows whose bytes are known but for the values: each row is compared
with the template, each value with its feature's rules, each checksum with the data, and, where the
source is at hand, each row with what the source makes of it.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from crc32c import crc32c

from . import example, files, protos, tfrecord
from .errors import DatasetError
from .example import Rows
from .features import Feature

# Of one file; what is more is counted.
MAX_FINDINGS = 20
READ_BYTES = 4 << 20

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Finding:
    """Something that is wrong.

    Attributes:
      file: Its name in the dataset's folder.
      problem: In words.
      record: Number in its file; None where it is the file as a whole.
      offset: Of the first wrong byte in the (inflated) file, or of the record it is in.
    """

    file: str
    problem: str
    record: int | None = None
    offset: int | None = None

    def __str__(self) -> str:
        """One line.

        >>> print(Finding("a-test.tfrecord-00000-of-00001", "its checksum does not fit", 3, 2517))
        a-test.tfrecord-00000-of-00001: record 3, byte 2517: its checksum does not fit
        """
        place = [self.file]
        if self.record is not None:
            place.append(f"record {self.record}, byte {self.offset}")
        elif self.offset is not None:
            place.append(f"byte {self.offset}")
        return ": ".join([*place, self.problem])


class Findings:
    """What was found in one file; the first MAX_FINDINGS in full, the rest as a number."""

    def __init__(self, file: str) -> None:
        """Empty."""
        self.file = file
        self.shown: list[Finding] = []
        self.total = 0

    def add(self, problem: str, record: int | None = None, offset: int | None = None) -> None:
        """Adds one."""
        self.total += 1
        if len(self.shown) < MAX_FINDINGS:
            self.shown.append(Finding(self.file, problem, record, offset))

    def finish(self) -> tuple[Finding, ...]:
        """All that is to be told."""
        if self.total > len(self.shown):
            more = f"and {self.total - len(self.shown)} more findings in this file"
            self.shown.append(Finding(self.file, more))
        return tuple(self.shown)


def _gaps(features: tuple[Feature, ...]) -> list[tuple[int, int]]:
    """Ranges of a row, outside of frame and values, whose bytes never change."""
    layout = example.layout_of(features)
    bounds = [tfrecord.HEADER_BYTES]
    for slot in layout.slots:
        bounds += [slot.offset, slot.offset + slot.size_bytes]
    bounds.append(layout.stride - tfrecord.FOOTER_BYTES)
    pairs = zip(bounds[::2], bounds[1::2], strict=True)
    return [(start, stop) for start, stop in pairs if start < stop]


def _first_difference(row: Rows, wanted: Rows) -> int:
    return int(np.flatnonzero(row != wanted)[0])


def _varint_problem(feature: Feature, data: Rows) -> npt.NDArray[np.bool_]:
    """Rows whose integers are not padded to their width as they should be."""
    width = feature.varint_bytes
    places = data.reshape(len(data), feature.size, width)
    wrong: npt.NDArray[np.bool_] = np.any(places[..., :-1] < 0x80, axis=(1, 2))
    wrong |= np.any(places[..., -1] > (1 if width == 10 else 0x7F), axis=1)
    return wrong


def value_problem(feature: Feature, values: npt.NDArray[Any]) -> Any:
    """Rows whose values are not what their feature allows."""
    flat = values.reshape(len(values), feature.size)
    if feature.constant is not None:
        return (flat != feature.constant).any(axis=1)
    if feature.num_classes is None:
        return np.zeros(len(values), bool)
    if feature.one_hot:
        return ((flat != 0) & (flat != 1)).any(axis=1) | ((flat == 1).sum(axis=1) != 1)
    return ((flat < 0) | (flat >= feature.num_classes)).any(axis=1)


def check_values(
    features: tuple[Feature, ...], rows: Rows, numbers: Numbers, found: Findings
) -> None:
    """Compares rows with their layout, and their values with what each feature allows.

    Args:
      features: Of the dataset.
      rows: uint8[n, stride].
      numbers: int64[n], of the rows in their file.
      found: Takes what is wrong.
    """
    if not len(rows):
        return
    layout, template = example.layout_of(features), example.template_of(features)
    stride = layout.stride
    for start, stop in _gaps(features):
        for row in np.flatnonzero((rows[:, start:stop] != template[start:stop]).any(axis=1)):
            place = start + _first_difference(rows[row, start:stop], template[start:stop])
            number = int(numbers[row])
            found.add(
                f"{rows[row, place]:02x}, where every record of this dataset has "
                f"{template[place]:02x}: no Example of its features",
                number,
                number * stride + place,
            )
    decoded = example.decode_examples(features, layout, rows)
    for feature, slot in zip(features, layout.slots, strict=True):
        wrong = value_problem(feature, decoded[feature.name])
        if feature.encoding == "int64_list":
            data = np.ascontiguousarray(rows[:, slot.offset : slot.offset + slot.size_bytes])
            padding = _varint_problem(feature, data)
            for row in np.flatnonzero(padding):
                number = int(numbers[row])
                found.add(
                    f"{feature.name} holds integers of another width than this dataset's",
                    number,
                    number * stride + slot.offset,
                )
            wrong &= ~padding
        for row in np.flatnonzero(wrong):
            number, value = int(numbers[row]), decoded[feature.name][row].tolist()
            allowed = (
                f"always {feature.constant}"
                if feature.constant is not None
                else f"one of the {feature.num_classes} classes"
            )
            found.add(
                f"{feature.name} is {value}, wanted {allowed}",
                number,
                number * stride + slot.offset,
            )


def check_frames(rows: Rows, numbers: Numbers, found: Findings) -> npt.NDArray[np.bool_]:
    """Compares the length and both checksums of rows.

    Returns:
      bool[n], which rows are as they were written.
    """
    stride = rows.shape[1]
    header = np.frombuffer(tfrecord.frame_header(stride - tfrecord.FRAME_BYTES), np.uint8)
    good = np.ones(len(rows), bool)
    for row in tfrecord.damaged_rows(rows):
        number = int(numbers[row])
        good[row] = False
        if (rows[row, : tfrecord.HEADER_BYTES] != header).any():
            place = _first_difference(rows[row, : tfrecord.HEADER_BYTES], header)
            what = "its length" if place < 8 else "the checksum of its length"
            problem = f"{what} is damaged: {rows[row, place]:02x}, wanted {header[place]:02x}"
        else:
            place, problem = 0, "the checksum of its data does not fit; it is damaged"
        found.add(problem, number, number * stride + place)
    return good


def check_parses(
    features: tuple[Feature, ...], rows: Rows, numbers: Numbers, found: Findings
) -> None:
    """Parses each row with protobuf, and compares names and numbers of values."""
    from google.protobuf.message import DecodeError

    wanted = sorted(feature.name for feature in features)
    flat, stride = rows.tobytes(), rows.shape[1]
    for row, start in enumerate(range(0, len(flat), stride)):
        data = flat[start + tfrecord.HEADER_BYTES : start + stride - tfrecord.FOOTER_BYTES]
        try:
            parsed = protos.parse_example(data).features.feature
        except DecodeError as error:
            problem: str | None = f"not a tf.train.Example: {error}"
        else:
            if sorted(parsed) == wanted:
                sizes = (_size_problem(feature, parsed[feature.name]) for feature in features)
                problem = next(filter(None, sizes), None)
            else:
                problem = f"its features are {', '.join(sorted(parsed)) or 'none'}"
        if problem:
            found.add(problem, int(numbers[row]), int(numbers[row]) * stride)


def parse_problem(data: bytes) -> str | None:
    """Why bytes are neither an Example nor a SequenceExample; None where they are one."""
    from google.protobuf.message import DecodeError

    try:
        # An Example's only field has the number and the type of SequenceExample's first.
        protos.parse_sequence_example(data)
    except DecodeError as error:
        return f"not a tf.train.Example: {error}"
    return None


def _size_problem(feature: Feature, message: Any) -> str | None:
    kind, values = protos.values_of(message)
    wanted_kind = "bytes_list" if feature.encoding == "bytes" else feature.encoding
    is_bytes = feature.encoding == "bytes"
    found = len(values[0]) if is_bytes and len(values) == 1 and values[0] else len(values)
    wanted = feature.value_bytes if is_bytes else feature.size
    if kind == wanted_kind and found == wanted:
        return None
    return f"{feature.name}: {kind or 'nothing'} of {found}, wanted {wanted_kind} of {wanted}"


def check_source(rows: Rows, wanted: Rows, numbers: Numbers, found: Findings) -> None:
    """Compares rows with what the source makes of them.

    Args:
      rows: uint8[n, stride], as they stand in the shard.
      wanted: uint8[n, stride], encoded anew.
      numbers: int64[n], of the rows in their file.
      found: Takes what is wrong.
    """
    if np.array_equal(rows, wanted):
        return
    for row in np.flatnonzero((rows != wanted).any(axis=1)):
        place = _first_difference(rows[row], wanted[row])
        number = int(numbers[row])
        found.add(
            f"{rows[row, place]:02x}, but the source's record at this place makes "
            f"{wanted[row, place]:02x}",
            number,
            number * rows.shape[1] + place,
        )


def read_rows(
    stream: IO[bytes], stride: int, counts: Iterable[int], found: Findings
) -> Iterator[Rows]:
    """Reads rows, so many at a time; what is missing or too much is noted.

    Yields:
      uint8[n, stride], all but the last as long as asked.
    """
    number = 0
    for count in counts:
        data = stream.read(count * stride)
        whole = len(data) // stride
        if whole:
            yield np.frombuffer(data, np.uint8, whole * stride).reshape(whole, stride)
        number += whole
        if whole < count:
            found.add(
                f"the file ends inside of this record or before it ({len(data) % stride} of "
                f"{stride} bytes)",
                number,
                number * stride,
            )
            return
    if stream.read(1):
        found.add("bytes stand behind the last record", None, number * stride)


def check_records(
    stream: IO[bytes], found: Findings, *, deep: bool, seen: Callable[[int], object]
) -> int:
    """Checks any TFRecord file: framing, both checksums, and with `deep` that each record parses.

    Args:
      stream: Inflated where the file is compressed.
      found: Takes what is wrong.
      deep: Whether to parse.
      seen: Told of bytes as they are read.

    Returns:
      Number of records.
    """
    number = offset = unseen = 0
    while head := stream.read(tfrecord.HEADER_BYTES):
        if len(head) < tfrecord.HEADER_BYTES:
            found.add(f"{len(head)} bytes of a header's 12: the file is cut off", number, offset)
            break
        length, length_crc = struct.unpack("<QI", head)
        if tfrecord.mask(crc32c(head[:8])) != length_crc:
            found.add(
                "its length is damaged, so what stands behind it cannot be read either; or this is "
                "no TFRecord file",
                number,
                offset,
            )
            break
        data = tfrecord.read_up_to(stream, length + tfrecord.FOOTER_BYTES)
        if len(data) < length + tfrecord.FOOTER_BYTES:
            found.add(
                f"{len(data)} of {length + tfrecord.FOOTER_BYTES} bytes: the file is cut off",
                number,
                offset,
            )
            break
        body = data[:length]
        if tfrecord.mask(crc32c(body)) != struct.unpack("<I", data[length:])[0]:
            found.add("the checksum of its data does not fit; it is damaged", number, offset)
        elif deep and (problem := parse_problem(body)):
            found.add(problem, number, offset)
        number += 1
        offset += length + tfrecord.FRAME_BYTES
        unseen += length + tfrecord.FRAME_BYTES
        if unseen > READ_BYTES:
            seen(unseen)
            unseen = 0
    seen(unseen)
    return number


class HashingReader:
    """A stream that hashes what is read from it."""

    def __init__(self, stream: IO[bytes]) -> None:
        """Wraps a stream."""
        self._stream = stream
        self._sha256, self._crc32c = hashlib.sha256(), 0

    def read(self, size: int = -1) -> bytes:
        """As of any stream."""
        data = self._stream.read(size)
        self._sha256.update(data)
        self._crc32c = crc32c(data, self._crc32c)
        return data

    def finish(self) -> tuple[str, str]:
        """`(sha256, crc32c)` of the whole file, whether all of it was asked for or not."""
        while self.read(READ_BYTES):
            pass
        return self._sha256.hexdigest(), f"{self._crc32c:08x}"


def sha256_of(path: str) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with files.open_read(path) as stream:
        return HashingReader(stream).finish()[0]


def damage(error: Exception) -> str:
    """An error of reading, in words."""
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror or error}"
    if isinstance(error, DatasetError):
        return str(error).partition(": ")[2]
    return str(error)
