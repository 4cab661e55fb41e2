"""What an Example holds: columns of the source, and the features made from them.

A `FeatureOptions` is a user's wish, a `Feature` the complete answer: from it alone follow the
bytes of a record, the parsing spec, the schema and `features.json`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from .errors import UsageError

Encoding = Literal["bytes", "int64_list", "float_list"]
ExampleFormat = Literal["default", "article"]
RecordType = Literal["example", "sequence_example"]
# How a feature of varying length stands in a record: one list of all steps, or, in a
# SequenceExample, a list of one Feature a step.
Sequence = Literal["", "list", "feature_list"]
CASTS = ("uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")
# A varint of a negative int64 takes all ten bytes, whatever its value.
LONGEST_VARINT_BYTES = 10


def varint_bytes(value: int) -> int:
    """Bytes of the shortest varint that holds a value.

    >>> [varint_bytes(v) for v in (0, 127, 128, 255, -1)]
    [1, 1, 2, 2, 10]
    """
    return LONGEST_VARINT_BYTES if value < 0 else max(1, -(-value.bit_length() // 7))


@dataclass(frozen=True)
class ColumnSpec:
    """What is known of a column: the dtype and shape of one record.

    Attributes:
      shape: Of a record; of a step where the records are lists of steps.
      ragged: Whether each record is a list of its own length.
      longest: Most steps of a record, where each is a list.
    """

    dtype: str
    shape: tuple[int, ...]
    ragged: bool = False
    longest: int = 0


@dataclass(frozen=True, kw_only=True)
class FeatureOptions:
    """How a user wants a column to be written; what is None follows from the column.

    Attributes:
      encoding: "bytes" (little-endian values), "int64_list", "float_list" (float32), or
        "one_hot": a vector as long as there are classes, as float_list unless `dtype` asks for
        bytes of that dtype.
      dtype: What the values are cast to before they are written as bytes.
      scale: What the values are multiplied by.
      names: Names of the classes 0, 1, ...
      num_classes: How many classes there are; follows from `names` where they are given.
      kind: "sequence" takes a column's first axis as time; "context" is what a column is as a
        rule.
    """

    encoding: str | None = None
    dtype: str | None = None
    scale: float = 1.0
    names: tuple[str, ...] = ()
    num_classes: int | None = None
    kind: str | None = None

    def __post_init__(self) -> None:
        """Checks each field by itself."""
        if self.kind not in (None, "context", "sequence"):
            raise UsageError(f"kind {self.kind!r} is unknown; there is context, sequence")
        known = (*get_args(Encoding), "one_hot")
        if self.encoding is not None and self.encoding not in known:
            raise UsageError(f"encoding {self.encoding!r} is unknown; there is {', '.join(known)}")
        if self.dtype is not None and self.dtype not in CASTS:
            raise UsageError(f"dtype {self.dtype!r} cannot be cast to; there is {', '.join(CASTS)}")
        if not math.isfinite(self.scale) or self.scale == 0:
            raise UsageError(f"scale {self.scale}: wanted a finite number other than 0")
        if len(set(self.names)) != len(self.names):
            twice = sorted({n for n in self.names if self.names.count(n) > 1})
            raise UsageError(f"names: {twice} stand twice; each class needs a name of its own")
        if self.num_classes is not None and self.num_classes < 1:
            raise UsageError(f"num_classes {self.num_classes}: wanted 1 or more")
        if self.names and self.num_classes not in (None, len(self.names)):
            raise UsageError(f"num_classes {self.num_classes}, but {len(self.names)} names")

    @property
    def classes(self) -> int | None:
        """Number of classes, from the names or as given."""
        return len(self.names) or self.num_classes


def parse_feature_option(text: str) -> tuple[str, FeatureOptions]:
    """Reads a feature's options as the command line gives them.

    >>> parse_feature_option("image=bytes,dtype=float32,scale=1/255")[1].dtype
    'float32'
    """
    column, _, rest = text.partition("=")
    fields: dict[str, Any] = {}
    for part in filter(None, rest.split(",")):
        key, _, value = part.partition("=")
        if not value:
            key, value = "encoding", key
        if key not in ("encoding", "dtype", "scale", "num_classes", "kind") or key in fields:
            raise UsageError(
                f"--feature {text!r}: {part!r} is not understood; wanted NAME=ENCODING with any of "
                "dtype=, scale=, num_classes=, kind= behind it, such as image=bytes,dtype=float32"
            )
        fields[key] = value
    if not column or not fields:
        raise UsageError(f"--feature {text!r}: wanted NAME=ENCODING, such as label=one_hot")
    try:
        if "scale" in fields:
            above, _, below = fields["scale"].partition("/")
            fields["scale"] = float(above) / float(below or 1)
        if "num_classes" in fields:
            fields["num_classes"] = int(fields["num_classes"])
    except (ValueError, ZeroDivisionError) as error:
        raise UsageError(f"--feature {text!r}: {error}; wanted a number") from error
    return column, FeatureOptions(**fields)


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One feature of every record of a dataset, of fixed dtype.

    Attributes:
      name: The feature's key in the Example.
      column: The source column that it is made from; None for a constant and for the index.
      encoding: Which list of the Feature message holds it.
      dtype: numpy's name of the decoded values' dtype.
      shape: Shape of the decoded values; () is a scalar. Of one step, where it is a sequence.
      scale: What the column's values are multiplied by.
      one_hot: Whether the column's values are classes, written as unit vectors.
      varint_bytes: Width of each integer of an int64_list, the same for all records.
      num_classes: Values are in `[0, num_classes)`; None where any value is welcome.
      names: Names of the classes, or ().
      constant: The value of a constant feature.
      sequence: How it stands in the record where it has a length of its own in each; else "".
      length_of: The column whose lengths it holds; None for all but these features.
    """

    name: str
    column: str | None
    encoding: Encoding
    dtype: str
    shape: tuple[int, ...] = ()
    scale: float = 1.0
    one_hot: bool = False
    varint_bytes: int = 0
    num_classes: int | None = None
    names: tuple[str, ...] = ()
    constant: int | None = None
    sequence: Sequence = ""
    length_of: str | None = None

    @property
    def size(self) -> int:
        """Number of values in a record, or in a step of a sequence."""
        return math.prod(self.shape)

    @property
    def value_bytes(self) -> int:
        """Bytes that the values take in a record or step, without any protobuf tag."""
        if self.encoding == "int64_list":
            return self.size * self.varint_bytes
        return self.size * np.dtype(self.dtype).itemsize

    def convert(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Casts, scales or one-hot encodes a column's block.

        Args:
          values: `[n, *column_shape]` in the source's dtype, of either byte order.

        Returns:
          `[n, *shape]` of `dtype`, little-endian.
        """
        dtype = np.dtype(self.dtype).newbyteorder("<")
        if self.one_hot:
            return np.eye(self.size, dtype=dtype)[values.astype(np.int64)]
        if values.dtype == dtype and self.scale == 1:
            return values
        if values.dtype.itemsize == 1:
            # Each of 256 values is computed once, in double precision; x/255 comes out exact.
            every = np.arange(256, dtype=np.uint8).view(values.dtype)
            table = every.astype(dtype) if self.scale == 1 else (every * self.scale).astype(dtype)
            return table[values.view(np.uint8)]
        if self.scale == 1:
            return values.astype(dtype)
        return (values * np.float64(self.scale)).astype(dtype)


def _class_count(name: str, options: FeatureOptions, spec: ColumnSpec) -> int | None:
    if options.classes is not None and np.dtype(spec.dtype).kind == "f":
        raise UsageError(f"feature {name!r}: {spec.dtype} values cannot be classes; drop its names")
    return options.classes


def make_feature(name: str, spec: ColumnSpec, options: FeatureOptions) -> Feature:
    """Completes a user's wish for a column.

    The default is lossless: scalars as int64_list or float_list, all else as raw bytes.

    Raises:
      UsageError: The encoding cannot hold the column's values.

    >>> make_feature("label", ColumnSpec("uint8", ()), FeatureOptions(num_classes=10)).varint_bytes
    1
    """
    source = np.dtype(spec.dtype)
    encoding, classes = options.encoding, _class_count(name, options, spec)
    if encoding is None:
        encoding = "bytes"
        if not spec.shape and options.dtype is None and options.scale == 1:
            encoding = {"u": "int64_list", "i": "int64_list"}.get(source.kind, "bytes")
            encoding = "float_list" if source == np.float32 else encoding
    if encoding == "one_hot":
        if classes is None or spec.shape:
            raise UsageError(
                f"feature {name!r}: one_hot needs a scalar column and a number of classes, found "
                f"shape {spec.shape} and {classes}; add num_classes= or names in dataset.toml"
            )
        return Feature(
            name=name,
            column=name,
            encoding="float_list" if options.dtype is None else "bytes",
            dtype=options.dtype or "float32",
            shape=(classes,),
            one_hot=True,
            num_classes=classes,
            names=options.names,
        )
    if encoding != "bytes" and options.dtype is not None:
        raise UsageError(f"feature {name!r}: dtype= goes with bytes and one_hot, not {encoding}")
    if encoding == "int64_list" and (source.kind == "f" or options.scale != 1):
        raise UsageError(
            f"feature {name!r}: int64_list holds integers, but the values are {spec.dtype} times "
            f"{options.scale:g}; use float_list or bytes"
        )
    width = 0
    if encoding == "int64_list":
        info = np.iinfo(source)
        width = varint_bytes(classes - 1 if classes else info.min if info.min else info.max)
    dtypes = {"int64_list": "int64", "float_list": "float32", "bytes": options.dtype or spec.dtype}
    if encoding == "bytes" and options.scale != 1 and np.dtype(dtypes["bytes"]).kind != "f":
        raise UsageError(
            f"feature {name!r}: scale {options.scale:g} needs dtype=float16, float32 or float64, "
            f"found {dtypes['bytes']}: integers would be cut off"
        )
    return Feature(
        name=name,
        column=name,
        encoding=encoding,  # type: ignore[arg-type]  # checked by FeatureOptions
        dtype=dtypes[encoding],
        shape=spec.shape,
        scale=options.scale,
        varint_bytes=width,
        num_classes=classes,
        names=options.names,
    )


def _article_options(spec: ColumnSpec, options: FeatureOptions) -> FeatureOptions:
    """The article's record: float32 pixels in [0, 1] and a float64 one-hot vector, as bytes."""
    if spec.shape:
        scale = 1 / 255 if spec.dtype == "uint8" else 1.0
        return FeatureOptions(encoding="bytes", dtype="float32", scale=scale)
    return FeatureOptions(
        encoding="one_hot", dtype="float64", names=options.names, num_classes=options.classes or 10
    )


def _constant(name: str, value: int) -> Feature:
    return Feature(
        name=name,
        column=None,
        encoding="int64_list",
        dtype="int64",
        varint_bytes=varint_bytes(value),
        constant=value,
    )


def _step_of(name: str, spec: ColumnSpec, options: FeatureOptions) -> ColumnSpec | None:
    """The dtype and shape of a step, for a column that is a sequence."""
    if spec.ragged:
        if options.kind == "context":
            raise UsageError(
                f"feature {name!r}: its records differ in length, so it cannot be kind context"
            )
        return spec
    if options.kind != "sequence":
        return None
    if not spec.shape:
        raise UsageError(
            f"feature {name!r}: kind sequence needs an axis of time, but its records are single "
            "values; give { values = …, lengths = … } in dataset.toml"
        )
    return ColumnSpec(spec.dtype, spec.shape[1:], longest=spec.shape[0])


def _length(name: str, column: str, step: ColumnSpec) -> Feature:
    return Feature(
        name=name,
        column=None,
        encoding="int64_list",
        dtype="int64",
        varint_bytes=varint_bytes(step.longest),
        length_of=column,
    )


def _shape_features(columns: Mapping[str, ColumnSpec]) -> list[Feature]:
    images = [n for n, spec in columns.items() if len(spec.shape) in (2, 3) and not spec.ragged]
    if len(images) != 1:
        raise UsageError(
            f"--shape_features: found {len(images)} columns of rank 2 or 3 ({images}), wanted one "
            "image column to take height, width and depth from"
        )
    shape = columns[images[0]].shape
    sizes = zip(("height", "width", "depth"), (*shape, 1)[:3], strict=True)
    return [_constant(name, size) for name, size in sizes]


def make_features(
    columns: Mapping[str, ColumnSpec],
    options: Mapping[str, FeatureOptions],
    *,
    example_format: ExampleFormat = "default",
    record_type: RecordType | None = None,
    one_length: bool = True,
    shape_features: bool = False,
    index_count: int | None = None,
) -> tuple[Feature, ...]:
    """The features of a dataset, sorted by name as they are in each Example.

    Args:
      columns: The source's columns.
      options: Wishes by column.
      example_format: "article" writes the article's record in place of the default.
      record_type: None takes SequenceExample where there is a sequence.
      one_length: Whether all sequences are of one length in each record: it then stands once, as
        `length`, else as `<name>_length` for each.
      shape_features: Adds height, width and depth of the image column as int64.
      index_count: Adds `index`, the number of the source record, below this count.

    Raises:
      UsageError: A wish for a column that is not there, or one that cannot be met.
    """
    for name in options:
        if name not in columns:
            raise UsageError(f"feature {name!r} is no column; there is {', '.join(columns)}")
    features: list[Feature] = []
    steps = {
        name: step
        for name, spec in columns.items()
        if (step := _step_of(name, spec, options.get(name, FeatureOptions())))
    }
    if record_type == "sequence_example" and not steps:
        raise UsageError(
            "record_type sequence_example: no column is a sequence; give one as "
            '{ values = "…", lengths = "…" } in dataset.toml, or kind="sequence"'
        )
    for name, spec in columns.items():
        wish = options.get(name, FeatureOptions())
        if name in steps:
            feature = make_feature(name, steps[name], wish)
            form: Sequence = "list" if record_type == "example" else "feature_list"
            features.append(dataclasses.replace(feature, sequence=form))
            continue
        if example_format == "article":
            wish = _article_options(spec, wish)
        features.append(make_feature(name, spec, wish))
    for name, step in list(steps.items())[: 1 if one_length else None]:
        key = "length" if one_length else f"{name}_length"
        features.append(_length(key, name, step) if step.ragged else _constant(key, step.longest))
    if shape_features:
        features += _shape_features(columns)
    if index_count is not None:
        width = varint_bytes(max(0, index_count - 1))
        features.append(
            Feature(
                name="index", column=None, encoding="int64_list", dtype="int64", varint_bytes=width
            )
        )
    names = [feature.name for feature in features]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"feature {name!r} would stand twice in each Example; rename a column")
    return tuple(sorted(features, key=lambda feature: feature.name.encode()))
