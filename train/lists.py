"""Batches of records that differ in length: padded, ragged, and bucketed by length.

As in `data.py`, a batch is fetched by the numbers of its records and decoded at once. Which records
are of about one length is known before any is read: their sizes stand in the shards' indexes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from pipeline.dataset import Dataset
from pipeline.errors import UsageError
from pipeline.features import Feature
from pipeline.order import WindowOrder
from pipeline.ragged import spread
from pipeline.sequence import record_sizes

Lists = Literal["padded", "ragged"]
# Buckets where the user names no lengths; each gets about as many records.
DEFAULT_BUCKETS = 8
Ints = npt.NDArray[np.int64]


def check_options(
    opened: Dataset, lists: str, bucket_by_length: bool | Sequence[int]
) -> bool | tuple[int, ...]:
    """Checks the options of lists against a dataset.

    Returns:
      Whether to bucket, or the greatest length of each bucket but the last.

    Raises:
      UsageError: Unknown, without effect on this dataset, or out of order.
    """
    if lists not in get_args(Lists):
        raise UsageError(f"lists {lists!r}: wanted {' or '.join(get_args(Lists))}")
    if opened.manifest.plan.fixed:
        if lists != "padded" or bucket_by_length:
            raise UsageError(
                f"{opened.path}: has no lists of varying length; leave out lists and "
                "bucket_by_length"
            )
        return False
    if isinstance(bucket_by_length, bool):
        return bucket_by_length
    bounds = tuple(bucket_by_length)
    if not bounds or bounds[0] < 0 or any(np.diff(bounds) <= 0):
        raise UsageError(f"bucket_by_length {bounds}: wanted lengths of 0 or more, ascending")
    lengths = [f.name for f in opened.features if f.length_of is not None]
    if len(lengths) > 1:
        raise UsageError(
            f"bucket_by_length {bounds}: the records have {len(lengths)} lengths "
            f"({', '.join(lengths)}); give True, and their sizes in bytes decide"
        )
    return bounds


def bucket_bounds(
    features: tuple[Feature, ...], sizes: Ints, wanted: bool | tuple[int, ...]
) -> Ints:
    """The greatest size in bytes of each bucket but the last, int64[buckets - 1]."""
    if isinstance(wanted, bool):
        shares = np.arange(1, DEFAULT_BUCKETS) / DEFAULT_BUCKETS
        return np.unique(np.quantile(sizes, shares, method="lower")) if len(sizes) else sizes
    lengths = np.array(wanted, np.int64)
    columns = {feature.column or "": lengths for feature in features if feature.sequence}
    return record_sizes(features, columns, len(lengths))


def bucket_batches(buckets: Ints, batch_size: int) -> tuple[Ints, Ints]:
    """Groups records into batches of one bucket each.

    A batch comes when its last record does; batches that are not full come at the end.

    Args:
      buckets: int64[n], of each record in order.
      batch_size: Records of a full batch.

    Returns:
      The places of all records, batch by batch, int64[n]; records of each batch.

    >>> places, counts = bucket_batches(np.array([0, 1, 0, 1, 1]), 2)
    >>> places.tolist(), counts.tolist()
    ([0, 2, 1, 3, 4], [2, 2, 1])
    """
    sorted_places = np.argsort(buckets, kind="stable")
    ordered = buckets[sorted_places]
    ranks = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
    starts = np.flatnonzero(ranks % batch_size == 0)
    counts = np.diff(np.append(starts, len(ordered)))
    last = sorted_places[starts + counts - 1]
    order = np.argsort(np.where(counts == batch_size, last, len(ordered) + last), kind="stable")
    return sorted_places[spread(starts[order], counts[order])], counts[order]


def list_batches(
    opened: Dataset,
    split: str,
    records: Any,
    bounds: tuple[int, int],
    batch_size: int,
    *,
    shuffle_buffer: int,
    seed: int | None,
    lists: str,
    buckets: bool | tuple[int, ...],
    drop_remainder: bool,
) -> tuple[tf.data.Dataset, int]:
    """Batches of a dataset with lists, and how many there are.

    Args:
      opened: The dataset.
      split: The split expression.
      records: Gives decoded records by number.
      bounds: Which of the split's records to take.
      batch_size: See `load`.
      shuffle_buffer: See `load`.
      seed: See `load`.
      lists: See `load`.
      buckets: As `check_options` gives it.
      drop_remainder: See `load`.
    """
    start, stop = bounds
    count = stop - start
    fetch = _fetcher(opened.features, records, lists)

    def ordered(positions: Ints, epoch: int) -> Ints:
        if not shuffle_buffer:
            return positions + start
        return WindowOrder(count, shuffle_buffer, epoch)(positions) + start

    if buckets is False:
        length = count // batch_size if drop_remainder else -(-count // batch_size)

        def numbers_of(first: Any, epoch: Any) -> Ints:
            last = min(int(first) + batch_size, count)
            return ordered(np.arange(int(first), last, dtype=np.int64), int(epoch))

        def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
            firsts = tf.data.Dataset.range(0, length * batch_size, batch_size)
            return firsts.map(
                lambda first: fetch(tf.numpy_function(numbers_of, (first, epoch), tf.int64)),
                num_parallel_calls=tf.data.AUTOTUNE,
            )
    else:
        sizes = opened.record_sizes(split)[start:stop]
        owners = np.searchsorted(bucket_bounds(opened.features, sizes, buckets), sizes)
        per_bucket = np.bincount(owners)
        fill = per_bucket // batch_size if drop_remainder else -(-per_bucket // batch_size)
        length = int(fill.sum())

        def grouped(epoch: Any) -> tuple[Ints, Ints]:
            numbers = ordered(np.arange(count, dtype=np.int64), int(epoch))
            places, counts = bucket_batches(owners[numbers - start], batch_size)
            return numbers[places], counts

        def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
            numbers, counts = tf.numpy_function(grouped, (epoch,), (tf.int64, tf.int64))
            numbers.set_shape([None])
            counts.set_shape([None])
            batches = tf.data.Dataset.from_tensor_slices(
                tf.RaggedTensor.from_row_lengths(numbers, counts, validate=False)
            )
            # Batches that are not full come last.
            return batches.take(length).map(fetch, num_parallel_calls=tf.data.AUTOTUNE)

    draws = tf.data.Dataset.random(seed, rerandomize_each_iteration=True)
    return draws.take(1).flat_map(one_epoch), length


def _fetcher(
    features: tuple[Feature, ...], records: Any, lists: str
) -> Callable[[tf.Tensor], dict[str, Any]]:
    """From the numbers of a batch's records to the batch."""
    dtypes: list[tf.DType] = []
    for feature in features:
        dtypes.append(tf.as_dtype(feature.dtype))
        if feature.sequence and lists == "ragged":
            dtypes.append(tf.int64)

    def read(numbers: Ints) -> list[npt.NDArray[Any]]:
        found: list[npt.NDArray[Any]] = []
        decoded = records[numbers]
        for feature in features:
            values = decoded[feature.name]
            if not feature.sequence:
                found.append(values)
            elif lists == "padded":
                found.append(values.padded())
            else:
                found += [values.values, values.lengths]
        return found

    def batch(numbers: tf.Tensor) -> dict[str, Any]:
        values = iter(tf.numpy_function(read, (numbers,), dtypes))
        result: dict[str, Any] = {}
        for feature in features:
            value = next(values)
            if feature.sequence and lists == "ragged":
                value.set_shape((None, *feature.shape))
                lengths = next(values)
                lengths.set_shape([None])
                value = tf.RaggedTensor.from_row_lengths(value, lengths, validate=False)
            else:
                steps = (None,) if feature.sequence else ()
                value.set_shape((None, *steps, *feature.shape))
            result[feature.name] = value
        return result

    return batch
