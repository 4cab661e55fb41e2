"""The trainer: shards in, a model with its metrics and pictures out.

Reads from top to bottom: `train` sets up, runs the steps, evaluates, and writes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import math
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

import pipeline

from . import evaluate, feed, model, output, pictures
from .learner import Learner
from .options import TrainOptions
from .task import Task

TRAIN, VALIDATION, TEST = "train", "validation", "test"
# Points that a learning curve has, about.
CURVE_POINTS = 100


class Bar(Protocol):
    """What the trainer needs of a progress bar; tqdm's has it."""

    def update(self, n: int) -> Any:
        """Counts n more."""

    def set_postfix_str(self, s: str, refresh: bool) -> None:
        """Shows a text behind the bar, at once or with the next count."""


# (total, description, unit) -> a bar that closes itself.
Progress = Callable[[int, str, str], contextlib.AbstractContextManager[Bar]]


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """What came of a run; `metrics.json` holds the same.

    Attributes:
      loss: Mean cross entropy on `test`, in nats.
      accuracy: Share of `test` that was classified rightly.
      validation: Loss and accuracy on `validation` after the last step; None without that split.
      classes: Precision, recall and number of records of each class, on `test`.
      steps: Steps that were taken.
      epochs: Passes over `train`, a part of one included.
      examples: Records that the steps saw.
      seconds: Time that the steps took, compilation included, evaluation left out.
      examples_per_second: Over those seconds.
      parameters: Number of trained numbers.
      device: What it ran on.
      dataset: Name, version, folder and SHA-256 of the manifest.
      options: The run's.
      versions: Of Python and of the libraries that matter.
    """

    loss: float
    accuracy: float
    validation: dict[str, float] | None
    classes: dict[str, dict[str, float]]
    steps: int
    epochs: float
    examples: int
    seconds: float
    examples_per_second: float
    parameters: int
    device: str
    dataset: dict[str, str]
    options: dict[str, Any]
    versions: dict[str, str]


def train(
    options: TrainOptions,
    *,
    log: Callable[[str], None] = print,
    progress: Progress | None = None,
) -> Metrics:
    """Trains a model on a dataset and writes `model.keras`, `metrics.json` and pictures.

    Args:
      options: What to do.
      log: Takes a line at a time.
      progress: Makes a progress bar; None shows none.

    Returns:
      The metrics on `test`.

    Raises:
      DatasetError: The dataset misses a split or a feature, or is damaged.
      OutputError: The folder of the model cannot be written.
      UsageError: An unknown model or feature.
    """
    folder = output.prepare(options.model_dir)
    dataset = pipeline.open_dataset(options.data)
    for split in (TRAIN, TEST):
        feed.require_split(dataset, split)
    task = feed.describe(dataset, options.image_feature, options.label_feature)

    keras.utils.set_random_seed(options.seed)
    network = model.build(options.model, task.image_shape, task.image_dtype, task.num_classes)
    learner = Learner(network, options.learning_rate)
    count = len(dataset[TRAIN])
    log(
        f"training {network.name} ({network.count_params():,} parameters) on {device()}: "
        f"{count:,} images of {'x'.join(map(str, task.image_shape))}, {task.num_classes} classes"
    )

    run = _run_steps(options, dataset, task, learner, log, progress)
    result = _evaluate(options, TEST, task, learner)
    run.record(TEST, result.loss, result.accuracy)
    log(
        f"test: loss {result.loss:.4f}, accuracy {result.accuracy:.4f} after {run.step:,} steps "
        f"in {run.seconds:.1f} s ({run.examples / run.seconds:,.0f} examples/s)"
    )

    metrics = Metrics(
        loss=result.loss,
        accuracy=result.accuracy,
        validation=run.last(VALIDATION),
        classes=dict(zip(task.class_names, result.by_class(), strict=True)),
        steps=run.step,
        epochs=run.examples / count,
        examples=run.examples,
        seconds=run.seconds,
        examples_per_second=run.examples / run.seconds,
        parameters=network.count_params(),
        device=device(),
        dataset={"path": str(dataset.path), "manifest_sha256": feed.digest(dataset)},
        options=dataclasses.asdict(options),
        versions=versions(),
    )
    _write(folder, network, task, result, run, metrics)
    log(f"wrote {folder}/: {', '.join(sorted(p.name for p in folder.iterdir() if p.is_file()))}")
    return metrics


