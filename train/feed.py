"""Batches for the trainer: the one place where it meets `train.data` and the dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import DatasetError

from .data import load
from .task import Task, find_task, make_task

# Records a batch when a split is only looked at, once, in order.
EVALUATION_BATCH = 500
Batch = tuple[Any, Any]
Epoch = Callable[[int], Iterator[Batch]]


def describe(dataset: Any, image_feature: str | None, label_feature: str | None) -> Task:
    """The task that a dataset poses, with the classes counted where no feature tells their number.

    Args:
      dataset: As `pipeline.open_dataset` gives it.
      image_feature: See `TrainOptions`.
      label_feature: See `TrainOptions`.
    """
    image, label = find_task(dataset.features, image_feature, label_feature)
    found = None
    if label.num_classes is None:
        found = 1 + max(
            int(np.max(dataset[split][:][label.name])) for split in dataset.splits if dataset[split]
        )
    return make_task(image, label, found)


def require_split(dataset: Any, split: str) -> None:
    """Checks that a dataset has records in a split.

    Raises:
      DatasetError: It has no such split, or an empty one.
    """
    if split not in dataset.splits:
        raise DatasetError(
            f"{dataset.path}: has no split {split!r}; there is {', '.join(dataset.splits)}"
        )
    if not len(dataset[split]):
        raise DatasetError(f"{dataset.path}: split {split!r} has no records; training needs some")


def digest(dataset: Any) -> str:
    """SHA-256 of the manifest, which holds the digests of all else."""
    return hashlib.sha256((Path(dataset.path) / "manifest.json").read_bytes()).hexdigest()


def batches(
    path: str,
    split: str,
    task: Task,
    batch_size: int,
    *,
    shuffle_buffer: int = 0,
    seed: int | None = None,
) -> Iterator[Batch]:
    """One pass over a split.

    Args:
      path: The dataset's folder.
      split: A split, or an expression such as `train[:80%]`.
      task: Which features to take.
      batch_size: Records a batch; the last one has the rest.
      shuffle_buffer: Records among which the order is drawn; 0 keeps the shards' order.
      seed: Of the order.

    Yields:
      Images `[n, *image_shape]` and labels int64[n], as tensors.
    """
    import tensorflow as tf

    def select(batch: dict[str, Any]) -> Batch:
        labels = batch[task.label]
        return batch[task.image], tf.argmax(labels, -1) if task.one_hot else labels

    data = load(path, split, batch_size, shuffle_buffer=shuffle_buffer, seed=seed)
    yield from data.map(select).prefetch(tf.data.AUTOTUNE)
