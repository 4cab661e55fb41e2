"""Shards to batches: `load` gives a `tf.data.Dataset` of decoded features.

A shard of fixed stride is an array of rows: some thousand records at a time are copied out of a
memory map and cut into features by numpy, so that a record costs a share of a few operations
where `parse_single_example` pays several for each. A shuffled epoch's order is computed, not
buffered. A shard is compared with the manifest's checksum as a whole, before the first of its
records is handed out: one pass at the speed of memory.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from pipeline.dataset import Dataset, open_dataset
from pipeline.errors import UsageError
from pipeline.features import Feature
from pipeline.order import WindowOrder, even_ranges
from pipeline.records import Arrays, Check, Records
from pipeline.varying import concatenate

from .lists import Lists, check_options, list_batches
from .transform import transformed as apply_transform

# What one call from the graph into Python fetches. Of 1, 2, 4 and 8 MiB, 4 was the fastest: less
# pays for the call, more falls out of the processor's cache.
FETCH_BYTES = 4 << 20
# Up to this size a split's shards are compared as a whole before a shuffled epoch: a second or
# two. Above, each record is compared by itself when it is read.
WHOLE_CHECK_BYTES = 4 << 30


def load(
    dataset: str,
    split: str = "train",
    batch_size: int = 256,
    *,
    shuffle_buffer: int = 0,
    seed: int | None = None,
    repeat: bool = False,
    cache: bool = False,
    check: bool = True,
    drop_remainder: bool = False,
    input_context: tf.distribute.InputContext | None = None,
    lists: Lists = "padded",
    bucket_by_length: bool | Sequence[int] = False,
    transformed: bool = False,
) -> tf.data.Dataset:
    """Loads a split as batches.

    Args:
      dataset: The dataset's folder, or one above that holds no other.
      split: As in TFDS: `train`, `train[:80%]`, `train[5000:]+validation`.
      batch_size: Records a batch; with an input context, of each input pipeline.
      shuffle_buffer: Records that are mixed at a time; 0 keeps the order of the shards, which
        `convert` has shuffled already; as many as there are, or more, is a uniform shuffle. No
        record is buffered. Each iteration over the dataset has another order.
      seed: Makes the orders repeatable.
      repeat: Goes on for ever.
      cache: Keeps the decoded records in memory from the first epoch on.
      check: Compares each shard (or, shuffled and large, each record) with its checksum before
        it is handed out; off only where bytes are known to be good.
      drop_remainder: Leaves out a last batch that is not full.
      input_context: Of a distributed trainer; each input pipeline gets its own part of the records.
      lists: What lists of varying length become: "padded" with zeros to the longest of the batch,
        `[batch, steps, *shape]`, or "ragged", a RaggedTensor.
      bucket_by_length: Puts records of about one length together, so that less is padded; the
        greatest lengths of all buckets but the last, or True for eight of about equal counts.
      transformed: Applies the transform that `convert --preprocess` left beside the shards; what
        comes out are its outputs.

    Returns:
      A dataset of known cardinality of dicts, by feature `[batch, *shape]`: bytes as their stored
      dtype, int64_list as int64, float_list as float32.

    Raises:
      DatasetError: No finished dataset is there, or a shard is missing. A record that is damaged
        is an error of tf.data when it is reached; its message names shard and record.
      UsageError: A split that is not there, or an option out of range.
    """
    if batch_size < 1 or shuffle_buffer < 0:
        raise UsageError(
            f"batch_size {batch_size}, shuffle_buffer {shuffle_buffer}: wanted 1 or more, and 0 or "
            "more"
        )
    opened = open_dataset(dataset, check="record" if check else "none")
    buckets = check_options(opened, lists, bucket_by_length)
    if transformed:
        opened = apply_transform(opened)
    count = sum(segment.count for segment in opened.segments(split))
    start, stop = 0, count
    if input_context is not None:
        parts = even_ranges(0, count, input_context.num_input_pipelines)
        start, stop = parts[input_context.input_pipeline_id]
    compare: Check = "none"
    if check:
        plan = opened.manifest.plan
        # A shuffled order touches all shards at once, and they are compared before it begins.
        size_bytes = count * plan.num_bytes // max(1, plan.num_records)
        compare = "record" if shuffle_buffer and size_bytes > WHOLE_CHECK_BYTES else "shard"
    if not opened.manifest.plan.fixed:
        by_number = InMemory(opened, split) if cache else opened.records(split, check=compare)
        batches, length = list_batches(
            opened,
            split,
            by_number,
            (start, stop),
            batch_size,
            shuffle_buffer=shuffle_buffer,
            seed=seed,
            lists=lists,
            buckets=buckets,
            drop_remainder=drop_remainder,
        )
        if repeat:
            batches, length = batches.repeat(), tf.data.INFINITE_CARDINALITY
        known_length = tf.data.experimental.assert_cardinality(length)
        return batches.apply(known_length).prefetch(tf.data.AUTOTUNE)
    if cache or opened.random_access:
        records = InMemory(opened, split) if cache else opened.records(split, check=compare)
        blocks = _by_number(opened, records, start, stop, batch_size, shuffle_buffer, seed)
    else:
        blocks = _in_sequence(opened, split, start, stop)
        if shuffle_buffer:
            blocks = blocks.unbatch().shuffle(shuffle_buffer, seed).batch(batch_size)
    if repeat:
        blocks = blocks.repeat()
    batches = blocks.rebatch(batch_size, drop_remainder=drop_remainder)
    length = (stop - start) // batch_size if drop_remainder else -(-(stop - start) // batch_size)
    known = tf.data.INFINITE_CARDINALITY if repeat else length
    return batches.apply(tf.data.experimental.assert_cardinality(known)).prefetch(tf.data.AUTOTUNE)


class InMemory:
    """The decoded records of a split, read whole when the first of them is asked for."""

    def __init__(self, opened: Dataset, split: str) -> None:
        """Reads nothing yet."""
        self._opened, self._split = opened, split

    @functools.cached_property
    def _arrays(self) -> Arrays:
        blocks = list(self._opened.blocks(self._split))
        return {f.name: concatenate([b[f.name] for b in blocks]) for f in self._opened.features}

    def __getitem__(self, key: slice | npt.NDArray[np.int64]) -> Arrays:
        """The records of a slice, or of these numbers, `[n, *shape]` by feature."""
        return {name: values[key] for name, values in self._arrays.items()}


def _spec(feature: Feature) -> tf.TensorSpec:
    return tf.TensorSpec((None, *feature.shape), tf.as_dtype(feature.dtype))


def _by_number(
    opened: Dataset,
    records: Records | InMemory,
    start: int,
    stop: int,
    batch_size: int,
    shuffle_buffer: int,
    seed: int | None,
) -> tf.data.Dataset:
    """Blocks of whole batches, fetched by record number from anywhere."""
    stride = opened.manifest.plan.stride
    fetch = batch_size * max(1, FETCH_BYTES // (stride * batch_size))
    specs = [_spec(feature) for feature in opened.features]

    def read(first: Any, epoch: Any) -> list[npt.NDArray[Any]]:
        last = min(int(first) + fetch, stop)
        if not shuffle_buffer:
            return list(records[int(first) : last].values())
        order = WindowOrder(stop - start, shuffle_buffer, int(epoch))
        return list(records[order(np.arange(first - start, last - start)) + start].values())

    def block(first: tf.Tensor, epoch: tf.Tensor) -> dict[str, tf.Tensor]:
        values = tf.numpy_function(read, (first, epoch), [spec.dtype for spec in specs])
        for value, spec in zip(values, specs, strict=True):
            value.set_shape(spec.shape)
        return {f.name: value for f, value in zip(opened.features, values, strict=True)}

    def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        firsts = tf.data.Dataset.range(start, stop, fetch)
        return firsts.map(lambda first: block(first, epoch), num_parallel_calls=tf.data.AUTOTUNE)

    # Each iteration draws another number from here, and with it another order.
    draws = tf.data.Dataset.random(seed, rerandomize_each_iteration=True)
    return draws.take(1).flat_map(one_epoch)


def _in_sequence(opened: Dataset, split: str, start: int, stop: int) -> tf.data.Dataset:
    """Blocks in the order of the shards, for what cannot be read by number."""
    signature = {feature.name: _spec(feature) for feature in opened.features}
    return tf.data.Dataset.from_generator(
        lambda: opened.blocks(split, start, stop), output_signature=signature
    )