class _Run:
    """What the steps have come to so far."""

    def __init__(self) -> None:
        self.step = self.examples = 0
        self.seconds = 0.0
        self.history: list[dict[str, Any]] = []
        self._sums: Any = 0.0

    def add(self, sums: Any, count: int) -> None:
        """Counts a step, without waiting for the device."""
        self.step += 1
        self.examples += count
        self._sums = self._sums + sums

    def point(self) -> dict[str, Any]:
        """Means since the last point; waits for the device."""
        loss, right, count = (float(value) for value in np.asarray(self._sums))
        self._sums = 0.0
        self.record(TRAIN, loss / count, right / count)
        return self.history[-1]

    def record(self, split: str, loss: float, accuracy: float) -> None:
        """Adds a point to the learning curves."""
        self.history.append({"step": self.step, "split": split, "loss": loss, "accuracy": accuracy})

    def last(self, split: str) -> dict[str, float] | None:
        """The newest loss and accuracy on a split."""
        for point in reversed(self.history):
            if point["split"] == split:
                return {"loss": point["loss"], "accuracy": point["accuracy"]}
        return None


def _run_steps(
    options: TrainOptions,
    dataset: Any,
    task: Task,
    learner: Learner,
    log: Callable[[str], None],
    progress: Progress | None,
) -> _Run:
    """All steps, with a look at `validation` after each epoch and at the end."""
    run = _Run()
    count = len(dataset[TRAIN])
    per_epoch = math.ceil(count / options.batch_size)
    total = options.steps or per_epoch * (options.all_epochs or 1)
    every = options.log_every or max(1, total // CURVE_POINTS)
    has_validation = VALIDATION in dataset.splits and len(dataset[VALIDATION]) > 0

    examples = options.batch_size * total if options.steps else count * (total // per_epoch)
    show = progress if progress and not options.log_every else _no_progress
    with show(examples, "training", "examples") as bar:
        started = lap = time.perf_counter()
        for images, labels in _stream(options, task):
            run.add(learner.train(images, labels), len(labels))
            bar.update(len(labels))
            if run.step % every == 0 or run.step == total:
                point = run.point()
                now = time.perf_counter()
                text = f"loss {point['loss']:.4f}, accuracy {point['accuracy']:.4f}"
                bar.set_postfix_str(text, refresh=False)
                if options.log_every:
                    rate = (run.step % every or every) / (now - lap)
                    log(f"step {run.step:,}/{total:,}: {text}, {rate:.1f} steps/s")
                lap = now
            if has_validation and (run.step % per_epoch == 0 or run.step == total):
                run.seconds += time.perf_counter() - started
                result = _evaluate(options, VALIDATION, task, learner)
                run.record(VALIDATION, result.loss, result.accuracy)
                log(
                    f"step {run.step:,}/{total:,}: validation loss {result.loss:.4f}, "
                    f"accuracy {result.accuracy:.4f}"
                )
                started = lap = time.perf_counter()
            if run.step == total:
                break
        run.seconds += time.perf_counter() - started
    return run


def _stream(options: TrainOptions, task: Task) -> Iterator[feed.Batch]:
    """Batches without end, each epoch in an order of its own."""
    epoch = 0
    while True:
        yield from feed.batches(
            options.data,
            TRAIN,
            task,
            options.batch_size,
            shuffle_buffer=options.shuffle_buffer,
            seed=options.seed + epoch,
        )
        epoch += 1


@contextlib.contextmanager
def _no_progress(total: int, description: str, unit: str) -> Iterator[Bar]:
    class Nothing:
        def update(self, n: int) -> None: ...
        def set_postfix_str(self, s: str, refresh: bool) -> None: ...

    yield Nothing()


def _evaluate(
    options: TrainOptions, split: str, task: Task, learner: Learner
) -> evaluate.Evaluation:
    data = feed.batches(options.data, split, task, feed.EVALUATION_BATCH)
    return evaluate.evaluate(learner.logits, data, task.num_classes)


def _write(
    folder: Path,
    network: Any,
    task: Task,
    result: evaluate.Evaluation,
    run: _Run,
    metrics: Metrics,
) -> None:
    """Writes everything; `metrics.json` last, so that it stands for a complete folder."""
    (folder / "metrics.json").unlink(missing_ok=True)
    with output.replacing(folder / "model.keras") as partial:
        # Keras chooses the format by the suffix, which the temporary name keeps.
        network.save(partial)
    with output.replacing(folder / "learning_curves.png") as partial:
        pictures.learning_curves(run.history, partial)
    with output.replacing(folder / "confusion_matrix.png") as partial:
        pictures.confusion_matrix(result.confusion, task.class_names, TEST, partial)
    output.write_json(folder / "history.json", run.history)
    output.write_json(folder / "metrics.json", dataclasses.asdict(metrics))


def device() -> str:
    """The device that steps run on, in words."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return f"CPU ({platform.machine()})"
    names = [
        tf.config.experimental.get_device_details(gpu).get("device_name", "GPU") for gpu in gpus
    ]
    return f"GPU ({', '.join(names)})"


def versions() -> dict[str, str]:
    """Versions of what a result may depend on."""
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in ("recordmill", "keras", "tensorflow")
    }
