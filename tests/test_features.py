from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.features import (
    ColumnSpec,
    Feature,
    FeatureOptions,
    make_feature,
    make_features,
    parse_feature_option,
    varint_bytes,
)
from pipeline.rules import Rules

IMAGE, LABEL = ColumnSpec("uint8", (28, 28)), ColumnSpec("uint8", ())
COLUMNS = {"label": LABEL, "image": IMAGE}


def made(spec: ColumnSpec, **options: Any) -> Feature:
    return make_feature("a", spec, FeatureOptions(**options))


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_varint_has_seven_bits_a_byte(value: int) -> None:
    width = varint_bytes(value)
    unsigned = value % 2**64
    assert unsigned < 2 ** (7 * width)
    assert width == 1 or unsigned >= 2 ** (7 * (width - 1))


@pytest.mark.parametrize(
    ("dtype", "shape", "encoding", "decoded", "width"),
    [
        ("uint8", (), "int64_list", "int64", 2),
        ("int8", (), "int64_list", "int64", 10),
        ("int16", (), "int64_list", "int64", 10),
        ("int32", (), "int64_list", "int64", 10),
        ("float32", (), "float_list", "float32", 0),
        ("float64", (), "bytes", "float64", 0),
        ("uint8", (28, 28), "bytes", "uint8", 0),
        ("float64", (3,), "bytes", "float64", 0),
    ],
)
def test_the_default_loses_nothing(
    dtype: str, shape: tuple[int, ...], encoding: str, decoded: str, width: int
) -> None:
    feature = made(ColumnSpec(dtype, shape))
    assert (feature.encoding, feature.dtype, feature.shape) == (encoding, decoded, shape)
    assert feature.varint_bytes == width


