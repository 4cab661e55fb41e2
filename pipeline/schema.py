"""One definition of the features, told in the terms of other tools.

- `schema.pbtxt`: tensorflow_metadata's Schema, for TFX, TFT and TFDV;
- `features.json`, `dataset_info.json`, `label.labels.txt`: what
  `tfds.builder_from_directory` loads. int64 values are strings, as protobuf's JSON has them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from .features import Feature

TFDS = "tensorflow_datasets.core.features"


def schema_pbtxt(features: Iterable[Feature]) -> str:
    """The schema as protobuf text: type, presence, shape and domain of each feature."""
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    kinds = {
        "bytes": schema_pb2.BYTES,
        "int64_list": schema_pb2.INT,
        "float_list": schema_pb2.FLOAT,
    }
    schema = schema_pb2.Schema()
    steps = None
    for feature in features:
        within = schema.feature
        if feature.sequence == "feature_list":
            # TFX's way to tell the feature lists of a SequenceExample.
            if steps is None:
                steps = schema.feature.add(name="##SEQUENCE##", type=schema_pb2.STRUCT)
            within = steps.struct_domain.feature
        entry = within.add(name=feature.name, type=kinds[feature.encoding])
        if feature.sequence:
            entry.value_count.min = 0
            _add_domain(entry, feature)
            continue
        entry.presence.min_fraction = 1.0
        entry.presence.min_count = 1
        entry.shape.SetInParent()
        # A bytes feature is one string, whatever the shape of the values in it.
        for size in () if feature.encoding == "bytes" else feature.shape:
            entry.shape.dim.add(size=size)
        _add_domain(entry, feature)
    text: str = text_format.MessageToString(schema)
    return text


def _add_domain(entry: Any, feature: Feature) -> None:
    if feature.encoding == "int64_list" and feature.num_classes:
        entry.int_domain.min, entry.int_domain.max = 0, feature.num_classes - 1
        entry.int_domain.is_categorical = True


def _tfds_feature(feature: Feature) -> dict[str, Any]:
    if feature.sequence:
        return _tfds_sequence(feature)
    if feature.encoding == "int64_list" and feature.num_classes and not feature.shape:
        return {
            "pythonClassName": f"{TFDS}.class_label_feature.ClassLabel",
            "classLabel": {"numClasses": str(feature.num_classes)},
        }
    shape = {"dimensions": [str(size) for size in feature.shape]} if feature.shape else {}
    encoding = "bytes" if feature.encoding == "bytes" else "none"
    return {
        "pythonClassName": f"{TFDS}.tensor_feature.Tensor",
        "tensor": {"shape": shape, "dtype": feature.dtype, "encoding": encoding},
    }


def _tfds_sequence(feature: Feature) -> dict[str, Any]:
    step = _tfds_feature(dataclasses.replace(feature, sequence="", num_classes=None))
    return {
        "pythonClassName": f"{TFDS}.sequence_feature.Sequence",
        "sequence": {"feature": step, "length": "-1"},
    }


def features_json(features: Iterable[Feature]) -> dict[str, Any]:
    """TFDS's description of the features.

    TFDS reads a SequenceExample as an Example: it sees the context, and passes over the lists.
    """
    features = [feature for feature in features if feature.sequence != "feature_list"]
    return {
        "pythonClassName": f"{TFDS}.features_dict.FeaturesDict",
        "featuresDict": {"features": {f.name: _tfds_feature(f) for f in features}},
    }


def label_files(features: Iterable[Feature]) -> dict[str, str]:
    """`{file name: content}` with the names of each feature's classes, a line each."""
    return {f"{f.name}.labels.txt": "\n".join(f.names) + "\n" for f in features if f.names}


def dataset_info_json(
    name: str, version: str, description: str, splits: Sequence[tuple[str, int, Sequence[int]]]
) -> dict[str, Any]:
    """TFDS's description of the dataset.

    Args:
      name: Of the dataset.
      version: Three numbers.
      description: Any text.
      splits: `(name, bytes, records of each shard)`.
    """
    return {
        "name": name,
        "version": version,
        "description": description,
        "fileFormat": "tfrecord",
        "splits": [
            {
                "name": split,
                "numBytes": str(num_bytes),
                "shardLengths": [str(length) for length in lengths],
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
            }
            for split, num_bytes, lengths in splits
        ],
    }
