"""One preprocessing for pipeline, trainer and server: tensorflow-transform, over blocks.

`preprocessing_fn(inputs)` is that of TFX: it takes a batch of what the raw Examples hold, by
feature (`tf.string[n]` for what is stored as bytes, int64 and float32 for lists), and returns
tensors by name. Its analysers see the train split alone. The graph, with the analysers' results
as constants, is stored beside the shards as `transform_fn/`.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import os
import re
import tempfile
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_transform import analyzer_nodes, impl_helper
from tensorflow_transform.tf_metadata import schema_utils

from . import engine, files, output
from .encode import set_aside
from .errors import RecordmillError, UsageError
from .features import LONGEST_VARINT_BYTES, Feature
from .options import DEFAULT_PREPROCESS
from .plan import Plan, Preprocess
from .preprocess_default import default_preprocessing_fn
from .read import Block, Blocks, ReadFromIdx, Shards
from .rules import Rules
from .schema import schema_pbtxt

TRANSFORM_FN, METADATA = "transform_fn", "transformed_metadata"
# Vector instructions round like scalar ones for + - * /, but not for every function: with whole
# vectors alone, a record's values don't depend on its place in a block.
PAD_RECORDS = 16
# Raw bytes of a batch of the analysis: of less, what TensorFlow and TFT pay for each batch shows.
ANALYSIS_BYTES = 4 << 20
PreprocessingFn = Callable[[dict[str, Any]], dict[str, Any]]
Arrays = dict[str, npt.NDArray[Any]]


# The user's module.


def _user_error(path: str, error: BaseException | str, line: int | None = None) -> UsageError:
    """What is wrong, with the line of the user's file where it came from."""
    text = f"{type(error).__name__}: {error}" if isinstance(error, BaseException) else error
    if isinstance(error, BaseException):
        found = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if os.path.abspath(frame.filename) == os.path.abspath(path)
        ]
        # A syntax error never got as far as a frame of its own.
        line = found[-1] if found else getattr(error, "lineno", line)
    place = f"{path}, line {line}" if line else path
    return UsageError(f"--preprocess: {place}: {text}")


def _graph_error(chosen: Preprocess, error: BaseException) -> UsageError:
    """The same for an error inside the graph, which tells the operation's name alone."""
    text, path, line = str(error), chosen.path, None
    node = re.search(r"node (?:\{\{node )?([\w./]+)", text)
    if node and path and chosen.module != DEFAULT_PREPROCESS:
        with contextlib.suppress(Exception):
            operation = _traced(chosen)[0].get_operation_by_name(node[1])
            line = _lines_of(path, operation)[-1]
    told = re.search(r"<stack traces unavailable>\n(.*)", text)
    message = told[1] if told else next(filter(None, map(str.strip, text.splitlines())), "failed")
    return _user_error(path or chosen.module, message, line)


def _lines_of(path: str, operation: Any) -> list[int]:
    return [
        frame.lineno
        for frame in operation.traceback or ()
        if os.path.abspath(frame.filename) == os.path.abspath(path)
    ]


def _traced(chosen: Preprocess) -> tuple[Any, Any]:
    """The graph of `preprocessing_fn` before any analysis, and its outputs."""
    specs = impl_helper.get_type_specs_from_feature_specs(raw_spec(chosen.raw_features))
    function = _function_of(chosen)

    def checked(inputs: dict[str, Any]) -> dict[str, Any]:
        outputs = function(inputs)
        if not isinstance(outputs, dict) or not outputs:
            found = "an empty dict" if isinstance(outputs, dict) else type(outputs).__name__
            raise TypeError(f"preprocessing_fn gave {found}; wanted a dict of tensors")
        return outputs

    with tempfile.TemporaryDirectory() as scratch:
        graph, _, outputs = impl_helper.trace_preprocessing_function(
            checked, specs, use_tf_compat_v1=False, base_temp_dir=scratch
        )
    return graph, outputs


