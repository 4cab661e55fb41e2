from pathlib import Path
from typing import Any

import laws
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipeline import tfrecord
from pipeline.example import decode_examples, encode_examples, encode_varint, layout_of
from pipeline.features import ColumnSpec, Feature, FeatureOptions, make_features

DTYPES = ["uint8", "int8", "int16", "int32", "float32", "float64"]


def encoded(
    columns: dict[str, Any], wishes: dict[str, FeatureOptions] | None = None, **keywords: Any
) -> tuple[tuple[Feature, ...], Any]:
    specs = {
        name: ColumnSpec(values.dtype.newbyteorder("=").name, values.shape[1:])
        for name, values in columns.items()
    }
    features = make_features(specs, wishes or {}, **keywords)
    count = len(next(iter(columns.values())))
    return features, encode_examples(features, columns, np.arange(count))


def data_of(rows: Any) -> list[bytes]:
    return [row[tfrecord.HEADER_BYTES : -tfrecord.FOOTER_BYTES].tobytes() for row in rows]


@st.composite
def cases(draw: st.DrawFn) -> tuple[Any, dict[str, FeatureOptions]]:
    """A column of any dtype, rank and value, in any encoding that holds it."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.one_of(st.just(()), arrays.array_shapes(max_dims=3, max_side=4)))
    order = draw(st.sampled_from("<>"))
    values = draw(
        arrays.arrays(np.dtype(dtype).newbyteorder(order), (draw(st.integers(1, 5)), *shape))
    )
    kind = np.dtype(dtype).kind
    wishes = [FeatureOptions(), FeatureOptions(encoding="bytes")]
    if kind != "f":
        wishes.append(FeatureOptions(encoding="int64_list"))
    if dtype in ("uint8", "int8", "int16", "float32"):
        wishes.append(FeatureOptions(encoding="float_list"))
        wishes.append(FeatureOptions(dtype="float32"))
    wishes.append(FeatureOptions(dtype="float64"))
    return values, {"a": draw(st.sampled_from(wishes))}


@given(cases())
@settings(max_examples=80)
def test_what_is_encoded_is_decoded_by_all_readers(case: tuple[Any, Any]) -> None:
    values, wishes = case
    features, rows = encoded({"a": values}, wishes)
    wanted = {"a": values}
    laws.assert_values(features, decode_examples(features, layout_of(features), rows), wanted)
    for read in laws.READERS.values():
        laws.assert_values(features, read(features, data_of(rows)), wanted)
    assert len(tfrecord.damaged_rows(rows)) == 0


EVERY = {
    "image": np.arange(6 * 20, dtype=np.uint8).reshape(6, 5, 4),
    "label": np.array([0, 1, 2, 9, 5, 9], np.uint8),
    "depth_map": np.linspace(-1, 1, 36, dtype=">f8").reshape(6, 3, 2),
    "age": np.array([-1, 0, 127, 128, 2**31 - 1, -(2**31)], ">i4"),
    "weight": np.array([0.5, -0.0, np.inf, np.nan, 1e-45, 3e38], ">f4"),
}
WISHES = {"label": FeatureOptions(num_classes=10)}


@pytest.fixture(scope="module")
def every() -> tuple[tuple[Feature, ...], Any, dict[str, Any]]:
    """All default encodings, constants and the index in one record."""
    features, rows = encoded(EVERY, WISHES, index_count=6)
    return features, rows, {**EVERY, "index": np.arange(6)}


@pytest.mark.parametrize("reader", laws.READERS)
def test_a_record_of_many_features(every: Any, reader: str) -> None:
    features, rows, wanted = every
    laws.assert_values(features, laws.READERS[reader](features, data_of(rows)), wanted)


def test_the_tfrecord_package_reads_it_too(every: Any, tmp_path: Path) -> None:
    features, rows, wanted = every
    (tmp_path / "a").write_bytes(rows.tobytes())
    laws.assert_values(features, laws.by_tfrecord_package(features, tmp_path / "a"), wanted)


def test_single_byte_integers_are_protobuf_s_own_deterministic_bytes() -> None:
    import tensorflow as tf

    labels = np.arange(6, dtype=np.uint8)
    _, rows = encoded({"image": EVERY["image"], "label": labels}, WISHES)
    for row, image, label in zip(data_of(rows), EVERY["image"], labels, strict=True):
        example = tf.train.Example()
        example.features.feature["image"].bytes_list.value.append(image.tobytes())
        example.features.feature["label"].int64_list.value.append(int(label))
        assert row == example.SerializeToString(deterministic=True)


def test_one_hot_and_shape_features() -> None:
    wishes = {"label": FeatureOptions(encoding="one_hot", num_classes=10)}
    columns = {"image": EVERY["image"], "label": EVERY["label"]}
    features, rows = encoded(columns, wishes, shape_features=True)
    wanted = {
        **columns,
        "label": np.eye(10, dtype=np.float32)[EVERY["label"]],
        **{name: np.full(6, size) for name, size in (("height", 5), ("width", 4), ("depth", 1))},
    }
    for read in laws.READERS.values():
        laws.assert_values(features, read(features, data_of(rows)), wanted)


def test_the_article_s_record_as_the_article_reads_it() -> None:
    import tensorflow as tf

    images = np.arange(3 * 784, dtype=np.uint8).reshape(3, 28, 28)
    _, rows = encoded({"image": images, "label": np.uint8([3, 0, 9])}, example_format="article")
    spec = {name: tf.io.FixedLenFeature([], tf.string) for name in ("image", "label")}
    for row, image, label in zip(data_of(rows), images, (3, 0, 9), strict=True):
        parsed = tf.io.parse_single_example(row, spec)
        pixels = tf.reshape(tf.io.decode_raw(parsed["image"], tf.float32), [28, 28, 1])
        one_hot = tf.reshape(tf.io.decode_raw(parsed["label"], tf.float64), [10])
        np.testing.assert_array_equal(pixels[..., 0], (image / 255).astype(np.float32))
        np.testing.assert_array_equal(one_hot, np.eye(10)[label])


def test_rows_follow_the_layout(every: Any) -> None:
    features, rows, _ = every
    layout = layout_of(features)
    assert rows.shape == (6, layout.stride)
    ends = [slot.offset + slot.size_bytes for slot in layout.slots]
    assert [slot.feature for slot in layout.slots] == sorted(f.name for f in features)
    assert ends == sorted(ends)
    assert ends[-1] + tfrecord.FOOTER_BYTES == layout.stride
    assert laws.messages(rows.tobytes()) == data_of(rows)


def test_decoding_some_features_passes_over_others(every: Any) -> None:
    features, rows, wanted = every
    some = [feature for feature in features if feature.name in ("age", "index")]
    found = decode_examples(some, layout_of(features), rows)
    assert found.keys() == {"age", "index"}
    laws.assert_values(some, found, wanted)


def test_no_records() -> None:
    features, rows = encoded({"a": np.empty((0, 3), np.int16)})
    assert rows.shape == (0, layout_of(features).stride)
    assert decode_examples(features, layout_of(features), rows)["a"].shape == (0, 3)


@given(st.integers(0, 2**63 - 1))
def test_varints(value: int) -> None:
    from google.protobuf.internal.decoder import _DecodeVarint

    content = encode_varint(value)
    assert _DecodeVarint(content, 0) == (value, len(content))
