"""Batches for the trainer: which records each step sees, and how they come to the device.

Which records a step sees is a function of the seed and the step's number alone, so a run that was
stopped finds its place again by arithmetic. All steps have full batches: the last one of an epoch
is filled up with records of weight 0, so that nothing is compiled twice, and so that all workers
take equally many steps.
"""

from __future__ import annotations

import hashlib
import queue
import re
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from keras import ops

from pipeline.dataset import Dataset
from pipeline.errors import DatasetError, UsageError
from pipeline.order import WindowOrder, even_ranges

from .task import Task, find_task, make_task

# Records a batch when a split is only looked at, once, in order.
EVALUATION_BATCH = 500
# Groups of steps that are made ready while the device is busy.
GROUPS_AHEAD = 3

# Images [k, n, *image_shape], labels int64[k, n] and weights float32[k, n] of k steps.
Group = tuple[Any, Any, Any]


def describe(dataset: Dataset, image_feature: str | None, label_feature: str | None) -> Task:
    """The task that a dataset poses, with the classes counted where no feature tells their number.

    Args:
      dataset: As `pipeline.open_dataset` gives it.
      image_feature: See `TrainOptions`.
      label_feature: See `TrainOptions`.
    """
    image, label = find_task(dataset.features, image_feature, label_feature)
    found = None
    if label.num_classes is None:
        tops = [
            int(block[label.name].max())
            for split in dataset.splits
            for block in dataset.blocks(split)
        ]
        found = 1 + max(tops, default=0)
    return make_task(image, label, found)


def require_split(dataset: Dataset, split: str, at_least: int = 1) -> None:
    """Checks that a dataset has records in a split.

    Raises:
      DatasetError: It has no such split, or fewer records.
    """
    if split not in dataset.splits:
        raise DatasetError(
            f"{dataset.path}: has no split {split!r}; there is {', '.join(dataset.splits)}"
        )
    if dataset.splits[split] < at_least:
        raise DatasetError(
            f"{dataset.path}: split {split!r} has {dataset.splits[split]} records; wanted "
            f"{at_least} or more"
        )


def select(block: dict[str, Any], task: Task) -> tuple[Any, Any]:
    """Images and labels int64[n] of a decoded block."""
    labels = block[task.label]
    return block[task.image], labels.argmax(-1) if task.one_hot else labels


def in_order(
    dataset: Dataset, split: str, task: Task, batch_size: int = EVALUATION_BATCH
) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[np.int64]]]:
    """One pass over a split, in the shards' order.

    Yields:
      Images `[n, *image_shape]` and labels int64[n]; the last batch has the rest.
    """
    images, labels = [], []
    held = 0
    for block in dataset.blocks(split):
        some, classes = select(block, task)
        images.append(some)
        labels.append(classes)
        held += len(classes)
        if held >= batch_size:
            all_images, all_labels = np.concatenate(images), np.concatenate(labels)
            full = held - held % batch_size
            for start in range(0, full, batch_size):
                part = slice(start, start + batch_size)
                yield all_images[part], all_labels[part]
            images, labels, held = [all_images[full:]], [all_labels[full:]], held - full
    if held:
        yield np.concatenate(images), np.concatenate(labels)


