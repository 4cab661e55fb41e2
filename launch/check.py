"""`recordmill check`: is a dataset as expected, and have its values drifted?"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict

from pipeline.errors import UsageError

# As in pipeline.compare, which is imported when it is needed.
LABEL_DRIFT, VALUE_DRIFT = 0.01, 0.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags."""
    add = parser.add_argument
    add("dataset", metavar="DATASET", help="folder of the dataset")
    add("--against", metavar="OTHER", help="a dataset with the features and values that are wanted")
    add("--schema", metavar="FILE", help="a schema.pbtxt with the features that are wanted")
    add(
        "--label_drift",
        type=float,
        default=LABEL_DRIFT,
        metavar="X",
        help=f"most that a label's share may differ (default: {LABEL_DRIFT})",
    )
    add(
        "--value_drift",
        type=float,
        default=VALUE_DRIFT,
        metavar="X",
        help="most that histograms of other values may differ, Jensen-Shannon in bits "
        f"(default: {VALUE_DRIFT})",
    )
    add("--json", action="store_true", help="print what was found as JSON")


def run(args: argparse.Namespace, beam_args: list[str]) -> int:
    """Compares and prints; 1 where there are anomalies."""
    for name in ("label_drift", "value_drift"):
        value = getattr(args, name)
        if not 0 <= value <= 1 or math.isnan(value):
            raise UsageError(f"--{name} {value}: wanted a number from 0 to 1")
    from pipeline import compare
    from pipeline.dataset import open_dataset

    dataset = open_dataset(args.dataset)
    found = compare.load_statistics(dataset)
    limits = {"label_drift": args.label_drift, "value_drift": args.value_drift}
    own = compare.schema_of(dataset)
    anomalies, lines = compare.drift(
        found, found, compare.own_pairs(list(found["splits"])), **limits
    )
    wanted = own
    if args.against:
        other = open_dataset(args.against)
        wanted = compare.schema_of(other)
        anomalies += compare.compare_schemas(own, wanted) + compare.compare_features(dataset, other)
        theirs = compare.load_statistics(other)
        both = [(split, split) for split in found["splits"] if split in theirs["splits"]]
        more, told = compare.drift(found, theirs, both, against=f"{other.path} ", **limits)
        anomalies, lines = anomalies + more, lines + told
    if args.schema:
        wanted = compare.read_schema(args.schema)
        anomalies += compare.compare_schemas(own, wanted)
    anomalies += compare.check_domains(found, wanted)
    if args.json:
        told_all = {"anomalies": [asdict(anomaly) for anomaly in anomalies], "distances": lines}
        print(json.dumps(told_all, indent=1))
    else:
        for line in lines:
            print(f"  {line}")
        for anomaly in anomalies:
            print(f"{anomaly.kind}: {anomaly.where}: {anomaly.text}")
        print(f"{dataset.path}: {len(anomalies)} anomalies")
    return 1 if anomalies else 0
