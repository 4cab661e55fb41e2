"""From options and a dataset to a learner and its feed: every choice made, every variable built."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from pipeline.dataset import Dataset
from pipeline.errors import UsageError

from . import hardware, model
from .augment import augmented
from .feed import Feed
from .hardware import Device
from .learner import Learner, Objective, make_optimizer
from .options import TrainOptions, parse_augment, parse_profile
from .task import Task

TRAIN = "train"


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a run works with.

    Attributes:
      learner: Takes the steps.
      feed: Gives their batches.
      total_steps: How many to take.
      device: What they run on.
      choices: What was chosen where the options said auto.
    """

    learner: Learner
    feed: Feed
    total_steps: int
    device: Device
    choices: dict[str, Any]


def set_up(options: TrainOptions, dataset: Dataset, task: Task) -> Setup:
    """Makes a learner and its feed.

    Raises:
      UsageError: Options that do not fit the device, the backend or each other.
    """
    backend = keras.backend.backend()
    strategy, worker, workers, replicas = None, 0, 1, 1
    if backend == "tensorflow":
        from .learner_tensorflow import make_strategy, place

        # Before anything else of TensorFlow, which then could no longer be told of other workers.
        strategy = make_strategy()
        worker, workers, replicas = place(strategy)
    if options.batch_size % (workers * replicas):
        raise UsageError(
            f"--batch_size {options.batch_size}: cannot be spread evenly over {workers} workers "
            f"with {replicas} devices each; wanted a multiple of {workers * replicas}"
        )
    if options.deterministic:
        _make_deterministic(backend)
    keras.utils.set_random_seed(options.seed)

    device = hardware.find_device()
    precision = hardware.choose_precision(options.precision, device)
    jit = hardware.choose_jit(options.jit, device)
    spans = (options.log_every, options.checkpoint_every, *(parse_profile(options.profile) or ()))
    group = hardware.choose_group(options.steps_per_execution, device, *spans)
    image_bytes = int(np.prod(task.image_shape)) * np.dtype(task.image_dtype).itemsize
    cache = hardware.choose_cache(
        options.cache,
        device,
        dataset.splits[TRAIN] * (image_bytes + 8),
        by_number=dataset.random_access,
    )
    feed = Feed(
        dataset,
        TRAIN,
        task,
        batch_size=options.batch_size,
        group=group,
        shuffle_buffer=options.shuffle_buffer,
        seed=options.seed,
        cache=cache,
        use_tf_data=backend == "tensorflow",
        worker=worker,
        workers=workers,
    )
    total_steps = options.steps or feed.steps_per_epoch * (options.all_epochs or 1)
    with _policy(precision), strategy.scope() if strategy else contextlib.nullcontext():
        network = model.build(options.model, task.image_shape, task.image_dtype, task.num_classes)
        wrapped = augmented(network, parse_augment(options.augment), options.seed)
        optimizer = make_optimizer(options, total_steps, loss_scaling=precision == "float16")
    objective = Objective(task.num_classes, options.label_smoothing)
    return Setup(
        learner=_learner(backend, (network, wrapped, optimizer, objective), jit, strategy),
        feed=feed,
        total_steps=total_steps,
        device=device,
        choices={
            "backend": backend,
            "precision": precision,
            "jit": jit,
            "steps_per_execution": group,
            "cache": cache,
            "workers": workers,
            "devices": workers * replicas,
        },
    )


def _learner(backend: str, parts: tuple[Any, Any, Any, Objective], jit: bool, strategy: Any) -> Any:
    if backend == "tensorflow":
        from .learner_tensorflow import TensorFlowLearner

        return TensorFlowLearner(*parts, jit=jit, strategy=strategy)
    if backend == "jax":
        from .learner_jax import JaxLearner

        return JaxLearner(*parts, jit=jit)
    from .learner_torch import TorchLearner

    return TorchLearner(*parts)


@contextlib.contextmanager
def _policy(precision: str) -> Iterator[None]:
    """The dtype of the layers that are built inside; the process's own afterwards."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32" if precision == "float32" else f"mixed_{precision}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _make_deterministic(backend: str) -> None:
    """For the whole process; what the backend's operations alone can't promise."""
    if backend == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    elif backend == "jax":
        # Read when the device is first used.
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    else:
        import torch

        torch.use_deterministic_algorithms(True)


def versions() -> dict[str, str]:
    """Versions of what a result may depend on."""
    backend = keras.backend.backend()
    names = ("recordmill", "keras", backend, "numpy")
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in names
    }
