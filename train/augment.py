"""Random changes of images, inside of the compiled step: on the device, in the images' own dtype.

A layer, so that its random state is saved and restored with the weights. The network that is
saved at the end does not contain it.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


class Augment(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Mirrors, shifts and blanks parts of images while training; else does nothing."""

    def __init__(self, changes: dict[str, float], seed: int) -> None:
        """Takes what to do.

        Args:
          changes: As `train.options.parse_augment` gives it.
          seed: Of the layer's own random numbers.
        """
        super().__init__(name="augment", autocast=False)
        self.changes = changes
        self.seed_generator = keras.random.SeedGenerator(seed)

    def compute_output_spec(self, images: Any, training: bool = False) -> Any:
        """Images of the same shape and dtype."""
        return keras.KerasTensor(images.shape, images.dtype)

    def call(self, images: Any, training: bool = False) -> Any:
        """Changes images `[n, rows, cols]` or `[n, rows, cols, channels]` of any dtype."""
        if not training:
            return images
        if "flip" in self.changes:
            images = self._flip(images, self.changes["flip"])
        if "shift" in self.changes:
            images = self._shift(images, int(self.changes["shift"]))
        if "cutout" in self.changes:
            images = self._cutout(images, self.changes["cutout"])
        return images

    def _random(self, images: Any) -> Any:
        """float32[n, 1, ...] in [0, 1), of the images' rank."""
        shape = (ops.shape(images)[0],) + (1,) * (len(images.shape) - 1)
        return keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)

    def _flip(self, images: Any, share: float) -> Any:
        return ops.where(self._random(images) < share, ops.flip(images, axis=2), images)

    def _shift(self, images: Any, pixels: int) -> Any:
        """Moves each image by up to so many pixels; zeros come in from the side."""
        for axis in (1, 2):
            size = images.shape[axis]
            by = ops.floor(self._random(images) * (2 * pixels + 1)) - pixels
            source = _positions(images, axis) + ops.cast(by, "int32")
            moved = ops.take_along_axis(
                images,
                ops.broadcast_to(ops.clip(source, 0, size - 1), ops.shape(images)),
                axis=axis,
            )
            inside = ops.logical_and(source >= 0, source < size)
            images = ops.where(inside, moved, ops.zeros_like(moved))
        return images

    def _cutout(self, images: Any, side: float) -> Any:
        """Blanks a square around a random pixel (DeVries and Taylor, 2017)."""
        blank = None
        for axis in (1, 2):
            center = self._random(images) * images.shape[axis]
            near = ops.abs(ops.cast(_positions(images, axis), "float32") + 0.5 - center) < side / 2
            blank = near if blank is None else ops.logical_and(blank, near)
        return ops.where(blank, ops.zeros_like(images), images)


def _positions(images: Any, axis: int) -> Any:
    """int32 0, 1, 2, ... along one axis, of size 1 along the others."""
    shape = [1] * len(images.shape)
    shape[axis] = images.shape[axis]
    return ops.reshape(ops.arange(images.shape[axis], dtype="int32"), shape)


def augmented(network: Any, changes: dict[str, float], seed: int) -> Any:
    """A model that shares the network's weights and changes images before it; or the network.

    Args:
      network: From images to logits.
      changes: As `train.options.parse_augment` gives it.
      seed: Of the changes.
    """
    if not changes:
        return network
    images = keras.Input(network.input_shape[1:], dtype=network.inputs[0].dtype)
    return keras.Model(images, network(Augment(changes, seed)(images)), name="augmented")
