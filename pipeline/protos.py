"""`tf.train.Example` and `SequenceExample` as protobuf messages, without TensorFlow.

Source: tensorflow/core/example/{example,feature}.proto; field numbers as there. They live in a pool
of their own, so that TensorFlow may be imported beside them.
"""

from __future__ import annotations

import functools
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FIELD = descriptor_pb2.FieldDescriptorProto
# message: (field, number, type or message, repeated)
_MESSAGES: dict[str, tuple[tuple[str, int, Any, bool], ...]] = {
    "BytesList": (("value", 1, _FIELD.TYPE_BYTES, True),),
    "FloatList": (("value", 1, _FIELD.TYPE_FLOAT, True),),
    "Int64List": (("value", 1, _FIELD.TYPE_INT64, True),),
    "Feature": (
        ("bytes_list", 1, "BytesList", False),
        ("float_list", 2, "FloatList", False),
        ("int64_list", 3, "Int64List", False),
    ),
    "Features": (("feature", 1, "Features.FeatureEntry", True),),
    "FeatureList": (("feature", 1, "Feature", True),),
    "FeatureLists": (("feature_list", 1, "FeatureLists.FeatureListEntry", True),),
    "Example": (("features", 1, "Features", False),),
    "SequenceExample": (
        ("context", 1, "Features", False),
        ("feature_lists", 2, "FeatureLists", False),
    ),
}
_MAPS = {
    "Features": ("FeatureEntry", "Feature"),
    "FeatureLists": ("FeatureListEntry", "FeatureList"),
}


def _add_field(message: Any, name: str, number: int, kind: Any, repeated: bool) -> None:
    field = message.field.add(name=name, number=number)
    field.label = _FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL
    if isinstance(kind, str):
        field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".recordmill.{kind}"
    else:
        field.type = kind


@functools.cache
def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="recordmill/example.proto", package="recordmill", syntax="proto3"
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for described in fields:
            _add_field(message, *described)
        if name in _MAPS:
            entry_name, value = _MAPS[name]
            entry = message.nested_type.add(name=entry_name)
            entry.options.map_entry = True
            _add_field(entry, "key", 1, _FIELD.TYPE_STRING, False)
            _add_field(entry, "value", 2, value, False)
        if name == "Feature":
            message.oneof_decl.add(name="kind")
            for field in message.field:
                field.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"recordmill.{name}"))
        for name in ("Example", "SequenceExample")
    }


def new_example() -> Any:
    """An empty `Example`."""
    return _classes()["Example"]()


def parse_example(data: bytes) -> Any:
    """An `Example` from its serialized bytes.

    Raises:
      google.protobuf.message.DecodeError: These bytes are no Example.
    """
    return _classes()["Example"].FromString(data)


def parse_sequence_example(data: bytes) -> Any:
    """A `SequenceExample` from its serialized bytes.

    Raises:
      google.protobuf.message.DecodeError: These bytes are no SequenceExample.
    """
    return _classes()["SequenceExample"].FromString(data)


def values_of(feature: Any) -> tuple[str, list[Any]]:
    """`(kind, values)` of a Feature; kind is "" where it holds no list."""
    kind = feature.WhichOneof("kind") or ""
    return kind, list(getattr(feature, kind).value) if kind else []
