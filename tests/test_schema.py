import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from samples import planned
from tensorflow_metadata.proto.v0 import schema_pb2

from pipeline.features import ColumnSpec, FeatureOptions, make_features
from pipeline.schema import features_json, label_files, schema_pbtxt

COLUMNS = {
    "image": ColumnSpec("uint8", (5, 4)),
    "label": ColumnSpec("uint8", ()),
    "boxes": ColumnSpec("float32", (3, 2)),
    "age": ColumnSpec("int32", ()),
}
FEATURES = make_features(
    COLUMNS,
    {
        "label": FeatureOptions(names=("a", "b")),
        "boxes": FeatureOptions(encoding="float_list"),
    },
)


def test_the_schema_parses_and_tells_types_shapes_and_domains() -> None:
    schema = text_format.Parse(schema_pbtxt(FEATURES), schema_pb2.Schema())
    found = {feature.name: feature for feature in schema.feature}
    kinds = {name: feature.type for name, feature in found.items()}
    assert kinds == {
        "age": schema_pb2.INT,
        "boxes": schema_pb2.FLOAT,
        "image": schema_pb2.BYTES,
        "label": schema_pb2.INT,
    }
    assert all(feature.presence.min_fraction == 1 for feature in schema.feature)
    assert all(feature.HasField("shape") for feature in schema.feature)
    assert [dim.size for dim in found["boxes"].shape.dim] == [3, 2]
    assert list(found["image"].shape.dim) == list(found["age"].shape.dim) == []
    domain = found["label"].int_domain
    assert (domain.min, domain.max, domain.is_categorical) == (0, 1, True)
    assert not found["age"].HasField("int_domain")


def test_the_schema_is_enough_to_parse_with(mnist: Path) -> None:
    import tensorflow as tf
    from laws import by_parse_example
    from samples import blocks_of
    from tensorflow_transform.tf_metadata import schema_utils

    plan = planned(mnist, index_feature=True)
    records = [r for _, blocks in blocks_of(plan, "test") for b in blocks for r in b.messages()]
    schema = text_format.Parse(schema_pbtxt(plan.features), schema_pb2.Schema())
    spec = schema_utils.schema_as_feature_spec(schema).feature_spec
    parsed = tf.io.parse_example(records, spec)
    wanted = by_parse_example(plan.features, records)
    np.testing.assert_array_equal(parsed["label"], wanted["label"])
    np.testing.assert_array_equal(parsed["index"], wanted["index"])


def test_label_files() -> None:
    assert label_files(FEATURES) == {"label.labels.txt": "a\nb\n"}


def test_integers_are_strings_as_protobuf_s_json_has_them() -> None:
    told = features_json(FEATURES)["featuresDict"]["features"]
    assert told["label"]["classLabel"] == {"numClasses": "2"}
    assert told["image"]["tensor"] == {
        "shape": {"dimensions": ["5", "4"]},
        "dtype": "uint8",
        "encoding": "bytes",
    }
    assert told["age"]["tensor"] == {"shape": {}, "dtype": "int64", "encoding": "none"}
    assert json.loads(json.dumps(told)) == told


@pytest.fixture(scope="module")
def builder(dataset: Path) -> Any:
    import tensorflow_datasets as tfds

    return tfds.builder_from_directory(dataset)


def test_tfds_knows_the_dataset(builder: Any, dataset: Path) -> None:
    assert builder.info.full_name == "made/1.0.0"
    splits = builder.info.splits
    assert {name: split.num_examples for name, split in splits.items()} == {"train": 50, "test": 20}
    assert splits["train"].shard_lengths == [16, 17, 17]
    size = sum(path.stat().st_size for path in dataset.glob("*.tfrecord-*"))
    assert sum(split.num_bytes for split in splits.values()) == size
    features = builder.info.features
    assert (features["image"].shape, features["image"].dtype) == ((5, 4), np.uint8)
    assert (features["label"].shape, features["label"].dtype) == ((), np.int64)


@pytest.mark.parametrize(
    ("split", "start", "stop"), [("train", 0, 50), ("train[10:20]", 10, 20), ("test[50%:]", 10, 20)]
)
def test_tfds_reads_the_records(
    builder: Any, dataset: Path, split: str, start: int, stop: int
) -> None:
    import tensorflow_datasets as tfds

    import pipeline

    in_order = tfds.ReadConfig(interleave_cycle_length=1)
    read = builder.as_dataset(split=split, shuffle_files=False, read_config=in_order)
    found = list(read.as_numpy_iterator())
    wanted = pipeline.open_dataset(str(dataset))[split][:]
    assert len(found) == stop - start
    np.testing.assert_array_equal(np.stack([r["image"] for r in found]), wanted["image"])
    np.testing.assert_array_equal(np.stack([r["label"] for r in found]), wanted["label"])


def test_tfds_reads_every_kind_of_feature(tmp_path: Path) -> None:
    import tensorflow_datasets as tfds
    from samples import write_columns

    import pipeline

    columns = {
        "boxes": np.arange(24, dtype=np.float32).reshape(4, 3, 2),
        "depth": np.linspace(0, 1, 8).reshape(4, 2),
        "label": np.uint8([0, 1, 1, 0]),
        "age": np.int32([-1, 2, 3, 4]),
        "codes": np.int16([[1, -2], [3, 4], [5, 6], [7, 8]]),
    }
    text = '[features.label]\nnames = ["no", "yes"]\n[features.codes]\nencoding = "int64_list"\n'
    text += '[features.boxes]\nencoding = "float_list"'
    made = pipeline.convert(
        input=str(write_columns(tmp_path, columns, text)),
        output=str(tmp_path / "out"),
        shuffle="none",
        num_shards=1,
    )
    builder = tfds.builder_from_directory(made.folder)
    assert builder.info.features["label"].names == ["no", "yes"]
    found = list(builder.as_dataset(split="train", shuffle_files=False).as_numpy_iterator())
    for name, values in columns.items():
        np.testing.assert_array_equal(np.stack([r[name] for r in found]), values)
