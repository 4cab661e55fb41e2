"""What the records of a dataset look like: `stats.json`, and the same for TFDV as `stats.pb`.

The figures are taken from the source's values while a shard is written, so that there is no
second pass, and are told in the terms of each feature: scaled as the feature is, and as numbers
of classes where it is one-hot. They are exact until they are divided and rounded here, so
neither the sharding nor the runner shows in them.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt

from . import files
from .accumulate import (
    FLOAT_BIN_SHIFT,
    HISTOGRAM_RECORDS,
    ColumnStatistics,
    merge,
    observe,
    total,
)
from .features import Feature
from .ragged import Ragged

STATS_JSON, STATS_PB = "stats.json", "stats.pb"
STATS_FORMAT = 1
# By split, by feature.
Statistics = dict[str, dict[str, ColumnStatistics]]


def histogram_step(records: int) -> int:
    """Which records take part in the histogram of values: those whose number is a multiple.

    >>> histogram_step(60_000), histogram_step(1_200_000)
    (1, 19)
    """
    return -(-records // HISTOGRAM_RECORDS) or 1


def observe_block(
    features: Iterable[Feature],
    columns: Mapping[str, Any],
    numbers: npt.NDArray[np.int64],
    step: int,
) -> dict[str, ColumnStatistics]:
    """The statistics of a block, by feature.

    Args:
      features: Of the dataset.
      columns: By column `[n, *record_shape]`, or a `Ragged`.
      numbers: int64[n], of the records in their source split.
      step: See `histogram_step`.
    """
    result = {}
    for feature in features:
        if feature.column is not None:
            values, lengths = columns[feature.column], None
            if feature.sequence:
                lists = values if isinstance(values, Ragged) else Ragged.of_dense(values)
                values, lengths = lists.values, lists.lengths
            stored = np.dtype(feature.dtype)
            if stored.kind in "ui" and feature.encoding == "bytes" and stored != values.dtype:
                # Such a cast may change a value; what is stored counts.
                values = values.astype(stored)
            result[feature.name] = observe(values, numbers, step, lengths)
    return result


def merge_features(
    one: dict[str, ColumnStatistics], other: dict[str, ColumnStatistics]
) -> dict[str, ColumnStatistics]:
    """Merges feature by feature."""
    empty = ColumnStatistics()
    return {
        name: merge(one.get(name, empty), other.get(name, empty))
        for name in sorted(one.keys() | other.keys())
    }


class MergeStatistics(beam.CombineFn):  # type: ignore[misc]  # Beam has no types
    """`(split, statistics by feature)` of each shard to those of each split."""

    def create_accumulator(self) -> Statistics:
        """Nothing seen yet."""
        return {}

    def add_input(
        self, accumulator: Statistics, element: tuple[str, dict[str, ColumnStatistics]]
    ) -> Statistics:
        """Adds a shard's."""
        split, found = element
        return {**accumulator, split: merge_features(accumulator.get(split, {}), found)}

    def merge_accumulators(self, accumulators: Iterable[Statistics]) -> Statistics:
        """In any order the same."""
        merged: Statistics = {}
        for accumulator in accumulators:
            for split, found in accumulator.items():
                merged = self.add_input(merged, (split, found))
        return merged

    def extract_output(self, accumulator: Statistics) -> Statistics:
        """As it is."""
        return accumulator


def _bins(found: ColumnStatistics, kind: str, scale: float) -> list[list[float]]:
    """The histogram as `[from, to, count]`, ascending, empty bins left out; `to` is inclusive."""
    counts = found.histogram
    if counts is None:
        return []
    every = np.flatnonzero(counts)
    if len(counts) == 256:
        lows = every.astype(np.uint8).view(kind).astype(np.float64)
        highs = lows
    else:
        bits = every.astype(np.uint32) << np.uint32(FLOAT_BIN_SHIFT)
        near = bits.view(np.float32).astype(np.float64)
        far_bits = bits | np.uint32((1 << FLOAT_BIN_SHIFT) - 1)
        far = far_bits.view(np.float32).astype(np.float64)
        lows, highs = np.minimum(near, far), np.maximum(near, far)
    bins = [
        sorted((float(low * scale), float(high * scale))) + [int(counts[i])]
        for low, high, i in zip(lows, highs, every, strict=True)
    ]
    return sorted(bins)


def summarize_feature(feature: Feature, found: ColumnStatistics) -> dict[str, Any]:
    """What a person, or `check`, wants to know of a feature, as JSON values."""
    scale = feature.scale
    values = found.records * math.prod(() if feature.one_hot else feature.shape)
    counted = values - found.nans - found.infinities
    places = _places(found)
    sums = sum(places, Fraction(0))
    low, high = found.low, found.high
    if low is not None and high is not None and scale != 1:
        low, high = sorted((low * scale, high * scale))
    result: dict[str, Any] = {
        "count": found.records,
        "values": values,
        "min": low,
        "max": high,
        "mean": None,
        "std": None,
        "zeros": found.zeros,
    }
    if found.nans or found.infinities:
        result.update(nans=found.nans, infinities=found.infinities)
    if counted:
        mean = sums / counted
        variance = total(found.squares) / counted - mean * mean
        result["mean"] = float(mean) * scale
        result["std"] = math.sqrt(variance) * abs(scale)
    if found.distinct is not None:
        names = feature.names
        result["labels"] = {
            str(k): {**({"name": names[k]} if 0 <= k < len(names) else {}), "count": count}
            for k, count in sorted(found.distinct.items())
        }
    if feature.shape and not feature.one_hot:
        result["constant_records"] = found.constant
        result["blank_records"] = found.blank
        result["first_constant_records"] = found.constant_records
        kind = feature.dtype if feature.dtype in ("uint8", "int8") else "uint8"
        result["histogram"] = _bins(found, kind, scale)
        if found.records and places:
            flat = np.array([float(place / found.records) * scale for place in places])
            result["mean_record"] = flat.reshape(feature.shape).tolist()
    return result


