"""One training step and one evaluation step, compiled."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf


class Learner:
    """A model and its optimizer."""

    def __init__(self, model: Any, learning_rate: float) -> None:
        """Compiles nothing yet.

        Args:
          model: From images to logits.
          learning_rate: Adam's.
        """
        self.model = model
        self.optimizer = keras.optimizers.Adam(learning_rate)
        self.optimizer.build(model.trainable_variables)
        self._losses = keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="none"
        )
        self._train = tf.function(self._train_step, reduce_retracing=True)
        self._predict = tf.function(
            lambda images: model(images, training=False), reduce_retracing=True
        )

    def train(self, images: Any, labels: Any) -> Any:
        """Takes one step.

        Args:
          images: `[n, *image_shape]`.
          labels: int64[n].

        Returns:
          float32[3] on the device: the records' summed loss, how many were right, and n.
        """
        return self._train(images, labels)

    def _train_step(self, images: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            logits = self.model(images, training=True)
            losses = self._losses(labels, logits)
            loss = tf.reduce_mean(losses)
        weights = self.model.trainable_variables
        self.optimizer.apply(tape.gradient(loss, weights), weights)
        right = tf.equal(tf.argmax(logits, -1), tf.cast(labels, tf.int64))
        count = tf.cast(tf.size(losses), tf.float32)
        return tf.stack([tf.reduce_sum(losses), tf.reduce_sum(tf.cast(right, tf.float32)), count])

    def logits(self, images: Any) -> npt.NDArray[np.float32]:
        """Predicts.

        Args:
          images: `[n, *image_shape]`.

        Returns:
          float32[n, num_classes].
        """
        result: npt.NDArray[np.float32] = np.asarray(self._predict(images))
        return result
