"""Models: from images of any shape, as the dataset has them, to one logit a class.

Scaling is part of a model: the saved file takes the very bytes that the shards hold.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers

from pipeline.errors import UsageError

Builder = Callable[..., Any]


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
    # float32 whatever the policy: a softmax over bfloat16 logits loses digits that the loss needs.
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(values)
    return keras.Model(images, logits, name="article")


MODELS: dict[str, Builder] = {"article": article}


def build(name: str, shape: tuple[int, ...], dtype: str, num_classes: int) -> Any:
    """Builds a model by its name.

    Args:
      name: A key of `MODELS`.
      shape: `(rows, cols)` or `(rows, cols, channels)` of one image.
      dtype: Of the images.
      num_classes: Length of the output.

    Returns:
      A keras.Model from `dtype[n, *shape]` to logits `float32[n, num_classes]`.
    """
    if name not in MODELS:
        raise UsageError(f"--model {name}: unknown; there is {', '.join(MODELS)}")
    return MODELS[name](shape, dtype, num_classes)
