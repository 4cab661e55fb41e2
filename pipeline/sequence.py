"""Blocks of records of varying length to framed bytes and back, vectorised and deterministic.

A dataset with a feature list is written as SequenceExamples, a list of one Feature a step; by
choice, and where no feature has steps, as Examples:

    SequenceExample { Features context = 1; FeatureLists feature_lists = 2; }
    FeatureLists    { map<string, FeatureList> feature_list = 1; }      entries sorted by key
    FeatureList     { repeated Feature feature = 1; }

What is fixed is a template, as in `example.py`: the context, and each step with all its tags.
Around the steps stand the lengths of the messages that hold them. They are shortest varints, so
the size of a record follows from its lengths alone. Values are padded to one width: where that
is 1, the bytes are those of `SerializeToString(deterministic=True)`.

A record's bytes are `head steps head steps … crc`: the heads of all records of a block are made
at once, and so are all steps; then they are joined.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from . import tfrecord
from .example import (
    LISTS,
    Columns,
    Rows,
    Slot,
    decode_values,
    encode_values,
    encode_varint,
    feature_message,
    fill_slots,
    map_entries,
    message,
)
from .features import Feature
from .ragged import Ragged
from .tfrecord import FOOTER_BYTES, FRAME_BYTES, HEADER_BYTES, Framed

# Steps of so few bytes are copied faster byte by byte, all steps at once, than step by step.
NARROW_BYTES = 16
# No message is longer than 2 GiB.
LONGEST_SIZE_BYTES = 5
Ints = npt.NDArray[np.int64]
Lengths = Mapping[str, Ints]


@dataclass(frozen=True)
class Fixed:
    """A part that has the same bytes in each record, but for the values in its slots."""

    template: bytes
    features: tuple[Feature, ...] = ()
    slots: tuple[Slot, ...] = ()


@dataclass(frozen=True)
class Varying:
    """A part that differs in length: messages, one in the other, and in the inmost the steps.

    Attributes:
      tags: What stands before the length of each of the messages, outermost first.
      step_tag: What stands before the values of each step.
    """

    feature: Feature
    tags: tuple[bytes, ...]
    step_tag: bytes

    @property
    def step_bytes(self) -> int:
        """Bytes of a step."""
        return len(self.step_tag) + self.feature.value_bytes

    def sizes(self, content: Ints) -> list[Ints]:
        """Lengths of the messages, outermost first, and of the whole part in front of them."""
        sizes = [content]
        for tag in reversed(self.tags):
            sizes.insert(0, len(tag) + varint_sizes(sizes[0]) + sizes[0])
        return sizes


@dataclass(frozen=True)
class Form:
    """How the records of a dataset are made: the opening, then a message of all other parts."""

    opening: Fixed
    body_tag: bytes
    parts: tuple[Fixed | Varying, ...]


def is_fixed(features: Iterable[Feature]) -> bool:
    """Whether all records of these features are of one length."""
    return not any(feature.sequence for feature in features)


@functools.lru_cache(maxsize=32)
def form_of(features: tuple[Feature, ...]) -> Form:
    """The form of the records of a dataset with a feature of varying length."""
    if any(feature.sequence == "feature_list" for feature in features):
        fixed = tuple(feature for feature in features if not feature.sequence)
        entries, slots = map_entries(fixed)
        context = message(1, entries)
        first = len(context) - len(entries)
        moved = tuple(Slot(slot.feature, slot.offset + first, slot.size_bytes) for slot in slots)
        lists = tuple(_varying(feature) for feature in features if feature.sequence)
        return Form(Fixed(context, fixed, moved), b"\x12", lists)
    parts = tuple(
        _varying(feature)
        if feature.sequence
        else Fixed(map_entries([feature])[0], (feature,), map_entries([feature])[1])
        for feature in features
    )
    return Form(Fixed(b""), b"\x0a", parts)


def _varying(feature: Feature) -> Varying:
    entry, value = b"\x0a", message(1, feature.name.encode()) + b"\x12"
    kind = encode_varint(LISTS[feature.encoding] << 3 | 2)
    size = feature.value_bytes
    if feature.sequence == "feature_list":
        return Varying(feature, (entry, value), message(1, feature_message(feature))[:-size])
    if feature.encoding == "bytes":
        return Varying(feature, (entry, value, kind), message(1, bytes(size))[:-size])
    return Varying(feature, (entry, value, kind, b"\x0a"), b"")


def varint_sizes(values: Ints) -> Ints:
    """Bytes of the shortest varint of each length.

    >>> varint_sizes(np.array([0, 127, 128, 16383, 16384])).tolist()
    [1, 1, 2, 2, 3]
    """
    sizes = np.ones(values.shape, np.int64)
    for place in range(1, LONGEST_SIZE_BYTES):
        sizes += values >= 1 << 7 * place
    return sizes


def _varints(values: Ints) -> tuple[Rows, npt.NDArray[np.bool_]]:
    """The shortest varints: uint8[n, 5], and which of the bytes count."""
    places = np.arange(LONGEST_SIZE_BYTES)
    kept = places < varint_sizes(values)[:, None]
    groups = (values[:, None] >> 7 * places & 0x7F).astype(np.uint8)
    groups[:, :-1] |= kept[:, 1:].astype(np.uint8) << np.uint8(7)
    return groups, kept


def lengths_of(feature: Feature, columns: Columns) -> Ints:
    """How many steps each record of a block has, int64[n]."""
    return _ragged(columns[feature.column or ""]).lengths


def _ragged(column: Any) -> Ragged:
    return column if isinstance(column, Ragged) else Ragged.of_dense(column)


def record_sizes(features: tuple[Feature, ...], lengths: Lengths, count: int) -> Ints:
    """Bytes of each framed record, from the lengths alone.

    Args:
      features: Of a dataset with a feature of varying length.
      lengths: By column, steps of each record.
      count: Number of records.

    Returns:
      int64[count].
    """
    form = form_of(features)
    body = np.zeros(count, np.int64)
    for part in form.parts:
        if isinstance(part, Fixed):
            body += len(part.template)
        else:
            body += part.sizes(lengths[part.feature.column or ""] * part.step_bytes)[0]
    opening = FRAME_BYTES + len(form.opening.template) + len(form.body_tag)
    return opening + varint_sizes(body) + body


class _Heads:
    """Builds, for n records at once, the bytes before the next steps."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._parts: list[tuple[Rows, npt.NDArray[np.bool_]]] = []

    def add(self, rows: Rows) -> None:
        """Bytes of one length: uint8[n, k]."""
        self._parts.append((rows, np.ones(rows.shape, np.bool_)))

    def add_bytes(self, content: bytes) -> None:
        self.add(np.broadcast_to(np.frombuffer(content, np.uint8), (self._count, len(content))))

    def add_varints(self, values: Ints) -> None:
        self._parts.append(_varints(values))

    def take(self) -> tuple[Rows, Ints]:
        """All bytes, one record's after the other's, and how many each has; then starts anew."""
        rows = np.concatenate([rows for rows, _ in self._parts], axis=1)
        kept = np.concatenate([kept for _, kept in self._parts], axis=1)
        self._parts = []
        return rows[kept], kept.sum(axis=1)


