"""The preprocessing that `--preprocess default` stands for.

Of bytes and 16-bit integers its results are the same on every run and runner, for what is summed
over train are integers. Of floats the last digits may depend on the order in which a runner adds.
"""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from .features import Feature

# Bytes whose squares, 255**2 at most, add up to an int32. It takes half the time of an int64.
INT32_VALUES = (2**31 - 1) // 255**2


def default_preprocessing_fn(
    features: tuple[Feature, ...], inputs: dict[str, Any]
) -> dict[str, Any]:
    """Images standardised over all their values; labels as they are, or numbered 0..K-1.

    Args:
      features: Of the raw Examples.
      inputs: A batch of them.

    Returns:
      float32 for every feature that is stored as bytes; the others unchanged, but for a `label`
      whose classes nobody named: it becomes its rank among the labels that occur in train, or -1.
    """
    outputs = {}
    for feature in features:
        value = inputs[feature.name]
        if feature.encoding == "bytes":
            decoded = tf.io.decode_raw(value, tf.as_dtype(feature.dtype))
            decoded = tf.reshape(decoded, (-1, *feature.shape))
            is_image = feature.shape and not feature.one_hot
            value = _standardised(decoded) if is_image else tf.cast(decoded, tf.float32)
        elif feature.name == "label" and not feature.shape and feature.num_classes is None:
            value = _numbered(value, feature)
        # What comes out of an analyser has no shape while the graph is traced.
        outputs[feature.name] = tf.ensure_shape(value, (None, *feature.shape))
    return outputs


def _standardised(values: Any) -> Any:
    """`(values - mean) / deviation` as float32; both are of the whole train split."""
    if values.dtype.is_integer and values.dtype.size <= 2:
        # Sums of integers are the same in any order, and so then are mean and deviation.
        size = math.prod(values.shape[1:])
        narrow = values.dtype.size == 1 and size <= INT32_VALUES
        flat = tf.cast(tf.reshape(values, (-1, size)), tf.int32 if narrow else tf.int64)
        sums, squares = (
            tf.cast(tft.sum(tf.cast(tf.reduce_sum(amount, 1), tf.int64)), tf.float64)
            for amount in (flat, flat * flat)
        )
        sizes = tf.fill(tf.shape(flat)[:1], tf.constant(size, tf.int64))
        count = tf.cast(tft.sum(sizes), tf.float64)
        mean = sums / count
        variance = squares / count - mean * mean
    else:
        wide = tf.cast(values, tf.float64)
        mean = tft.mean(wide, output_dtype=tf.float64)
        variance = tft.var(wide, output_dtype=tf.float64)
    deviation = tf.sqrt(tf.maximum(variance, 0.0))
    deviation = tf.where(deviation > 0, deviation, tf.ones_like(deviation))
    centred = tf.cast(values, tf.float32) - tf.cast(mean, tf.float32)
    return centred * tf.cast(1 / deviation, tf.float32)


def _numbered(labels: Any, feature: Feature) -> Any:
    """Labels as 0..K-1, int64; those that don't occur in train as -1."""
    if feature.encoding != "int64_list":
        return labels
    if feature.varint_bytes > 2:
        return tft.compute_and_apply_vocabulary(labels, vocab_filename=feature.name)
    # Bytes: their rank, so that labels that are 0..K-1 already stay what they are.
    counts = tf.math.bincount(tf.cast(labels, tf.int32), minlength=256, maxlength=256)
    occurs = tft.max(tf.cast(counts > 0, tf.int64)[tf.newaxis], reduce_instance_dims=False)
    ranks = tf.where(occurs > 0, tf.cumsum(occurs) - 1, -tf.ones_like(occurs))
    return tf.gather(ranks, labels)
