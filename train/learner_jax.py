"""Steps on JAX: a pure function of weights, moments and a batch; k of them in one `scan`."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from .learner import Learner, Objective


class JaxLearner(Learner):
    """Steps as a jitted function that gives up its old state for the new one."""

    def __init__(
        self, network: Any, model: Any, optimizer: Any, objective: Objective, *, jit: bool
    ) -> None:
        """Takes built parts."""
        super().__init__(network, model, optimizer, objective)
        self.adopt()

        def predict(trainable: Any, other: Any, images: Any) -> Any:
            return model.stateless_call(trainable, other, images, training=False)[0]

        self._steps = jax.jit(self._run, donate_argnums=0) if jit else self._run
        self._predict = jax.jit(predict) if jit else predict

    def adopt(self) -> None:
        """See `Learner`."""
        # Copies: a step gives its arguments' memory away, and Keras keeps its own.
        self._state: Any = tuple(
            [jnp.array(v.value) for v in variables]
            for variables in (
                self.model.trainable_variables,
                self.model.non_trainable_variables,
                self.optimizer.variables,
            )
        )

    def publish(self) -> None:
        """See `Learner`."""
        trainable, other, moments = self._state
        for variables, values in (
            (self.model.trainable_variables, trainable),
            (self.model.non_trainable_variables, other),
            (self.optimizer.variables, moments),
        ):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(jnp.array(value))

    def _train(self, images: Any, labels: Any, weights: Any) -> Any:
        self._state, sums = self._steps(self._state, (images, labels, weights))
        return sums

    def _run(self, state: Any, batches: Any) -> tuple[Any, Any]:
        if batches[1].shape[0] == 1:
            # XLA's convolutions on a CPU use one thread alone inside of a loop.
            return self._step(state, tuple(part[0] for part in batches))
        state, sums = jax.lax.scan(self._step, state, batches)
        return state, sums.sum(0)

    def _step(self, state: Any, batch: Any) -> tuple[Any, Any]:
        trainable, other, moments = state
        images, labels, weights = batch

        def loss_of(trainable: Any) -> tuple[Any, Any]:
            logits, others, penalties = self.model.stateless_call(
                trainable, other, images, training=True, return_losses=True
            )
            loss, sums = self.objective(logits, labels, weights)
            return loss / weights.sum() + sum(penalties), (others, sums)

        gradients, (other, sums) = jax.grad(loss_of, has_aux=True)(trainable)
        trainable, moments = self.optimizer.stateless_apply(moments, gradients, trainable)
        return (trainable, other, moments), sums

    def predict(self, images: Any) -> npt.NDArray[np.float32]:
        """See `Learner`."""
        trainable, other, _ = self._state
        result: npt.NDArray[np.float32] = np.asarray(self._predict(trainable, other, images))
        return result