def _places(found: ColumnStatistics) -> list[Fraction]:
    """The exact sum at each place of a record."""
    if not found.sums:
        return []
    size = len(next(iter(found.sums.values())))
    parts = {Fraction(2) ** e: sums.tolist() for e, sums in found.sums.items()}
    return [sum((unit * sums[i] for unit, sums in parts.items()), Fraction(0)) for i in range(size)]


def summarize(
    features: Iterable[Feature], counts: Mapping[str, int], statistics: Statistics
) -> dict[str, Any]:
    """The content of `stats.json`.

    Args:
      features: Of the dataset.
      counts: Records by split.
      statistics: By split and feature.
    """
    features = tuple(features)
    return {
        "format": STATS_FORMAT,
        "splits": {
            split: {
                "records": records,
                "histogram_records": f"1 in {histogram_step(records)}",
                "features": {
                    feature.name: {
                        "encoding": feature.encoding,
                        "dtype": feature.dtype,
                        "shape": list(feature.shape),
                        **summarize_feature(
                            feature, statistics.get(split, {}).get(feature.name, ColumnStatistics())
                        ),
                    }
                    for feature in features
                    if feature.column is not None
                },
            }
            for split, records in counts.items()
        },
    }


def statistics_proto(features: Iterable[Feature], summary: Mapping[str, Any]) -> bytes:
    """The same as a serialized `DatasetFeatureStatisticsList`, which TFDV reads.

    What is stored as bytes is one string to TFDV; the figures of the values in it stand in
    `custom_stats`.
    """
    from tensorflow_metadata.proto.v0 import statistics_pb2

    result = statistics_pb2.DatasetFeatureStatisticsList()
    features = [feature for feature in features if feature.column is not None]
    for split, told in summary["splits"].items():
        dataset = result.datasets.add(name=split, num_examples=told["records"])
        for feature in features:
            found = told["features"][feature.name]
            entry = dataset.features.add()
            entry.path.step.append(feature.name)
            if feature.encoding == "bytes":
                entry.type = statistics_pb2.FeatureNameStatistics.BYTES
                common = entry.bytes_stats.common_stats
                entry.bytes_stats.avg_num_bytes = feature.value_bytes
                entry.bytes_stats.min_num_bytes = feature.value_bytes
                entry.bytes_stats.max_num_bytes = feature.value_bytes
                length = 1
            else:
                kind = "INT" if feature.encoding == "int64_list" else "FLOAT"
                entry.type = statistics_pb2.FeatureNameStatistics.Type.Value(kind)
                common = entry.num_stats.common_stats
                if not feature.one_hot:
                    _fill_numbers(entry.num_stats, found)
                length = feature.size
            common.num_non_missing = told["records"]
            common.min_num_values = common.max_num_values = length
            common.avg_num_values = length
            common.tot_num_values = told["records"] * length
            _fill_custom(entry.custom_stats, found)
    data: bytes = result.SerializeToString(deterministic=True)
    return data


def write_statistics(
    folder: str, features: Iterable[Feature], counts: Mapping[str, int], statistics: Statistics
) -> dict[str, str]:
    """Writes both files into a dataset's folder; their SHA-256 by name."""
    features = tuple(features)
    summary = summarize(features, counts, statistics)
    contents = {
        STATS_JSON: (json.dumps(summary, indent=1, ensure_ascii=False) + "\n").encode(),
        STATS_PB: statistics_proto(features, summary),
    }
    for name, content in contents.items():
        files.write_bytes(files.join(folder, name), content)
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def _fill_numbers(numbers: Any, found: Mapping[str, Any]) -> None:
    for key, name in (("mean", "mean"), ("std", "std_dev"), ("min", "min"), ("max", "max")):
        if found[key] is not None:
            setattr(numbers, name, found[key])
    numbers.num_zeros = found["zeros"]
    buckets = [[int(k), int(k), one["count"]] for k, one in found.get("labels", {}).items()]
    _fill_histogram(numbers.histograms.add(), buckets or found.get("histogram", []))


def _fill_histogram(histogram: Any, bins: list[Any]) -> None:
    for low, high, count in bins:
        histogram.buckets.add(low_value=low, high_value=high, sample_count=count)


def _fill_custom(custom: Any, found: Mapping[str, Any]) -> None:
    for key in ("mean", "std", "min", "max", "zeros", "constant_records", "blank_records"):
        if found.get(key) is not None:
            custom.add(name=key, num=found[key])
    if found.get("histogram"):
        entry = custom.add(name="values")
        _fill_histogram(entry.histogram, found["histogram"])