def interleave(pieces: list[tuple[Rows, Ints]]) -> Rows:
    """Joins the pieces of each record.

    Args:
      pieces: Each a flat uint8 array with a piece for each record, and the pieces' lengths.

    Returns:
      All pieces of the first record, then all of the second; may be written to.
    """
    parts: list[Any] = [None] * (len(pieces) * len(pieces[0][1]))
    for number, (data, sizes) in enumerate(pieces):
        ends = np.cumsum(sizes)
        # Slices of bytes, though each is a copy: Python's collector follows thousands of views
        # that live at once, which costs five times as much. One join: 0.1 us a piece.
        slices = map(slice, (ends - sizes).tolist(), ends.tolist())
        parts[number :: len(pieces)] = map(data.tobytes().__getitem__, slices)
    return np.frombuffer(bytearray().join(parts), np.uint8)


def encode_records(features: tuple[Feature, ...], columns: Columns, numbers: Ints) -> Framed:
    """Encodes a block of records.

    Args:
      features: As `make_features` gives them, one of them of varying length.
      columns: Each `[n, *record_shape]` or a `Ragged`, of either byte order.
      numbers: int64[n], what the feature `index` holds.
    """
    count, form = len(numbers), form_of(features)
    steps: dict[str, tuple[Rows, list[Ints]]] = {}
    body = np.zeros(count, np.int64)
    for part in form.parts:
        if isinstance(part, Fixed):
            body += len(part.template)
            continue
        rows, content = _encode_steps(part, _ragged(columns[part.feature.column or ""]))
        steps[part.feature.name] = rows, part.sizes(content)
        body += steps[part.feature.name][1][0]
    opening = len(form.opening.template) + len(form.body_tag)
    messages = opening + varint_sizes(body) + body
    pieces, heads = [], _Heads(count)
    heads.add(_frame_headers(messages))
    heads.add(_filled(form.opening, columns, numbers))
    heads.add_bytes(form.body_tag)
    heads.add_varints(body)
    for part in form.parts:
        if isinstance(part, Fixed):
            heads.add(_filled(part, columns, numbers))
            continue
        rows, sizes = steps[part.feature.name]
        for tag, size in zip(part.tags, sizes[1:], strict=True):
            heads.add_bytes(tag)
            heads.add_varints(size)
        pieces += [heads.take(), (rows, sizes[-1])]
    heads.add_bytes(bytes(FOOTER_BYTES))
    pieces.append(heads.take())
    offsets = np.zeros(count + 1, np.int64)
    np.cumsum(messages + FRAME_BYTES, out=offsets[1:])
    data = interleave(pieces)
    footers = offsets[1:, None] - FOOTER_BYTES + np.arange(FOOTER_BYTES)
    framed = Framed(data, offsets)
    data[footers] = tfrecord.message_crcs(framed).astype("<u4").view(np.uint8).reshape(-1, 4)
    return framed


