"""`recordmill inspect`: what a dataset or any TFRecord file holds."""

from __future__ import annotations

import argparse
import json
from typing import Any

from pipeline.dataset import Dataset, find_dataset, open_dataset
from pipeline.errors import DatasetError, UsageError
from pipeline.files import exists, join, match
from pipeline.inspection import FileSummary, first_records, show, summarize
from pipeline.manifest import MANIFEST

from .grid import draw_grid
from .sizes import format_size

LISTS = {"bytes": "bytes_list", "int64_list": "int64_list", "float_list": "float_list"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags."""
    add = parser.add_argument
    add("path", help="a dataset's folder, a TFRecord file, or a pattern of files; gzip or not")
    add("--records", type=int, default=0, metavar="N", help="print the first N records")
    add("--split", help="of a dataset, for --records and --image_grid (default: its first)")
    add("--json", action="store_true", help="print JSON")
    add("--image_grid", metavar="FILE.png", help="draw the first images with their labels")


def _files(path: str) -> list[str]:
    found = [name for name, _ in match(path)]
    if not found and exists(path):
        found = [name for name, _ in match(join(path, "*.tfrecord*"))]
    if not found:
        raise DatasetError(
            f"{path}: no dataset and no TFRecord file there; give a dataset's folder, a file, or a "
            "pattern in quotes"
        )
    return found


def _open(path: str) -> Dataset | None:
    """The dataset at a path; None where there are only files."""
    if not exists(join(path, MANIFEST)) and match(path):
        return None
    try:
        find_dataset(path)
    except DatasetError:
        if match(join(path, "*.tfrecord*")):
            return None
        raise
    return open_dataset(path)


def _dataset(dataset: Dataset) -> tuple[dict[str, Any], list[str]]:
    """What the manifest says, as JSON values and as lines of text."""
    plan, manifest = dataset.manifest.plan, dataset.manifest
    features = first_records(_shard_paths(dataset, None), 1)
    first = next((values for _, _, values in features), {})
    told: dict[str, Any] = {
        "path": dataset.path,
        "name": plan.name,
        "version": plan.version,
        "digest": manifest.digest,
        "num_bytes": manifest.counters["num_bytes"],
        "records": manifest.counters["records"],
        "compression": plan.compression,
        "splits": {
            split: {"records": manifest.count(split), "shards": len(shards)}
            for split, shards in manifest.splits.items()
        },
        "features": {
            feature.name: {
                "kind": [LISTS[feature.encoding]],
                "dtype": feature.dtype,
                "shape": list(feature.shape),
                "num_classes": feature.num_classes,
                "names": list(feature.names),
                "first": show(*first[feature.name]) if feature.name in first else "",
            }
            for feature in dataset.features
        },
    }
    lines = [
        f"{dataset.path}: {plan.name} {plan.version}, {format_size(told['num_bytes'])}, "
        f"compression {plan.compression}",
        f"digest {manifest.digest}",
    ]
    lines += [
        f"split {split}: {entry['records']:,} records in {entry['shards']} shards"
        for split, entry in told["splits"].items()
    ]
    for name, entry in told["features"].items():
        shape = "x".join(map(str, entry["shape"])) or "scalar"
        names = f" ({', '.join(entry['names'])})" if entry["names"] else ""
        classes = f", {entry['num_classes']} classes{names}" if entry["num_classes"] else ""
        lines.append(
            f"  {name}: {entry['kind'][0]}, {entry['dtype']} {shape}{classes}; first: "
            f"{entry['first']}"
        )
    return told, lines


def _files_summary(summary: FileSummary) -> tuple[dict[str, Any], list[str]]:
    """What the records of any files say, as JSON values and as lines of text."""
    told: dict[str, Any] = {
        "files": len(summary.paths),
        "records": summary.records,
        "message": summary.message,
        "looked_into": summary.sampled,
        "features": {
            name: {
                "kind": sorted(feature.kinds),
                "in_records": feature.records,
                "least": feature.least,
                "most": feature.most,
                "first": feature.first,
            }
            for name, feature in sorted(summary.features.items())
        },
    }
    looked = f", features of the first {summary.sampled:,}" * (summary.sampled < summary.records)
    lines = [
        f"{len(summary.paths)} files, {summary.records:,} records of "
        f"{summary.message or 'nothing'}{looked}"
    ]
    for name, entry in told["features"].items():
        unit = "bytes" if entry["kind"] == ["bytes_list"] else "values"
        length = f"{entry['least']}"
        length += f" to {entry['most']}" if entry["most"] > entry["least"] else ""
        missing = summary.sampled - entry["in_records"]
        some = f", missing in {missing}" if missing else ""
        kind = " or ".join(entry["kind"])
        lines.append(f"  {name}: {kind}, {length} {unit}{some}; first: {entry['first']}")
    return told, lines


def _shard_paths(dataset: Dataset, split: str | None) -> list[str]:
    return list(
        dict.fromkeys(s.path for s in dataset.segments(split or next(iter(dataset.splits))))
    )


def _draw(dataset: Dataset | None, split: str | None, target: str) -> None:
    """Draws the first images of a split with their labels.

    Raises:
      UsageError: There is no dataset, or no feature that is a picture.
    """
    split = split or next(iter(dataset.splits), "") if dataset else ""
    count = draw_grid(dataset, split, target) if dataset else 0
    if not count:
        raise UsageError(
            "--image_grid: needs a dataset of recordmill with a feature of rank 2, or of rank 3 "
            "with 1, 3 or 4 channels, and records in its split"
        )
    print(f"{target}: the first {count} images of {split}")


def run(args: argparse.Namespace, beam_args: list[str]) -> int:
    """Looks and prints."""
    dataset = _open(args.path)
    paths = _shard_paths(dataset, args.split) if dataset else _files(args.path)
    records: list[dict[str, Any]] = [
        {"file": path, "record": number, "features": {k: show(*v) for k, v in values.items()}}
        for path, number, values in first_records(paths, args.records)
    ]
    told, lines = _dataset(dataset) if dataset else _files_summary(summarize(paths))
    if args.json:
        print(json.dumps({**told, "first_records": records}, indent=1))
    else:
        print("\n".join(lines))
        for record in records:
            print(f"record {record['record']} of {record['file']}")
            print("\n".join(f"  {name}: {text}" for name, text in record["features"].items()))
    if args.image_grid:
        _draw(dataset, args.split, args.image_grid)
    return 0