@pytest.mark.parametrize(
    ("spec", "options", "wanted"),
    [
        (LABEL, {"num_classes": 10}, {"varint_bytes": 1, "num_classes": 10}),
        (LABEL, {"num_classes": 200}, {"varint_bytes": 2}),
        (ColumnSpec("int32", ()), {"names": ("a", "b")}, {"varint_bytes": 1, "num_classes": 2}),
        (IMAGE, {"encoding": "int64_list"}, {"dtype": "int64", "value_bytes": 784 * 2}),
        (IMAGE, {"encoding": "float_list"}, {"dtype": "float32", "value_bytes": 784 * 4}),
        (IMAGE, {"dtype": "float16", "scale": 0.5}, {"encoding": "bytes", "value_bytes": 784 * 2}),
        (LABEL, {"encoding": "bytes"}, {"dtype": "uint8", "value_bytes": 1}),
        (LABEL, {"encoding": "one_hot", "num_classes": 3}, {"encoding": "float_list", "size": 3}),
        (
            LABEL,
            {"encoding": "one_hot", "num_classes": 3, "dtype": "float64"},
            {"encoding": "bytes", "value_bytes": 24},
        ),
    ],
    ids=str,
)
def test_a_wish_is_met(spec: ColumnSpec, options: dict[str, Any], wanted: dict[str, Any]) -> None:
    feature = made(spec, **options)
    assert {name: getattr(feature, name) for name in wanted} == wanted


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        (LABEL, {"encoding": "json"}, r"encoding 'json' is unknown; there is bytes, int64_list"),
        (LABEL, {"dtype": "complex64"}, r"dtype 'complex64' cannot be cast to; there is uint8"),
        (LABEL, {"scale": 0.0}, r"scale 0\.0: wanted a finite number other than 0"),
        (LABEL, {"scale": float("nan")}, r"scale nan: wanted a finite"),
        (LABEL, {"names": ("a", "b", "a")}, r"names: \['a'\] stand twice"),
        (LABEL, {"num_classes": 0}, r"num_classes 0: wanted 1 or more"),
        (LABEL, {"num_classes": 3, "names": ("a",)}, r"num_classes 3, but 1 names"),
        (IMAGE, {"encoding": "one_hot", "num_classes": 3}, r"one_hot needs a scalar column.*28"),
        (LABEL, {"encoding": "one_hot"}, r"one_hot needs .* and None; add num_classes="),
        (LABEL, {"encoding": "int64_list", "dtype": "uint8"}, r"dtype= goes with bytes and one_h"),
        (LABEL, {"encoding": "int64_list", "scale": 2.0}, r"int64_list holds integers.*times 2"),
        (ColumnSpec("float32", ()), {"encoding": "int64_list"}, r"the values are float32 times 1"),
        (ColumnSpec("float32", ()), {"num_classes": 2}, r"float32 values cannot be classes"),
        (IMAGE, {"scale": 0.5}, r"scale 0\.5 needs dtype=float16, float32 or float64, found uint8"),
    ],
)
def test_a_wish_that_cannot_be_met(spec: ColumnSpec, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        made(spec, **options)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("label=one_hot", FeatureOptions(encoding="one_hot")),
        ("label=encoding=one_hot,num_classes=3", FeatureOptions(encoding="one_hot", num_classes=3)),
        ("label=dtype=int16", FeatureOptions(dtype="int16")),
        (
            "label=bytes,dtype=float32,scale=1/4",
            FeatureOptions(encoding="bytes", dtype="float32", scale=0.25),
        ),
        ("label=scale=-2", FeatureOptions(scale=-2.0)),
    ],
)
def test_options_of_the_command_line(text: str, wanted: FeatureOptions) -> None:
    assert parse_feature_option(text) == ("label", wanted)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label", r"--feature 'label': wanted NAME=ENCODING"),
        ("=bytes", r"wanted NAME=ENCODING"),
        ("label=bytes,color=red", r"'color=red' is not understood"),
        ("label=bytes,int64_list", r"'int64_list' is not understood"),
        ("label=scale=much", r"could not convert.*wanted a number"),
        ("label=scale=1/0", r"division by zero; wanted a number"),
        ("label=num_classes=2.5", r"wanted a number"),
        ("label=json", r"encoding 'json' is unknown"),
    ],
)
def test_options_that_are_not_understood(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_feature_option(text)


def test_features_are_sorted_by_name() -> None:
    features = make_features(COLUMNS, {}, shape_features=True, index_count=60_000)
    assert [f.name for f in features] == ["depth", "height", "image", "index", "label", "width"]
    values = {f.name: (f.constant, f.varint_bytes) for f in features if f.column is None}
    assert values == {"depth": (1, 1), "height": (28, 1), "width": (28, 1), "index": (None, 3)}


@pytest.mark.parametrize(("shape", "depth"), [((5, 4), 1), ((5, 4, 3), 3)])
def test_shape_features(shape: tuple[int, ...], depth: int) -> None:
    features = make_features({"a": ColumnSpec("uint8", shape)}, {}, shape_features=True)
    found = {f.name: f.constant for f in features if f.column is None}
    assert found == {"height": 5, "width": 4, "depth": depth}


def test_the_article_s_record() -> None:
    image, label = make_features(COLUMNS, {}, example_format="article")
    assert (image.encoding, image.dtype, image.scale) == ("bytes", "float32", 1 / 255)
    assert (label.encoding, label.dtype, label.shape) == ("bytes", "float64", (10,))


def test_the_article_s_record_keeps_the_names() -> None:
    wish = {"label": FeatureOptions(names=("a", "b", "c"))}
    label = make_features(COLUMNS, wish, example_format="article")[1]
    assert (label.shape, label.names) == ((3,), ("a", "b", "c"))


@pytest.mark.parametrize(
    ("columns", "options", "keywords", "message"),
    [
        (COLUMNS, {"lable": FeatureOptions()}, {}, r"'lable' is no column; there is label, image"),
        ({"label": LABEL}, {}, {"shape_features": True}, r"found 0 columns of rank 2 or 3"),
        ({"a": IMAGE, "b": IMAGE}, {}, {"shape_features": True}, r"found 2 columns of rank"),
        ({"index": LABEL}, {}, {"index_count": 5}, r"'index' would stand twice"),
    ],
)
def test_features_that_do_not_fit(columns: Any, options: Any, keywords: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_features(columns, options, **keywords)


BYTES = np.arange(256, dtype=np.uint8)
SIGNED = BYTES.view(np.int8)
INTS = np.array([-5, 70_000], ">i4")


@pytest.mark.parametrize(
    ("source", "options", "wanted"),
    [
        (BYTES, {}, BYTES),
        (BYTES, {"dtype": "float32"}, BYTES.astype(np.float32)),
        (BYTES, {"dtype": "float32", "scale": 1 / 255}, (BYTES / 255).astype(np.float32)),
        (BYTES, {"dtype": "float64", "scale": 1 / 255}, BYTES * (1 / 255)),
        (SIGNED, {"dtype": "int16"}, SIGNED.astype(np.int16)),
        (SIGNED, {"dtype": "float32", "scale": 2.0}, SIGNED * np.float32(2)),
        (INTS, {"dtype": "float32", "scale": 0.1}, np.float32([-0.5, 7000])),
        (np.array([-5, 70], ">i2"), {"dtype": "uint8"}, np.uint8([251, 70])),
        (np.array([1.5, np.inf], ">f8"), {"dtype": "float16"}, np.float16([1.5, np.inf])),
        (np.array([1.5, -2], ">f4"), {}, np.float32([1.5, -2])),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else str(value.dtype),
)
def test_conversion(source: Any, options: dict[str, Any], wanted: Any) -> None:
    spec = ColumnSpec(source.dtype.newbyteorder("=").name, ())
    feature = made(spec, encoding="bytes", **options)
    found = feature.convert(source)
    np.testing.assert_array_equal(found, wanted)
    assert found.astype(found.dtype.newbyteorder("=")).dtype == wanted.dtype


def test_one_hot_are_unit_vectors() -> None:
    feature = made(LABEL, encoding="one_hot", num_classes=3, dtype="int8")
    found = feature.convert(np.array([2, 0], np.uint8))
    assert (found.tolist(), found.dtype) == ([[0, 0, 1], [1, 0, 0]], np.int8)


@pytest.mark.parametrize(
    ("values", "row", "told"),
    [
        (np.array([0, 9, 10, 11]), 2, "is 10"),
        (np.array([0, -1]), 1, "is -1"),
        (np.array([[0, 1], [1, 12]]), 1, "is [1, 12]"),
    ],
)
def test_values_outside_of_the_classes(values: Any, row: int, told: str) -> None:
    found = Rules().find([made(LABEL, num_classes=10)], {"a": values})[0]
    assert found == (row, "a", f"a {told}, outside of the 10 classes 0..9")


def test_values_inside_of_the_classes_and_without_any() -> None:
    assert Rules().find([made(LABEL, num_classes=10)], {"a": np.arange(10)}) == []
    assert Rules().find([made(LABEL)], {"a": np.array([255])}) == []
