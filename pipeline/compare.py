"""Whether a dataset is what is expected: anomalies against a schema, drift against statistics.

Drift of labels is the L-infinity distance of their shares (the largest change of one share), that
of other values the Jensen-Shannon divergence of their histograms in bits, from 0 (the same) to 1
(no value in common): the measures, and the kinds of anomalies, that TFDV has.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import files
from .dataset import Dataset
from .errors import DatasetError, InputError
from .schema import schema_pbtxt
from .statistics import STATS_JSON

LABEL_DRIFT, VALUE_DRIFT = 0.01, 0.1


@dataclass(frozen=True)
class Anomaly:
    """Something that is not as expected.

    Attributes:
      kind: Such as "missing feature" or "drift".
      where: The split and feature, or the feature alone.
      text: What was found and what was wanted.
    """

    kind: str
    where: str
    text: str


def load_statistics(dataset: Dataset) -> dict[str, Any]:
    """The content of a dataset's `stats.json`.

    Raises:
      DatasetError: It was converted without statistics.
    """
    path = files.join(dataset.path, STATS_JSON)
    if not files.exists(path):
        raise DatasetError(
            f"{dataset.path}: has no {STATS_JSON}, for it was converted with --statistics off; "
            "convert it again with statistics"
        )
    try:
        value: dict[str, Any] = json.loads(files.read_bytes(path))
        value["splits"].items()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{path}: is damaged ({error}); repair the dataset") from error
    return value


def read_schema(path: str) -> Any:
    """A `schema.pbtxt`.

    Raises:
      InputError: It cannot be read as one.
    """
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    if not files.exists(path):
        raise InputError(f"{path}: no such file; wanted a schema.pbtxt")
    try:
        return text_format.Parse(files.read_bytes(path).decode(), schema_pb2.Schema())
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: no schema in protobuf's text form: {error}") from error


def schema_of(dataset: Dataset) -> Any:
    """The schema of a dataset, from its features."""
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    return text_format.Parse(schema_pbtxt(dataset.features), schema_pb2.Schema())


def compare_schemas(found: Any, wanted: Any) -> list[Anomaly]:
    """Missing and new features; types and shapes that differ."""
    own = {feature.name: feature for feature in found.feature}
    other = {feature.name: feature for feature in wanted.feature}
    anomalies = [
        Anomaly("missing feature", name, "is in the schema and not in the dataset")
        for name in other.keys() - own.keys()
    ]
    anomalies += [
        Anomaly("new feature", name, "is in the dataset and not in the schema")
        for name in own.keys() - other.keys()
    ]
    for name in own.keys() & other.keys():
        one, two = own[name], other[name]
        if one.type != two.type:
            kinds = type(one).DESCRIPTOR.fields_by_name["type"].enum_type.values_by_number
            told = f"is {kinds[one.type].name}, wanted {kinds[two.type].name}"
            anomalies.append(Anomaly("type", name, told))
        shapes = [[dim.size for dim in feature.shape.dim] for feature in (one, two)]
        if two.HasField("shape") and shapes[0] != shapes[1]:
            text = f"has shape {shapes[0]}, wanted {shapes[1]}"
            anomalies.append(Anomaly("shape", name, text))
    return sorted(anomalies, key=lambda anomaly: anomaly.where)


def compare_features(found: Dataset, wanted: Dataset) -> list[Anomaly]:
    """Decoded dtypes and shapes, of which the schema knows nothing where values are bytes."""
    own = {feature.name: feature for feature in found.features}
    anomalies = []
    for feature in wanted.features:
        one = own.get(feature.name)
        if one is None:
            continue
        if one.dtype != feature.dtype:
            text = f"holds {one.dtype}, wanted {feature.dtype}"
            anomalies.append(Anomaly("dtype", feature.name, text))
        if one.shape != feature.shape:
            text = f"has shape {list(one.shape)}, wanted {list(feature.shape)}"
            anomalies.append(Anomaly("shape", feature.name, text))
        if one.names != feature.names:
            anomalies.append(Anomaly("class names", feature.name, "are named otherwise"))
    return anomalies


def check_domains(statistics: Mapping[str, Any], schema: Any) -> list[Anomaly]:
    """Integers outside of the schema's domain, and values that are no numbers."""
    domains = {f.name: f.int_domain for f in schema.feature if f.HasField("int_domain")}
    anomalies = []
    for split, told in statistics["splits"].items():
        for name, found in told["features"].items():
            where = f"{split}: {name}"
            domain = domains.get(name)
            if domain is not None and found["min"] is not None:
                low, high = found["min"], found["max"]
                if low < domain.min or high > domain.max:
                    text = f"holds {low} to {high}, wanted {domain.min} to {domain.max}"
                    anomalies.append(Anomaly("domain", where, text))
            wrong = found.get("nans", 0) + found.get("infinities", 0)
            if wrong:
                text = f"{wrong} values are NaN or infinite, wanted numbers"
                anomalies.append(Anomaly("not numbers", where, text))
    return anomalies


