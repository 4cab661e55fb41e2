"""The laws of DESIGN.md, section 7, as checks that any dataset can be put to."""

import io
import pickle
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pipeline import tfrecord
from pipeline.features import Feature

Columns = Mapping[str, npt.NDArray[Any]]


def messages(content: bytes) -> list[bytes]:
    """The data of each record of a TFRecord file's content."""
    return [record.data for record in tfrecord.read_records(io.BytesIO(content), "content")]


def assert_values(features: Iterable[Feature], found: Columns, wanted: Columns) -> None:
    """Same dtype, shape and bits (a NaN equals a NaN) for each feature."""
    for feature in features:
        a, b = np.asarray(found[feature.name]), np.asarray(wanted[feature.name])
        assert a.dtype == np.dtype(feature.dtype)
        assert a.shape == b.shape == (len(b), *feature.shape)
        np.testing.assert_array_equal(a, b.astype(feature.dtype), err_msg=feature.name)


def parse_spec(features: Iterable[Feature]) -> dict[str, Any]:
    """How tf.io.parse_example is told of the features."""
    import tensorflow as tf

    kinds = {"bytes": tf.string, "int64_list": tf.int64, "float_list": tf.float32}
    return {
        f.name: tf.io.FixedLenFeature(() if f.encoding == "bytes" else f.shape, kinds[f.encoding])
        for f in features
    }


def by_parse_example(features: Iterable[Feature], records: list[bytes]) -> Columns:
    """Law 9's other side: what TensorFlow reads."""
    import tensorflow as tf

    features = list(features)
    parsed = tf.io.parse_example(records, parse_spec(features))
    found = {}
    for f in features:
        values = parsed[f.name]
        if f.encoding == "bytes":
            values = tf.reshape(tf.io.decode_raw(values, tf.as_dtype(f.dtype)), (-1, *f.shape))
        found[f.name] = values.numpy()
    return found


def by_protobuf(features: Iterable[Feature], records: list[bytes]) -> Columns:
    """What protobuf reads in Python."""
    import tensorflow as tf

    examples = [tf.train.Example.FromString(record) for record in records]
    found: dict[str, Any] = {}
    for f in features:
        rows = [
            getattr(example.features.feature[f.name], f.encoding).value
            if f.encoding.endswith("_list")
            else example.features.feature[f.name].bytes_list.value
            for example in examples
        ]
        if f.encoding == "bytes":
            assert {len(row) for row in rows} <= {1}
            rows = [np.frombuffer(row[0], np.dtype(f.dtype).newbyteorder("<")) for row in rows]
        found[f.name] = np.array(rows, f.dtype).reshape(-1, *f.shape)
    return found


def by_tfx(features: Iterable[Feature], records: list[bytes]) -> Columns:
    """What TFX's decoder reads."""
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2
    from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

    from pipeline.schema import schema_pbtxt

    features = list(features)
    schema = text_format.Parse(schema_pbtxt(features), schema_pb2.Schema())
    batch = ExamplesToRecordBatchDecoder(schema.SerializeToString()).DecodeBatch(records)
    found = {}
    for f in features:
        values = batch.column(batch.schema.get_field_index(f.name)).flatten()
        if f.encoding == "bytes":
            joined = b"".join(values.to_pylist())
            flat: npt.NDArray[Any] = np.frombuffer(joined, np.dtype(f.dtype).newbyteorder("<"))
        else:
            flat = values.to_numpy()
        found[f.name] = flat.reshape(-1, *f.shape)
    return found


# The package's own copy of the messages cannot live in one process with TensorFlow's.
TFRECORD_READER = """
import pickle, sys
from tfrecord.reader import tfrecord_loader
pickle.dump(list(tfrecord_loader(sys.argv[1], None)), sys.stdout.buffer)
"""


def by_tfrecord_package(features: Iterable[Feature], path: Path) -> Columns:
    """What the `tfrecord` package of PyPI reads from a file."""
    command = [sys.executable, "-W", "ignore", "-c", TFRECORD_READER, str(path)]
    rows = pickle.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    found: dict[str, Any] = {}
    for f in features:
        values = [row[f.name] for row in rows]
        if f.encoding == "bytes":
            values = [np.frombuffer(bytes(v), np.dtype(f.dtype).newbyteorder("<")) for v in values]
        found[f.name] = np.array(values, f.dtype).reshape(-1, *f.shape)
    return found


READERS: dict[str, Callable[[Iterable[Feature], list[bytes]], Columns]] = {
    "tf.io.parse_example": by_parse_example,
    "protobuf": by_protobuf,
    "tfx_bsl": by_tfx,
}


def assert_same_records(one: Iterable[bytes], other: Iterable[bytes]) -> None:
    """Law 4: equal as multisets."""
    assert Counter(one) == Counter(other)


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder, by relative name."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def assert_same_files(one: Path, other: Path) -> None:
    """Law 2: the same names, the same bytes."""
    a, b = contents(one), contents(other)
    assert list(a) == list(b)
    assert [name for name in a if a[name] != b[name]] == []


def assert_flip_found(path: Path, offset: int, read: Callable[[], Any], message: str) -> None:
    """Law 6: a flipped bit at an offset is an error that matches; then it is flipped back."""
    original = path.read_bytes()
    changed = bytearray(original)
    changed[offset] ^= 0x10
    path.write_bytes(changed)
    try:
        with pytest.raises(Exception, match=message):
            read()
    finally:
        path.write_bytes(original)
