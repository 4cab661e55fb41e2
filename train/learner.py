"""A model, its optimizer and its loss; what they share on every backend of Keras.

One step is a gradient, an update, and three sums that stay on the device until somebody asks.
How a step is differentiated, compiled and spread over devices is the backend's own business:
`learner_tensorflow`, `learner_jax` and `learner_torch`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from pipeline.errors import UsageError

from .options import TrainOptions


@dataclass(frozen=True)
class Objective:
    """Cross entropy with smoothed labels.

    Attributes:
      num_classes: Length of the logits.
      smoothing: Share of the target that is spread over all classes.
    """

    num_classes: int
    smoothing: float = 0.0

    def __call__(self, logits: Any, labels: Any, weights: Any) -> tuple[Any, Any]:
        """Sums over a batch.

        Args:
          logits: float32[n, num_classes].
          labels: int64[n].
          weights: float32[n]; 0 for a record that only fills the batch.

        Returns:
          The weighted sum of the losses, and float32[3]: the same, the weight of the records that
          were classified rightly, and the weight of all.
        """
        targets = ops.one_hot(labels, self.num_classes, dtype="float32")
        targets = targets * (1 - self.smoothing) + self.smoothing / self.num_classes
        losses = -ops.sum(targets * ops.log_softmax(logits), axis=-1)
        right = ops.cast(ops.equal(ops.argmax(logits, -1), ops.cast(labels, "int32")), "float32")
        loss = ops.sum(losses * weights)
        return loss, ops.stack([loss, ops.sum(right * weights), ops.sum(weights)])


def make_optimizer(options: TrainOptions, total_steps: int, *, loss_scaling: bool) -> Any:
    """The optimizer with its schedule.

    Args:
      options: Of the run.
      total_steps: Where the schedule ends.
      loss_scaling: Whether gradients in float16 have to be kept from vanishing.
    """
    warmup_steps = round(options.warmup * total_steps)
    rate: Any = options.learning_rate
    if options.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(
            0.0 if warmup_steps else rate,
            max(1, total_steps - warmup_steps),
            warmup_target=rate if warmup_steps else None,
            warmup_steps=warmup_steps,
        )
    elif warmup_steps:
        # A polynomial of the first degree stays at its end when the steps are over.
        rate = keras.optimizers.schedules.PolynomialDecay(0.0, warmup_steps, rate)
    kind: Any = keras.optimizers.Adam
    more: dict[str, Any] = {}
    if options.optimizer == "sgd":
        kind, more = keras.optimizers.SGD, {"momentum": 0.9, "nesterov": True}
    optimizer = kind(rate, weight_decay=options.weight_decay or None, **more)
    if options.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return keras.optimizers.LossScaleOptimizer(optimizer) if loss_scaling else optimizer


class Learner:
    """Takes steps.

    Attributes:
      network: From images to logits; what is saved in the end.
      model: The same with the augmentation before it.
      workers: Processes that train together.
      worker: Number of this one; 0 is the chief, which writes.
      replicas: Devices of this process.
    """

    workers, worker, replicas = 1, 0, 1

    def __init__(self, network: Any, model: Any, optimizer: Any, objective: Objective) -> None:
        """Takes built parts; compiles nothing yet."""
        self.network, self.model = network, model
        self.optimizer, self.objective = optimizer, objective
        optimizer.build(model.trainable_variables)
        self._sums: Any = None

    def train(self, images: Any, labels: Any, weights: Any) -> None:
        """Takes k steps, one after the other, without waiting for the device.

        Args:
          images: `[k, n, *image_shape]`, n records for each step.
          labels: int64[k, n].
          weights: float32[k, n]; 0 for a record that only fills the batch.
        """
        sums = self._train(images, labels, weights)
        self._sums = sums if self._sums is None else self._sums + sums

    def _train(self, images: Any, labels: Any, weights: Any) -> Any:
        """Takes the steps; returns float32[3], see `Objective`."""
        raise NotImplementedError

    def predict(self, images: Any) -> npt.NDArray[np.float32]:
        """Logits, float32[n, num_classes], of images `[n, *image_shape]`."""
        raise NotImplementedError

    def take_sums(self) -> npt.NDArray[np.float64]:
        """Loss, right ones and weight since the last call, float64[3]; waits for the device."""
        if self._sums is None:
            return np.zeros(3)
        sums, self._sums = ops.convert_to_numpy(self._sums), None
        return np.asarray(sums, np.float64)

    def total(self, value: float) -> float:
        """The sum of a number over all workers; waits until each of them has asked."""
        return value

    def agree(self, wish: bool) -> bool:
        """Whether any worker wishes so; all workers must ask at the same step."""
        return self.total(float(wish)) > 0

    def publish(self) -> None:
        """Brings the Keras variables up to date, where steps work on copies."""

    def adopt(self) -> None:
        """Takes the Keras variables' values, where steps work on copies."""

    def _variables(self) -> list[Any]:
        return [*self.model.variables, *self.optimizer.variables]

    def state(self) -> list[npt.NDArray[Any]]:
        """All that a step depends on and changes: weights, moments, counters, random state."""
        self.publish()
        return [np.asarray(ops.convert_to_numpy(v)) for v in self._variables()]

    def weights(self) -> list[npt.NDArray[Any]]:
        """The network's weights alone."""
        self.publish()
        return [np.asarray(ops.convert_to_numpy(v)) for v in self.network.variables]

    def set_weights(self, values: Sequence[npt.NDArray[Any]]) -> None:
        """Puts back what `weights` gave."""
        for variable, value in zip(self.network.variables, values, strict=True):
            variable.assign(value)
        self.adopt()

    def set_state(self, values: Sequence[npt.NDArray[Any]]) -> None:
        """Puts back what `state` gave.

        Raises:
          UsageError: The values are those of another model or optimizer.
        """
        variables = self._variables()
        shapes = [tuple(v.shape) for v in variables]
        if [value.shape for value in values] != shapes:
            raise UsageError(
                f"the checkpoint holds {len(values)} arrays that do not fit this model and "
                f"optimizer, which have {len(shapes)}; pass --overwrite to start anew"
            )
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        self.adopt()