def _load_module(path: str) -> tuple[PreprocessingFn, int]:
    """`preprocessing_fn` of a user's module, and the line where it begins."""
    if not os.path.isfile(path):
        raise UsageError(f"--preprocess {path}: no such file; wanted default, none or a module")
    spec = importlib.util.spec_from_file_location(os.path.basename(path)[:-3], path)
    if spec is None or spec.loader is None:
        raise UsageError(f"--preprocess {path}: no Python module; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise _user_error(path, error) from error
    function = getattr(module, "preprocessing_fn", None)
    if not callable(function):
        raise _user_error(path, "has no function preprocessing_fn(inputs)", 1)
    return function, getattr(getattr(function, "__code__", None), "co_firstlineno", 1)


def _function_of(chosen: Preprocess) -> PreprocessingFn:
    if chosen.module == DEFAULT_PREPROCESS:
        return functools.partial(default_preprocessing_fn, chosen.raw_features)
    return _load_module(chosen.path)[0]


def plan_preprocessing(
    module: str, materialize: Any, raw_features: tuple[Feature, ...], train_records: int
) -> tuple[Preprocess, tuple[Feature, ...]]:
    """Traces `preprocessing_fn`, with no data, for what the transformed Examples hold.

    Returns:
      What goes into the plan, and the features of the Examples that are written.

    Raises:
      UsageError: The module is bad; names its file and line.
    """
    path, line, sha256 = module, None, ""
    if module != DEFAULT_PREPROCESS:
        _, line = _load_module(module)
        sha256 = hashlib.sha256(files.read_bytes(module)).hexdigest()
    name = os.path.basename(module)
    chosen = Preprocess(name, sha256, materialize, raw_features, path=module)
    try:
        graph, outputs = _traced(chosen)
    except Exception as error:
        raise _user_error(path, error, line) from error
    if not train_records:
        sinks = graph.get_collection(analyzer_nodes.TENSOR_REPLACEMENTS)
        lines = [at for sink in sinks for at in _lines_of(path, sink.tensor.op)]
        if sinks:
            raise _user_error(
                path,
                "analyses the whole train split, which has no records; convert a source with train "
                "records",
                lines[-1] if lines else line,
            )
    if materialize == "raw":
        return chosen, raw_features
    return chosen, _transformed_features(chosen, outputs, line)


def _transformed_features(
    chosen: Preprocess, outputs: dict[str, Any], line: int | None
) -> tuple[Feature, ...]:
    raw = {feature.name: feature for feature in chosen.raw_features}
    features = []
    for name in sorted(outputs, key=str.encode):
        tensor = outputs[name]
        shape = getattr(tensor, "shape", None)
        sizes = None if shape is None or shape.rank is None else shape.as_list()
        if not isinstance(tensor, tf.Tensor) or not sizes or None in sizes[1:]:
            raise _user_error(
                chosen.path,
                f"output {name!r} has shape {shape}; --materialize transformed wants dense "
                "tensors [batch, …] of fixed sizes: set them with tf.reshape or tf.ensure_shape",
                line,
            )
        kinds: dict[str, Any] = {"int64": "int64_list", "float32": "float_list"}
        if tensor.dtype.name not in kinds:
            raise _user_error(
                chosen.path,
                f"output {name!r} is {tensor.dtype.name}; --materialize transformed writes int64 "
                "and float32: cast it with tf.cast",
                line,
            )
        integers = tensor.dtype == tf.int64
        # Only the default is known to leave classes what they are.
        same = raw.get(name) if chosen.module == DEFAULT_PREPROCESS and integers else None
        known = same is not None and same.num_classes is not None
        features.append(
            Feature(
                name=name,
                column=name,
                encoding=kinds[tensor.dtype.name],
                dtype=tensor.dtype.name,
                shape=tuple(sizes[1:]),
                # Nothing bounds an integer of a user's graph, and all take the same width.
                varint_bytes=(same.varint_bytes if same and known else LONGEST_VARINT_BYTES)
                if integers
                else 0,
                num_classes=same.num_classes if same else None,
                names=same.names if same else (),
            )
        )
    return tuple(features)


# Blocks in the terms of TensorFlow.


def _schema(features: tuple[Feature, ...]) -> Any:
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    return text_format.Parse(schema_pbtxt(features), schema_pb2.Schema())


def raw_spec(features: tuple[Feature, ...]) -> dict[str, Any]:
    """The parsing spec of the raw Examples, from the same schema as `schema.pbtxt`."""
    spec: dict[str, Any] = schema_utils.schema_as_feature_spec(_schema(features)).feature_spec
    return spec


def raw_values(feature: Feature, block: Block) -> npt.NDArray[Any]:
    """What raw Examples hold of a feature: uint8[n, bytes], int64[n, size] or float32[n, size]."""
    count = len(block.numbers)
    if feature.column is None:
        fixed = block.numbers if feature.constant is None else np.full(count, feature.constant)
        return fixed.astype(np.int64).reshape(count, 1)
    values: npt.NDArray[Any] = block.columns[feature.column]
    if feature.encoding == "int64_list":
        return values.astype(np.int64).reshape(count, feature.size)
    stored = np.ascontiguousarray(feature.convert(values)).reshape(count, feature.size)
    return stored.view(np.uint8) if feature.encoding == "bytes" else stored


def record_batch(features: tuple[Feature, ...], block: Block) -> pa.RecordBatch:
    """A block as Arrow columns in the form of tfx_bsl; the values are not copied."""
    count = len(block.numbers)
    ends = np.arange(count + 1, dtype=np.int64)
    columns = []
    for feature in features:
        values = raw_values(feature, block)
        width = values.shape[1]
        if feature.encoding == "bytes":
            buffers = [None, pa.py_buffer(ends * width), pa.py_buffer(values)]
            flat = pa.LargeBinaryArray.from_buffers(pa.large_binary(), count, buffers)
            width = 1
        else:
            flat = pa.array(values.reshape(-1))
        columns.append(pa.LargeListArray.from_arrays(pa.array(ends * width), flat))
    return pa.record_batch(columns, names=[feature.name for feature in features])


def transform_block(chosen: Preprocess, folder: str, block: Block) -> Block:
    """A block of raw records as one of transformed ones, by output of `preprocessing_fn`."""
    count = len(block.numbers)
    padded = -(-count // PAD_RECORDS) * PAD_RECORDS
    places = np.minimum(np.arange(padded), count - 1)
    inputs = {}
    for feature in chosen.raw_features:
        values = raw_values(feature, block)
        if feature.encoding == "bytes":
            data, width = values.tobytes(), values.shape[1]
            inputs[feature.name] = tf.constant(
                [data[i * width : (i + 1) * width] for i in places.tolist()], tf.string
            )
        else:
            inputs[feature.name] = tf.constant(values.reshape(count, *feature.shape)[places])
    try:
        outputs = _loaded(folder)(inputs)
    except tf.errors.OpError as error:
        raise _graph_error(chosen, error) from error
    columns = {name: value.numpy()[:count] for name, value in outputs.items()}
    return Block(columns, block.numbers, block.files)


@functools.lru_cache(maxsize=2)
def _loaded(folder: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    layer = tft.TFTransformOutput(folder).transform_features_layer()
    function: Callable[[dict[str, Any]], dict[str, Any]] = tf.function(layer, reduce_retracing=True)
    return function


# The analysis.


def _batches(
    features: tuple[Feature, ...], rules: Rules, element: tuple[Any, Blocks[Block]]
) -> Iterator[pa.RecordBatch]:
    record_bytes = sum(feature.value_bytes for feature in features)
    for block in element[1].every(max(1, ANALYSIS_BYTES // max(1, record_bytes))):
        yield record_batch(features, set_aside(features, rules, block)[0])


def _analysis(plan: Plan, chosen: Preprocess, folder: str, root: Any) -> Any:
    import tensorflow_transform.beam as tft_beam
    from tfx_bsl.tfxio import tensor_adapter, tensor_representation_util

    features = chosen.raw_features
    representations = tensor_representation_util.InferTensorRepresentationsFromSchema(
        _schema(features)
    )
    nothing = Block(
        {
            name: np.zeros((0, *parts[0].header.record_shape), parts[0].header.dtype)
            for name, parts in plan.sources[plan.split("train").source].items()
        },
        np.zeros(0, np.int64),
        {},
    )
    config = tensor_adapter.TensorAdapterConfig(
        record_batch(features, nothing).schema, representations
    )
    scratch = output.state_path(folder, "inflated")
    batches = (
        root
        | "Shards" >> Shards(plan, "train")
        | "ReadFromIdx" >> ReadFromIdx(plan, "train", scratch=scratch)
        | "RecordBatches" >> beam.FlatMap(functools.partial(_batches, features, plan.rules))
    )  # pa.RecordBatch
    transform_fn = (batches, config) | "Analyze" >> tft_beam.AnalyzeDataset(_function_of(chosen))
    return transform_fn | "WriteTransformFn" >> tft_beam.WriteTransformFn(folder)


def analyze(plan: Plan, folder: str, options: Any) -> None:
    """Analyses the train split and writes `transform_fn/` and `transformed_metadata/`.

    What an earlier run of the same plan finished is kept.

    Raises:
      UsageError: The user's graph fails on the data; names its file and line.
    """
    import tensorflow_transform.beam as tft_beam

    chosen = plan.preprocess
    done = output.state_path(folder, "analyzed")
    if chosen is None or files.exists(done):
        return
    for name in (TRANSFORM_FN, METADATA):
        files.delete_tree(files.join(folder, name))
    try:
        with tempfile.TemporaryDirectory() as scratch:
            local = scratch if files.is_local(folder) else output.state_path(folder, "analysis")
            with tft_beam.Context(temp_dir=local):
                engine.run(functools.partial(_analysis, plan, chosen, folder), options)
    except RecordmillError:
        raise
    except Exception as error:
        if chosen.module == DEFAULT_PREPROCESS:
            raise
        raise _graph_error(chosen, error) from error
    files.write_bytes(done, b"")


def transform_files(folder: str) -> dict[str, str]:
    """SHA-256 of each file of the transform, by its name relative to the dataset's folder."""
    found = [
        path
        for name in (TRANSFORM_FN, METADATA)
        for path, _ in files.match(files.join(folder, name, "**"))
    ]
    start = len(folder.rstrip("/")) + 1
    return {path[start:]: hashlib.sha256(files.read_bytes(path)).hexdigest() for path in found}
