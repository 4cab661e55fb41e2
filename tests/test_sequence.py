import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from pipeline import tfrecord
from pipeline.features import ColumnSpec, FeatureOptions, make_features
from pipeline.ragged import Ragged
from pipeline.sequence import decode_records, encode_records, record_sizes

DTYPES = ("uint8", "int8", "int16", "int32", "float32", "float64")


def made(dtype, step_shape, lengths, record_type, **options):
    """Features, columns and framed records of one list and one label."""
    lengths = np.array(lengths, np.int64)
    random = np.random.default_rng(len(lengths))
    limits = np.iinfo(dtype) if np.dtype(dtype).kind != "f" else None
    values = random.normal(size=(lengths.sum(), *step_shape)).astype(dtype)
    if limits:
        top = options.get("num_classes", limits.max)
        low = 0 if "num_classes" in options else limits.min
        values = random.integers(low, top, values.shape, endpoint=False).astype(dtype)
    specs = {
        "steps": ColumnSpec(dtype, step_shape, ragged=True, longest=int(lengths.max(initial=0))),
        "a_label": ColumnSpec("uint8", ()),
        "z_name": ColumnSpec("uint8", (3,)),
    }
    wishes = {"steps": FeatureOptions(**options), "a_label": FeatureOptions(num_classes=100)}
    features = make_features(specs, wishes, record_type=record_type)
    columns = {
        "steps": Ragged(values.astype(values.dtype.newbyteorder(">")), lengths),
        "a_label": (np.arange(len(lengths)) * 7 % 100).astype(np.uint8),
        "z_name": random.integers(0, 256, (len(lengths), 3)).astype(np.uint8),
    }
    framed = encode_records(features, columns, np.arange(len(lengths)))
    return features, columns, framed


@pytest.mark.parametrize("record_type", ["sequence_example", "example"])
@given(
    dtype=st.sampled_from(DTYPES),
    step_shape=st.sampled_from([(), (2,), (3, 2)]),
    lengths=st.lists(st.one_of(st.integers(0, 5), st.sampled_from([63, 130])), max_size=6),
)
def test_what_is_encoded_is_decoded(record_type, dtype, step_shape, lengths):
    features, columns, framed = made(dtype, step_shape, lengths, record_type)
    decoded = decode_records(features, framed)
    steps = columns["steps"]
    assert (decoded["steps"].lengths == steps.lengths).all()
    assert (decoded["steps"].values == steps.values).all()
    assert decoded["steps"].values.shape == steps.values.shape
    for name in ("a_label", "z_name"):
        assert (decoded[name] == columns[name]).all()
    assert (decoded["length"] == steps.lengths).all()
    # The sizes are known from the lengths alone, and every checksum fits.
    sizes = record_sizes(features, {"steps": steps.lengths}, len(lengths))
    assert (sizes == np.diff(framed.offsets)).all()
    assert not len(tfrecord.damaged_records(framed))
    for message, start in zip(framed.messages(), framed.offsets, strict=False):
        assert tfrecord.frame(message) == framed.data[start:][: len(message) + 16].tobytes()


@pytest.mark.parametrize(
    ("record_type", "message"),
    [("sequence_example", tf.train.SequenceExample), ("example", tf.train.Example)],
)
@pytest.mark.parametrize(
    ("dtype", "step_shape", "options"),
    [("int32", (), {"num_classes": 128}), ("float32", (), {}), ("float64", (2,), {})],
)
def test_narrow_values_are_the_bytes_of_protobuf(record_type, message, dtype, step_shape, options):
    # A list without values is the one exception: protobuf leaves out its packed field.
    _, _, framed = made(dtype, step_shape, [1, 40, 127, 3], record_type, **options)
    for data in framed.messages():
        assert message.FromString(data).SerializeToString(deterministic=True) == data


def test_protobuf_reads_the_lists_of_a_sequence_example():
    _, columns, framed = made("int32", (2,), [3, 0, 2], None, encoding="int64_list")
    for data, label, steps in zip(
        framed.messages(), columns["a_label"], columns["steps"], strict=True
    ):
        read = tf.train.SequenceExample.FromString(data)
        assert read.context.feature["a_label"].int64_list.value == [label]
        assert read.context.feature["length"].int64_list.value == [len(steps)]
        found = [f.int64_list.value for f in read.feature_lists.feature_list["steps"].feature]
        assert found == steps.tolist()


CONTEXT = {
    "a_label": tf.io.FixedLenFeature([], tf.int64),
    "length": tf.io.FixedLenFeature([], tf.int64),
}


def test_tensorflow_parses_sequence_examples():
    _, columns, framed = made("int32", (), [3, 0, 150, 2], None, num_classes=30_000)
    context, lists, lengths = tf.io.parse_sequence_example(
        list(framed.messages()), CONTEXT, {"steps": tf.io.RaggedFeature(tf.int64)}
    )
    assert (lists["steps"].flat_values.numpy() == columns["steps"].values).all()
    assert (context["length"].numpy() == columns["steps"].lengths).all()
    assert (context["a_label"].numpy() == columns["a_label"]).all()
    del lengths


def test_tensorflow_parses_examples_with_lists():
    _, columns, framed = made("int32", (), [3, 0, 150, 2], "example", num_classes=30_000)
    read = tf.io.parse_example(
        list(framed.messages()), {**CONTEXT, "steps": tf.io.RaggedFeature(tf.int64)}
    )
    assert (read["steps"].flat_values.numpy() == columns["steps"].values).all()
    assert (read["steps"].row_lengths().numpy() == columns["steps"].lengths).all()


@pytest.mark.parametrize("record_type", ["sequence_example", "example"])
def test_tensorflow_parses_steps_of_bytes(record_type):
    _, columns, framed = made("uint8", (3, 2), [2, 0, 1], record_type)
    kind = {"steps": tf.io.RaggedFeature(tf.string)}
    if record_type == "example":
        steps = tf.io.parse_example(list(framed.messages()), kind)["steps"]
    else:
        steps = tf.io.parse_sequence_example(list(framed.messages()), CONTEXT, kind)[1]["steps"]
    assert steps.row_lengths().numpy().tolist() == [2, 0, 1]
    read = tf.io.decode_raw(steps.flat_values, tf.uint8).numpy()
    assert (read == columns["steps"].values.reshape(-1, 6)).all()


def test_tfx_bsl_decodes_sequence_examples():
    from tfx_bsl.coders.sequence_example_coder import SequenceExamplesToRecordBatchDecoder

    _, columns, framed = made("int32", (), [3, 0, 2], None, num_classes=30_000)
    batch = SequenceExamplesToRecordBatchDecoder("##SEQUENCE##").DecodeBatch(
        list(framed.messages())
    )
    read = dict(zip(batch.schema.names, batch.columns, strict=True))
    assert read["length"].to_pylist() == [[3], [0], [2]]
    steps = [record["steps"] for record in read["##SEQUENCE##"].to_pylist()]
    assert steps == [[[int(v)] for v in one] for one in columns["steps"]]


def test_a_damaged_record_is_found():
    _, _, framed = made("int32", (), [3, 0, 20, 2], None)
    for place in (framed.offsets[2], framed.offsets[2] + 9, framed.offsets[3] - 1):
        data = framed.data.copy()
        data[place] ^= 1
        assert tfrecord.damaged_records(tfrecord.Framed(data, framed.offsets)).tolist() == [2]