class Feed:
    """The steps' batches of one worker.

    Attributes:
      count: Records of the split, of all workers together.
      steps_per_epoch: Steps that see each record once.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: str,
        task: Task,
        *,
        batch_size: int,
        group: int = 1,
        shuffle_buffer: int = 0,
        seed: int = 0,
        cache: str = "none",
        use_tf_data: bool = False,
        worker: int = 0,
        workers: int = 1,
    ) -> None:
        """Reads nothing yet, but for what is cached.

        Args:
          dataset: As `pipeline.open_dataset` gives it.
          split: Whose records to take.
          task: Which features to take.
          batch_size: Records a step, of all workers together.
          group: Steps to give at once.
          shuffle_buffer: See `TrainOptions`.
          seed: Of the order.
          cache: "none", "memory" or "device".
          use_tf_data: Whether `train.load` reads what is not cached.
          worker: Number of this worker.
          workers: How many there are; each reads its own part of the records.
        """
        if batch_size % workers:
            raise UsageError(
                f"--batch_size {batch_size}: cannot be spread evenly over {workers} devices; "
                "wanted a multiple"
            )
        self._dataset, self._split, self._task = dataset, split, task
        self._group, self._seed, self._window = group, seed, shuffle_buffer
        self._worker, self._workers = worker, workers
        self.count = dataset.splits[split]
        self._parts = even_ranges(0, self.count, workers)
        self._size = batch_size // workers
        longest = max(stop - start for start, stop in self._parts)
        self.steps_per_epoch = -(-longest // self._size)
        self._use_tf_data = use_tf_data and cache == "none"
        self._fetch = None if self._use_tf_data else self._fetcher(cache)

    def records_until(self, step: int) -> int:
        """Records that all workers have seen before a step."""
        epochs, steps = divmod(step, self.steps_per_epoch)
        seen = sum(min(stop - start, steps * self._size) for start, stop in self._parts)
        return epochs * self.count + seen

    def groups(self, first: int, last: int) -> Generator[Group]:
        """The batches of steps `[first, last)`.

        Groups begin at multiples of their size and end with an epoch at the latest; what does not
        fill one comes step by step. An epoch is opened while the steps before it are taken.
        """
        return _ahead(self._epochs(first, last), GROUPS_AHEAD)

    def _epochs(self, first: int, last: int) -> Iterator[Group]:
        while first < last:
            end = min(last, first - first % self.steps_per_epoch + self.steps_per_epoch)
            yield from (self._stream if self._use_tf_data else self._by_number)(first, end)
            first = end

    def _cuts(self, first: int, last: int) -> Iterator[int]:
        step = first
        while step < last:
            size = self._group if step % self._group == 0 and step + self._group <= last else 1
            yield size
            step += size

    def _epoch_seed(self, first: int) -> int:
        text = f"{self._seed}|{first // self.steps_per_epoch}".encode()
        return int.from_bytes(hashlib.sha256(text).digest()[:4], "little") >> 1

    def _by_number(self, first: int, last: int) -> Iterator[Group]:
        assert self._fetch is not None
        start, stop = self._parts[self._worker]
        count, offset = stop - start, first % self.steps_per_epoch
        order = WindowOrder(count, self._window, self._epoch_seed(first)) if self._window else None
        for steps in self._cuts(first, last):
            positions = np.arange(offset * self._size, (offset + steps) * self._size)
            weights = (positions < count).astype(np.float32)
            # What fills up the last batch are the first records once more.
            positions %= count
            numbers = (positions if order is None else order(positions)) + start
            shape = (steps, self._size)
            images, labels = self._fetch(numbers.reshape(shape))
            yield images, labels, weights.reshape(shape)
            offset += steps

    def _fetcher(self, cache: str) -> Callable[[npt.NDArray[np.int64]], tuple[Any, Any]]:
        if cache == "none":
            if not self._dataset.random_access:
                raise DatasetError(
                    f"{self._dataset.path}: its shards are compressed and cannot be read by record "
                    "number; pass --cache memory, or convert with --compression none"
                )
            records = self._dataset[self._split]

            def read(numbers: npt.NDArray[np.int64]) -> tuple[Any, Any]:
                images, labels = select(records[numbers.ravel()], self._task)
                return images.reshape(*numbers.shape, *images.shape[1:]), labels.reshape(
                    numbers.shape
                )

            return read
        blocks = list(in_order(self._dataset, self._split, self._task, 4096))
        images, labels = (np.concatenate(part) for part in zip(*blocks, strict=True))
        if cache == "memory":
            return lambda numbers: (images[numbers], labels[numbers])
        there = ops.convert_to_tensor(images), ops.convert_to_tensor(labels)

        def gather(numbers: npt.NDArray[np.int64]) -> tuple[Any, Any]:
            places = ops.convert_to_tensor(numbers)
            return ops.take(there[0], places, axis=0), ops.take(there[1], places, axis=0)

        return gather

    def _stream(self, first: int, last: int) -> Iterator[Group]:
        batches = self._batches(first)
        for steps in self._cuts(first, last):
            parts = [next(batches) for _ in range(steps)]
            if steps == 1:
                images, labels, weights = (ops.expand_dims(part, 0) for part in parts[0])
            else:
                images, labels, weights = map(ops.stack, zip(*parts, strict=True))
            yield images, labels, weights

    def _batches(self, first: int) -> Iterator[tuple[Any, Any, Any]]:
        """Full batches from `train.load`, from a step to the end of its epoch."""
        import tensorflow as tf

        from .data import load
        from .transform import has_transform

        data = load(
            self._dataset.path,
            self._split,
            self._size,
            shuffle_buffer=self._window,
            seed=self._epoch_seed(first),
            input_context=tf.distribute.InputContext(self._workers, self._worker),
            transformed=has_transform(self._dataset),
        )
        full = np.ones(self._size, np.float32)
        images = labels = None
        for block in _translated(data.skip(first % self.steps_per_epoch)):
            images, labels = block[self._task.image], block[self._task.label]
            if self._task.one_hot:
                labels = tf.argmax(labels, -1)
            found = labels.shape[0]
            if found == self._size:
                yield images, labels, full
            else:
                places = np.arange(self._size) % found
                rest = (np.arange(self._size) < found).astype(np.float32)
                yield tf.gather(images, places), tf.gather(labels, places), rest
        # Another worker's part may be longer by one record, which costs it one step more.
        if images is None:
            block = next(iter(data))
            images, labels = block[self._task.image], block[self._task.label]
        yield images, labels, np.zeros(self._size, np.float32)


def _translated(data: Iterable[Any]) -> Iterator[Any]:
    """Gives errors of ours their name back, which tf.data wraps in a trace of its own."""
    import tensorflow as tf

    try:
        yield from data
    except tf.errors.OpError as error:
        found = re.search(rf"{DatasetError.__name__}: (.*)", str(error))
        if found is None:
            raise
        raise DatasetError(found[1]) from error


def _ahead(items: Iterable[Any], depth: int) -> Generator[Any]:
    """Makes items ready in a thread; an error comes up where the item was wanted."""
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(depth)
    stopped = threading.Event()

    def put(kind: str, value: Any) -> bool:
        while not stopped.is_set():
            try:
                ready.put((kind, value), timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not put("item", item):
                    return
            put("end", None)
        except BaseException as error:
            put("error", error)

    thread = threading.Thread(target=work, name="feed", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
    finally:
        stopped.set()
        thread.join()