def _encode_steps(part: Varying, column: Ragged) -> tuple[Rows, Ints]:
    """All steps of a block, and the bytes that each record has of them."""
    first, size = len(part.step_tag), part.feature.value_bytes
    template = bytearray(part.step_tag + bytes(size))
    rows = np.frombuffer(template * len(column.values), np.uint8).reshape(-1, part.step_bytes)
    values = encode_values(part.feature, column.values)
    if size <= NARROW_BYTES:
        for place in range(size):
            rows[:, first + place] = values[:, place]
    else:
        rows[:, first:] = values
    return rows.reshape(-1), column.lengths * part.step_bytes


def _filled(part: Fixed, columns: Columns, numbers: Ints) -> Rows:
    rows = np.empty((len(numbers), len(part.template)), np.uint8)
    rows[:] = np.frombuffer(part.template, np.uint8)
    fill_slots(rows, part.features, part.slots, columns, numbers)
    return rows


def _frame_headers(sizes: Ints) -> Rows:
    """The 12 bytes before each message: its length, and the length's checksum."""
    distinct, which = np.unique(sizes, return_inverse=True)
    headers = b"".join(map(tfrecord.frame_header, distinct.tolist()))
    rows: Rows = np.frombuffer(headers, np.uint8).reshape(-1, HEADER_BYTES)[which]
    return rows


class _Cursor:
    """A place in each record of a block, moved on in all of them at once."""

    def __init__(self, framed: Framed) -> None:
        self._data = framed.data
        self.places = framed.offsets[:-1] + HEADER_BYTES

    def rows(self, size: int) -> Rows:
        """The next bytes of each record, uint8[n, size]."""
        rows: Rows = self._data[self.places[:, None] + np.arange(size)]
        self.places = self.places + size
        return rows

    def varint(self) -> Ints:
        """The varint that stands next, of each record."""
        values = np.zeros(len(self.places), np.int64)
        going = np.ones(len(self.places), np.bool_)
        for place in range(LONGEST_SIZE_BYTES):
            # A record ends with a checksum of 4 bytes, so there is always a byte to look at.
            data = self._data[self.places].astype(np.int64)
            values[going] |= (data[going] & 0x7F) << 7 * place
            self.places = self.places + going
            going = going & (data >= 0x80)
            if not going.any():
                break
        return values

    def take(self, sizes: Ints) -> Rows:
        """The next bytes of each record, of a size for each, one after the other."""
        view = self._data.data
        ends = self.places + sizes
        slices = map(slice, self.places.tolist(), ends.tolist())
        self.places = ends
        return np.frombuffer(b"".join(map(view.__getitem__, slices)), np.uint8)


def decode_records(features: tuple[Feature, ...], framed: Framed) -> dict[str, Any]:
    """The values of a block of records; the reverse of `encode_records`.

    Args:
      features: All features of the dataset.
      framed: Records whose checksums the caller has checked or trusts.

    Returns:
      By feature, `[n, *shape]` or a `Ragged` of steps, of the feature's dtype.
    """
    form, cursor = form_of(features), _Cursor(framed)
    result: dict[str, Any] = {}
    _decode_fixed(form.opening, cursor, result)
    cursor.places = cursor.places + len(form.body_tag)
    cursor.varint()
    for part in form.parts:
        if isinstance(part, Fixed):
            _decode_fixed(part, cursor, result)
            continue
        for tag in part.tags:
            cursor.places = cursor.places + len(tag)
            sizes = cursor.varint()
        rows = cursor.take(sizes).reshape(-1, part.step_bytes)[:, len(part.step_tag) :]
        values = decode_values(part.feature, rows)
        result[part.feature.name] = Ragged(values, sizes // part.step_bytes)
    return {feature.name: result[feature.name] for feature in features}


def _decode_fixed(part: Fixed, cursor: _Cursor, result: dict[str, Any]) -> None:
    rows = cursor.rows(len(part.template))
    for feature, slot in zip(part.features, part.slots, strict=True):
        place = rows[:, slot.offset : slot.offset + slot.size_bytes]
        result[feature.name] = decode_values(feature, place)
