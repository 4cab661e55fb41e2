"""A dataset as its own preprocessing makes it: the stored graph, applied to what is read.

The graph is the one that `convert --preprocess` left beside the shards; plain TensorFlow runs it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from pipeline.dataset import Dataset
from pipeline.errors import DatasetError, UsageError
from pipeline.features import Feature
from pipeline.options import DEFAULT_PREPROCESS
from pipeline.records import Arrays, Check, Records

TRANSFORM_FN = "transform_fn"
# As in the pipeline: with whole vectors alone, a record's values don't depend on its place.
PAD_RECORDS = 16


class TransformedDataset(Dataset):
    """A dataset of raw Examples whose records come out transformed."""

    def __init__(self, raw: Dataset) -> None:
        """Loads the graph that lies beside the shards."""
        super().__init__(raw.path, raw.manifest, check="none")
        self._raw = raw
        self._features, self._graph = _load(raw)

    @property
    def features(self) -> tuple[Feature, ...]:
        """What comes out of the graph, sorted by name."""
        return self._features

    def records(self, split: str, *, check: Check) -> Records:
        """As `dataset[split]`, compared in another way."""
        records: Any = _Records(self, self._raw.records(split, check=check))
        return records  # type: ignore[no-any-return]  # the same by duck typing

    def __getitem__(self, split: str) -> Records:
        """The records of a split expression."""
        records: Any = _Records(self, self._raw[split])
        return records  # type: ignore[no-any-return]  # the same by duck typing

    def blocks(self, split: str, start: int = 0, stop: int | None = None) -> Iterator[Arrays]:
        """Records of a split expression in order, some at a time."""
        for block in self._raw.blocks(split, start, stop):
            yield self.transform(block)

    def transform(self, values: Arrays) -> Arrays:
        """Transforms decoded raw records, `[n, *shape]` by feature."""
        count = len(next(iter(values.values())))
        places = np.minimum(np.arange(-(-count // PAD_RECORDS) * PAD_RECORDS), count - 1)
        inputs = {
            feature.name: _raw_tensor(feature, values[feature.name][places])
            for feature in self._raw.features
        }
        with tf.device("CPU:0"):
            outputs = self._graph(inputs)
        return {feature.name: outputs[feature.name].numpy()[:count] for feature in self._features}


class _Records:
    """Records by number, read raw and transformed."""

    def __init__(self, dataset: TransformedDataset, raw: Records) -> None:
        self._dataset, self._raw = dataset, raw

    def __len__(self) -> int:
        return len(self._raw)

    def __getitem__(self, key: Any) -> Arrays:
        if isinstance(key, (slice, np.ndarray, list)):
            return self._dataset.transform(self._raw[key])
        one = {name: value[np.newaxis] for name, value in self._raw[key].items()}
        return {name: value[0] for name, value in self._dataset.transform(one).items()}


def has_transform(dataset: Dataset) -> bool:
    """Whether the records are raw, and a transform lies beside them."""
    chosen = dataset.manifest.plan.preprocess
    return chosen is not None and chosen.materialize == "raw"


def transformed(dataset: Dataset) -> Dataset:
    """The dataset with its transform applied; as it is where its records are transformed already.

    Raises:
      UsageError: It was converted without preprocessing.
    """
    if dataset.manifest.plan.preprocess is None:
        raise UsageError(
            f"{dataset.path}: was converted without preprocessing, so there is no transform to "
            "apply; convert with --preprocess default, or leave out transformed=True"
        )
    return TransformedDataset(dataset) if has_transform(dataset) else dataset


def load_transform_fn(dataset: Dataset) -> Any:
    """The SavedModel that lies beside the shards; its `transform_fn` takes and gives dicts.

    Raises:
      DatasetError: It is missing or damaged.
    """
    path = f"{dataset.path}/{TRANSFORM_FN}"
    try:
        return tf.saved_model.load(path)
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise DatasetError(f"{path}: cannot be loaded ({error}); convert again") from error


def raw_specs(features: tuple[Feature, ...]) -> dict[str, tf.TensorSpec]:
    """What the graph takes: strings for what is stored as bytes, else the values."""
    return {
        f.name: tf.TensorSpec((None,), tf.string)
        if f.encoding == "bytes"
        else tf.TensorSpec((None, *f.shape), tf.as_dtype(f.dtype))
        for f in features
    }


def _load(raw: Dataset) -> tuple[tuple[Feature, ...], Any]:
    module = load_transform_fn(raw)
    graph = tf.function(lambda inputs: dict(module.transform_fn(inputs)))
    concrete = graph.get_concrete_function(raw_specs(raw.features))
    chosen = raw.manifest.plan.preprocess
    default = chosen is not None and chosen.module == DEFAULT_PREPROCESS
    named = {feature.name: feature for feature in raw.features if default}
    features = []
    for name, tensor in sorted(concrete.structured_outputs.items()):
        sizes: list[Any] = tensor.shape.as_list() if tensor.shape.rank else [None, None]
        # What varies in size is no feature that a batch could hold.
        if isinstance(tensor, tf.Tensor) and tensor.dtype != tf.string and None not in sizes[1:]:
            integers = tensor.dtype == tf.int64
            same = named.get(name) if integers else None
            features.append(
                Feature(
                    name=name,
                    column=name,
                    encoding="int64_list" if integers else "float_list",
                    dtype=tensor.dtype.name,
                    shape=tuple(sizes[1:]),
                    num_classes=same.num_classes if same else None,
                    names=same.names if same else (),
                )
            )
    return tuple(features), _Kept(module, concrete)


class _Kept:
    """A graph, and the module whose variables and tables it uses."""

    def __init__(self, module: Any, concrete: Any) -> None:
        self._module, self._concrete = module, concrete

    def __call__(self, inputs: dict[str, tf.Tensor]) -> Any:
        return self._concrete(inputs)


def _raw_tensor(feature: Feature, values: npt.NDArray[Any]) -> tf.Tensor:
    if feature.encoding != "bytes":
        return tf.constant(values)
    data = np.ascontiguousarray(values).tobytes()
    width = feature.value_bytes
    return tf.constant([data[i * width : (i + 1) * width] for i in range(len(values))], tf.string)
