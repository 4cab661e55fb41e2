"""Models: from images of any shape, as the dataset has them, to one logit a class.

Scaling is part of a model: the saved file takes the very bytes that the shards hold.
"""

from __future__ import annotations

import importlib.util
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from pipeline.errors import UsageError

# (shape of an image, its dtype, number of classes) -> keras.Model from images to logits.
Builder = Callable[[tuple[int, ...], str, int], Any]


def image_input(shape: tuple[int, ...], dtype: str) -> tuple[Any, Any]:
    """The input and its first layers: integers scaled to [0, 1], a channel axis where missing.

    Args:
      shape: `(rows, cols)` or `(rows, cols, channels)` of one image.
      dtype: Of the images. Integers are divided by their largest value; floats pass as they are.

    Returns:
      The input `dtype[n, *shape]`, and float`[n, rows, cols, channels]`.

    Raises:
      UsageError: An image of another rank.
    """
    if len(shape) not in (2, 3) or 0 in shape:
        raise UsageError(
            f"image of shape {list(shape)}: wanted [rows, cols] or [rows, cols, channels]"
        )
    images = keras.Input(shape, dtype=dtype, name="image")
    values = images
    if np.dtype(dtype).kind in "ui":
        values = layers.Rescaling(1.0 / np.iinfo(dtype).max, name="scale")(values)
    if len(shape) == 2:
        values = layers.Reshape((*shape, 1), name="channel")(values)
    return images, values


def _classify(images: Any, values: Any, num_classes: int, name: str) -> Any:
    # float32 whatever the policy: a softmax over bfloat16 logits loses digits that the loss needs.
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(values)
    return keras.Model(images, logits, name=name)


def article(shape: tuple[int, ...], dtype: str, num_classes: int) -> Any:
    """The article's network: two convolutions of 5x5 with pooling, and a dense layer of 512.

    Padding keeps the borders, so that images of any size pass, even of one pixel.
    """
    images, values = image_input(shape, dtype)
    for number, filters in enumerate((48, 96), start=1):
        values = layers.Conv2D(
            filters, 5, padding="same", activation="relu", name=f"convolution_{number}"
        )(values)
        values = layers.MaxPooling2D(2, padding="same", name=f"pool_{number}")(values)
    values = layers.Flatten(name="flatten")(values)
    values = layers.Dense(512, activation="relu", name="dense")(values)
    return _classify(images, values, num_classes, "article")


def mlp(shape: tuple[int, ...], dtype: str, num_classes: int) -> Any:
    """Two dense layers of 256: the quickest, and the plainest to compare with."""
    images, values = image_input(shape, dtype)
    values = layers.Flatten(name="flatten")(values)
    for number in (1, 2):
        values = layers.Dense(256, activation="relu", name=f"dense_{number}")(values)
    return _classify(images, values, num_classes, "mlp")


def resnet(shape: tuple[int, ...], dtype: str, num_classes: int) -> Any:
    """A residual network of nine convolutions, 2.8 million weights at one channel.

    Pre-activation blocks (He et al., "Identity mappings in deep residual networks", 2016), few
    and wide as in Zagoruyko and Komodakis, "Wide residual networks", 2016.
    """
    images, values = image_input(shape, dtype)

    def convolution(values: Any, filters: int, strides: int = 1, size: int = 3) -> Any:
        return layers.Conv2D(
            filters,
            size,
            strides,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
        )(values)

    def activated(values: Any) -> Any:
        return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(values))

    values = convolution(values, 64)
    for filters, strides in ((64, 1), (128, 2), (256, 2), (256, 1)):
        before = activated(values)
        inside = activated(convolution(before, filters, strides))
        inside = convolution(inside, filters)
        if strides != 1 or values.shape[-1] != filters:
            values = convolution(before, filters, strides, size=1)
        values = layers.Add()([values, inside])
    values = layers.GlobalAveragePooling2D(name="pool")(activated(values))
    return _classify(images, values, num_classes, "resnet")


MODELS: dict[str, Builder] = {"article": article, "mlp": mlp, "resnet": resnet}


def build(name: str, shape: tuple[int, ...], dtype: str, num_classes: int) -> Any:
    """Builds a model by its name, or by a function of the user's.

    Args:
      name: A key of `MODELS`, or `path/to/module.py:function`; the function is called with the
        three arguments below.
      shape: `(rows, cols)` or `(rows, cols, channels)` of one image.
      dtype: Of the images.
      num_classes: Length of the output.

    Returns:
      A keras.Model from `dtype[n, *shape]` to logits `float32[n, num_classes]`.

    Raises:
      UsageError: An unknown name, or a module that does not give such a model.
    """
    if name in MODELS:
        return MODELS[name](shape, dtype, num_classes)
    path, colon, function = name.rpartition(":")
    if not colon or not path.endswith(".py"):
        raise UsageError(
            f"--model {name}: unknown; there is {', '.join(MODELS)}, or path/to/module.py:function"
        )
    network = _call(name, _load(name, path, function), shape, dtype, num_classes)
    if not isinstance(network, keras.Model):
        raise UsageError(f"--model {name}: gave {type(network).__name__}; wanted a keras.Model")
    wanted = ((None, *shape), (None, num_classes))
    found = (network.input_shape, network.output_shape)
    if found != wanted:
        raise UsageError(
            f"--model {name}: maps {found[0]} to {found[1]}; wanted {wanted[0]} to {wanted[1]}, "
            "images to one logit a class"
        )
    return network


def _load(name: str, path: str, function: str) -> Any:
    if not Path(path).is_file():
        raise UsageError(f"--model {name}: there is no file {path}")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"--model {name}: {path} is no Python module")
    module = importlib.util.module_from_spec(spec)
    _call(name, spec.loader.exec_module, module, path=path)
    if not callable(getattr(module, function, None)):
        raise UsageError(f"--model {name}: {path} has no function {function!r}")
    return getattr(module, function)


def _call(name: str, function: Any, *arguments: Any, path: str | None = None) -> Any:
    """Calls the user's code; what it raises is told with the line of the user's file."""
    path = path or function.__code__.co_filename
    try:
        return function(*arguments)
    except Exception as error:
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == path]
        # A syntax error never got as far as a frame of its own.
        line = lines[-1] if lines else getattr(error, "lineno", None)
        raise UsageError(
            f"--model {name}: {path}, line {line}: {type(error).__name__}: {error}"
        ) from error