def l_infinity(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """The largest difference of a share.

    >>> l_infinity({"0": 30, "1": 10}, {"0": 1, "1": 1})
    0.25
    """
    sums = sum(one.values()) or 1, sum(other.values()) or 1
    keys = one.keys() | other.keys()
    return max((abs(one.get(k, 0) / sums[0] - other.get(k, 0) / sums[1]) for k in keys), default=0)


def jensen_shannon(one: Mapping[Any, float], other: Mapping[Any, float]) -> float:
    """The Jensen-Shannon divergence of two histograms, in bits.

    >>> jensen_shannon({0: 5}, {0: 1}), jensen_shannon({0: 5}, {1: 1})
    (0.0, 1.0)
    """
    keys = sorted(one.keys() | other.keys())
    shares = np.array([[side.get(key, 0) for key in keys] for side in (one, other)], float)
    shares /= np.maximum(shares.sum(1, keepdims=True), 1)
    middle = shares.mean(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(shares > 0, shares * np.log2(shares / middle), 0.0)
    return float(terms.sum() / 2)


def drift(
    found: Mapping[str, Any],
    wanted: Mapping[str, Any],
    pairs: Iterable[tuple[str, str]],
    *,
    label_drift: float = LABEL_DRIFT,
    value_drift: float = VALUE_DRIFT,
    against: str = "",
) -> tuple[list[Anomaly], list[str]]:
    """Drift of each feature between pairs of splits.

    Args:
      found: A `stats.json`.
      wanted: Another, or the same.
      pairs: A split of the first, and one of the second.
      label_drift: Most that may lie between the shares of a label.
      value_drift: Most that may lie between the histograms of other values.
      against: What to call the second.

    Returns:
      What lies over a threshold, and a line for each distance.
    """
    anomalies, lines = [], []
    for split, other in pairs:
        theirs = wanted["splits"][other]["features"]
        for name, one in found["splits"][split]["features"].items():
            two = theirs.get(name)
            if two is None or not one["count"] or not two["count"]:
                continue
            if "labels" in one and "labels" in two:
                shares = [{k: v["count"] for k, v in s["labels"].items()} for s in (one, two)]
                measure, distance, limit = "L-infinity", l_infinity(*shares), label_drift
            elif one.get("histogram") and two.get("histogram"):
                bins = [{(low, high): n for low, high, n in s["histogram"]} for s in (one, two)]
                measure, distance, limit = "Jensen-Shannon", jensen_shannon(*bins), value_drift
            else:
                continue
            text = f"{measure} {distance:.4f} from {against}{other}, {limit:g} allowed"
            lines.append(f"{split}: {name}: {text}")
            if distance > limit:
                anomalies.append(Anomaly("drift", f"{split}: {name}", text))
    return anomalies, lines


def own_pairs(splits: Sequence[str]) -> list[tuple[str, str]]:
    """Each other split with train; none where there is no train."""
    return [(split, "train") for split in splits if split != "train" and "train" in splits]
