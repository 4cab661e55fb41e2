"""The model as a server runs it: a SavedModel that needs TensorFlow alone.

    serving_default   examples: string[n], serialized raw Examples
    images            images: [n, *shape] as the raw files hold them

Both give `class` int64[n], `label` string[n] and `probabilities` float32[n, classes]. The
preprocessing's own graph is inside, so what is computed from raw bytes is what the trainer saw.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pipeline.dataset import Dataset
from pipeline.errors import DatasetError, OutputError
from pipeline.features import Feature

from .task import Task
from .transform import load_transform_fn, raw_specs

SAVED_MODEL = "saved_model"


def raw_features(dataset: Dataset) -> tuple[Feature, ...]:
    """What the raw Examples hold, from which the shards' were made or which they are."""
    plan = dataset.manifest.plan
    return plan.features if plan.preprocess is None else plan.preprocess.raw_features


def _parsing_spec(features: tuple[Feature, ...]) -> dict[str, Any]:
    """With defaults: a request has no label, and need not have anything but the image."""
    spec = {}
    for feature in features:
        if feature.encoding == "bytes":
            nothing: Any = bytes(feature.value_bytes)
            spec[feature.name] = tf.io.FixedLenFeature((), tf.string, nothing)
        else:
            dtype = tf.as_dtype(feature.dtype)
            nothing = np.zeros(feature.shape, feature.dtype)
            spec[feature.name] = tf.io.FixedLenFeature(feature.shape, dtype, nothing)
    return spec


def _strings(values: tf.Tensor) -> tf.Tensor:
    """The bytes of each record as one string: the reverse of `tf.io.decode_raw`."""
    data = values if values.dtype == tf.uint8 else tf.bitcast(values, tf.uint8)
    table = tf.constant([bytes([value]) for value in range(256)])
    flat = tf.reshape(data, (tf.shape(data)[0], -1))
    return tf.strings.reduce_join(tf.gather(table, tf.cast(flat, tf.int32)), axis=1)


class Served(tf.Module):  # type: ignore[misc]  # TensorFlow has no types
    """A network with what comes before and after it."""

    def __init__(self, dataset: Dataset, task: Task, network: Any) -> None:
        """Takes what the trainer has.

        Raises:
          DatasetError: The model's image is no feature of the raw Examples.
        """
        super().__init__()
        plan = dataset.manifest.plan
        self._task, self._features = task, raw_features(dataset)
        self._network = network
        self._names = tf.constant(task.class_names)
        self._transform = None if plan.preprocess is None else load_transform_fn(dataset)
        images = [f for f in self._features if len(f.shape) in (2, 3)]
        same = [f for f in images if f.name == task.image] or images
        if len(same) != 1 or same[0].column is None:
            raise DatasetError(
                f"{dataset.path}: {len(images)} raw features could be the image of the model; "
                "wanted one of rank 2 or 3"
            )
        self.image = same[0]
        header = plan.sources[plan.splits[0].source][self.image.column or ""][0].header
        self.image_dtype = header.dtype

    def signatures(self) -> dict[str, Any]:
        """The two ways to ask, traced."""
        examples = tf.TensorSpec((None,), tf.string, name="examples")
        shape = (None, *self.image.shape)
        images = tf.TensorSpec(shape, tf.as_dtype(self.image_dtype), name="images")
        return {
            "serving_default": tf.function(self.from_examples).get_concrete_function(examples),
            "images": tf.function(self.from_images).get_concrete_function(images),
        }

    def from_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Answers for serialized raw Examples, string[n]."""
        parsed = tf.io.parse_example(examples, _parsing_spec(self._features))
        return self._answer(parsed)

    def from_images(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Answers for images `[n, *shape]` as the raw files hold them."""
        feature, values = self.image, images
        if feature.scale != 1 or feature.dtype != self.image_dtype:
            # As the pipeline does it: in double precision, rounded once.
            wide = tf.cast(values, tf.float64) * feature.scale
            values = tf.cast(wide, tf.as_dtype(feature.dtype))
        count = tf.shape(images)[0]
        raw = {}
        for name, spec in raw_specs(self._features).items():
            other = next(f for f in self._features if f.name == name)
            if name == feature.name:
                raw[name] = _strings(values) if feature.encoding == "bytes" else values
            elif spec.dtype == tf.string:
                raw[name] = tf.fill((count,), tf.constant(bytes(other.value_bytes)))
            else:
                raw[name] = tf.zeros((count, *other.shape), spec.dtype)
        return self._answer(raw, None if self._transform else values)

    def _answer(self, raw: dict[str, Any], images: Any = None) -> dict[str, tf.Tensor]:
        if self._transform is not None:
            images = self._transform.transform_fn(raw)[self._task.image]
            images = tf.ensure_shape(images, (None, *self._task.image_shape))
        elif images is None:
            images = raw[self.image.name]
            if self.image.encoding == "bytes":
                decoded = tf.io.decode_raw(images, tf.as_dtype(self.image.dtype))
                images = tf.reshape(decoded, (-1, *self.image.shape))
        logits = self._network(images, training=False)
        found = tf.argmax(logits, -1, output_type=tf.int64)
        return {
            "class": found,
            "label": tf.gather(self._names, found),
            "probabilities": tf.nn.softmax(tf.cast(logits, tf.float32)),
        }


def export(dataset: Dataset, task: Task, network: Any, folder: Path) -> Path:
    """Writes `<folder>/saved_model/`, whole or not at all.

    Args:
      dataset: That the model was trained on; its transform goes into the SavedModel.
      task: What the model does.
      network: From images to logits, on TensorFlow.
      folder: Of the model.

    Raises:
      DatasetError: See `Served`; or the transform is missing.
      OutputError: The folder cannot be written.
    """
    target, partial = folder / SAVED_MODEL, folder / f".partial-{SAVED_MODEL}"
    served = Served(dataset, task, network)
    try:
        shutil.rmtree(partial, ignore_errors=True)
        tf.saved_model.save(served, str(partial), signatures=served.signatures())
        about = {
            "image_dtype": served.image_dtype,
            "image_shape": list(served.image.shape),
            "classes": list(task.class_names),
        }
        (partial / "assets.extra").mkdir()
        (partial / "assets.extra" / "recordmill.json").write_text(json.dumps(about, indent=1))
        shutil.rmtree(target, ignore_errors=True)
        os.replace(partial, target)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({error}); make room, run again") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target
