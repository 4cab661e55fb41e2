"""Steps on TensorFlow: one device, several GPUs of a machine, or several workers.

Each replica sums the loss over its own part of the batch and divides by the weight of the whole,
so the sum of all gradients, which Keras' optimizer takes over the replicas, is the gradient of
the batch's mean, however unevenly the records are spread.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from .learner import Learner, Objective


def make_strategy() -> Any:
    """How to spread the steps: as `TF_CONFIG` says, over all GPUs, or not at all."""
    cluster = tf.distribute.cluster_resolver.TFConfigClusterResolver().cluster_spec()
    if cluster.as_dict():
        return tf.distribute.MultiWorkerMirroredStrategy()
    if len(tf.config.list_physical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def place(strategy: Any) -> tuple[int, int, int]:
    """This worker's number, how many workers there are, and the devices of each."""
    resolver = strategy.cluster_resolver
    worker, workers = 0, 1
    if resolver is not None and resolver.task_id is not None:
        worker, workers = resolver.task_id, resolver.cluster_spec().num_tasks("worker")
    return worker, workers, strategy.num_replicas_in_sync // workers


class TensorFlowLearner(Learner):
    """Steps as a `tf.function` in every replica of a strategy."""

    def __init__(
        self,
        network: Any,
        model: Any,
        optimizer: Any,
        objective: Objective,
        *,
        jit: bool,
        strategy: Any,
    ) -> None:
        """Takes parts that were built in the strategy's scope."""
        with strategy.scope():
            super().__init__(network, model, optimizer, objective)
        self.strategy = strategy
        self.worker, self.workers, self.replicas = place(strategy)
        # Collectives between replicas have no place inside a cluster that XLA compiles.
        alone = strategy.num_replicas_in_sync == 1
        self._steps = tf.function(self._run, jit_compile=jit and alone)
        self._everywhere = None if alone else tf.function(self._run_everywhere)
        self._predict = tf.function(
            lambda images: network(images, training=False), jit_compile=jit, reduce_retracing=True
        )

    def _train(self, images: Any, labels: Any, weights: Any) -> Any:
        if self._everywhere is None:
            return self._steps(images, labels, weights)
        parts = tuple(map(self._spread, (images, labels, weights)))
        return self._everywhere(*parts)

    def _spread(self, values: Any) -> Any:
        """Cuts `[k, n, ...]` along n into one part for each replica of this process."""
        if self.replicas == 1:
            return tf.convert_to_tensor(values)
        parts = tf.split(values, self.replicas, axis=1)
        return self.strategy.experimental_distribute_values_from_function(
            lambda context: parts[context.replica_id_in_sync_group % self.replicas]
        )

    def _run_everywhere(self, images: Any, labels: Any, weights: Any) -> Any:
        sums = self.strategy.run(self._run, args=(images, labels, weights))
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None)

    def _run(self, images: Any, labels: Any, weights: Any) -> Any:
        if labels.shape[0] == 1:
            return self._step(images[0], labels[0], weights[0])
        sums = tf.zeros(3)
        for step in tf.range(labels.shape[0]):
            sums += self._step(images[step], labels[step], weights[step])
        return sums

    def _step(self, images: Any, labels: Any, weights: Any) -> Any:
        weight = tf.reduce_sum(weights)
        if self._everywhere is not None:
            replica = tf.distribute.get_replica_context()
            weight = replica.all_reduce(tf.distribute.ReduceOp.SUM, weight)
        with tf.GradientTape() as tape:
            loss, sums = self.objective(self.model(images, training=True), labels, weights)
            loss /= weight
            # A penalty on the weights counts once, not once in each replica.
            loss += sum(self.model.losses) / self.strategy.num_replicas_in_sync
            loss = self.optimizer.scale_loss(loss)
        variables = self.model.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        return sums

    def predict(self, images: Any) -> npt.NDArray[np.float32]:
        """See `Learner`."""
        result: npt.NDArray[np.float32] = np.asarray(self._predict(images))
        return result

    def total(self, value: float) -> float:
        """See `Learner`."""
        if self._everywhere is None:
            return value

        def add(value: Any) -> Any:
            replica = tf.distribute.get_replica_context()
            return replica.all_reduce(tf.distribute.ReduceOp.SUM, value)

        total = self.strategy.run(add, args=(tf.constant(value / self.replicas),))
        return float(self.strategy.experimental_local_results(total)[0])
