"""What a TFRecord file holds, whoever wrote it: kinds, dtypes, shapes, lengths, first values."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from . import files, idx, protos, tfrecord
from .errors import DatasetError
from .features import Feature

# Records whose features are looked into; all are counted.
SAMPLE_RECORDS = 10_000
SHOWN_VALUES = 8


@dataclass
class FeatureSummary:
    """What the looked-at records say of one feature.

    Attributes:
      kinds: bytes_list, float_list, int64_list, as they occur.
      records: How many records have it.
      least: Fewest values in a record (for a single bytes value: bytes).
      most: Most of them.
      first: The first record's value, shortened.
    """

    kinds: set[str] = field(default_factory=set)
    records: int = 0
    least: int = 0
    most: int = 0
    first: str = ""

    def add(self, kind: str, values: list[Any]) -> None:
        """Takes in one record."""
        one = kind == "bytes_list" and len(values) == 1
        length = len(values[0]) if one else len(values)
        self.least = min(self.least, length) if self.records else length
        self.most = max(self.most, length)
        self.first = self.first or show(kind, values)
        self.kinds.add(kind)
        self.records += 1


def show(kind: str, values: list[Any]) -> str:
    """Values for people: text where bytes are text, numbers, and how many there are in all.

    >>> show("bytes_list", [b"Ankle boot"]), show("int64_list", [9])
    ("'Ankle boot'", '9')
    """
    if kind == "bytes_list" and len(values) == 1:
        data: bytes = values[0]
        with contextlib.suppress(UnicodeDecodeError):
            text = data.decode()
            if text.isprintable():
                return repr(text) if len(text) <= 60 else f"{text[:60]!r}… ({len(text)} characters)"
        shown = data[: 2 * SHOWN_VALUES].hex(" ")
        return shown + (f" … ({len(data)} bytes)" if len(data) > 2 * SHOWN_VALUES else "")
    shown = ", ".join(f"{v:g}" if isinstance(v, float) else repr(v) for v in values[:SHOWN_VALUES])
    return shown + (f", … ({len(values)} values)" if len(values) > SHOWN_VALUES else "")


def record_values(data: bytes) -> tuple[str, dict[str, tuple[str, list[Any]]]]:
    """`(message, {feature: (kind, values)})` of a serialized Example or SequenceExample.

    The steps of a feature list come out as one list of values each.

    Raises:
      DatasetError: The bytes are neither.
    """
    from google.protobuf.message import DecodeError

    try:
        sequence = protos.parse_sequence_example(data)
    except DecodeError as error:
        raise DatasetError(f"not a tf.train.Example: {error}") from error
    values = {k: protos.values_of(v) for k, v in sorted(sequence.context.feature.items())}
    if not sequence.HasField("feature_lists"):
        return "Example", values
    for name, steps in sorted(sequence.feature_lists.feature_list.items()):
        told = [protos.values_of(step) for step in steps.feature]
        kind = told[0][0] if told else ""
        values[f"{name}[]"] = (kind, [step[0] if len(step) == 1 else step for _, step in told])
    return "SequenceExample", values


@contextlib.contextmanager
def open_records(path: str) -> Iterator[IO[bytes]]:
    """Opens a TFRecord file, in gzip or not, as its first bytes say.

    Raises:
      DatasetError: It is not there, or its gzip is broken.
    """
    try:
        stream = files.open_read(path)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be opened: {error.strerror or error}") from error
    with stream:
        zipped = idx.is_gzip(stream.read(2))
        stream.seek(0)
        if not zipped:
            yield stream
            return
        with idx.inflating(stream, path, DatasetError) as inflated:
            yield inflated


@dataclass
class FileSummary:
    """What TFRecord files hold, taken together."""

    paths: list[str]
    records: int = 0
    message: str = ""
    features: dict[str, FeatureSummary] = field(default_factory=dict)

    @property
    def sampled(self) -> int:
        """How many records were looked into."""
        return min(self.records, SAMPLE_RECORDS)


def summarize(paths: list[str]) -> FileSummary:
    """Counts the records of TFRecord files and looks into the first of them.

    Raises:
      DatasetError: A file is damaged, or holds no Examples; names record and offset.
    """
    summary = FileSummary(paths)
    for path in paths:
        with open_records(path) as stream:
            for record in tfrecord.read_records(stream, path):
                if summary.records < SAMPLE_RECORDS:
                    _look_into(summary, path, record)
                summary.records += 1
    return summary


def _look_into(summary: FileSummary, path: str, record: tfrecord.Record) -> None:
    try:
        summary.message, values = record_values(record.data)
    except DatasetError as error:
        place = f"{path}: record {record.number} at byte {record.offset}"
        raise DatasetError(f"{place}: {error}") from error
    for name, (kind, found) in values.items():
        summary.features.setdefault(name, FeatureSummary()).add(kind, found)


def first_records(
    paths: list[str], count: int
) -> Iterator[tuple[str, int, dict[str, tuple[str, list[Any]]]]]:
    """The first records of files: `(path, number in its file, values)`."""

    def every() -> Iterator[tuple[str, int, dict[str, tuple[str, list[Any]]]]]:
        for path in paths:
            with open_records(path) as stream:
                for record in tfrecord.read_records(stream, path):
                    yield path, record.number, record_values(record.data)[1]

    return itertools.islice(every(), count)


def image_feature(features: tuple[Feature, ...]) -> Feature | None:
    """The first feature that is a picture: of rank 2, or 3 with 1, 3 or 4 channels."""
    for feature in features:
        if len(feature.shape) == 2 or (len(feature.shape) == 3 and feature.shape[2] in (1, 3, 4)):
            return feature
    return None
