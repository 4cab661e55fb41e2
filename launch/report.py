"""`recordmill report`: one page about a dataset, and about a model that was trained on it.

It computes nothing: what stands in it was written by `convert` (manifest.json, stats.json) and by
`train` (metrics.json and pictures); only the grid of images is drawn from the shards.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
from collections.abc import Iterator
from typing import Any

from pipeline import files
from pipeline.dataset import Dataset, open_dataset
from pipeline.errors import DatasetError
from pipeline.statistics import STATS_JSON

from .grid import draw_grid
from .page import bars, escape, page, pairs, picture, table
from .sizes import format_size

METRICS = "metrics.json"
PICTURES = {
    "learning_curves.png": "Learning curves",
    "confusion_matrix.png": "Confusion matrix",
    "worst_mistakes.png": "Worst mistakes",
}
STATISTICS = ("min", "max", "mean", "std", "zeros", "nans", "constant_records", "blank_records")
# More bars than this nobody reads.
MOST_CLASSES = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags."""
    add = parser.add_argument
    add("dataset", metavar="DATASET", help="folder of the dataset")
    add("--model_dir", metavar="DIR", help="folder of a model that `train` wrote")
    add("--to", default="report.html", metavar="FILE", help="default: report.html")


def run(args: argparse.Namespace, beam_args: list[str]) -> int:
    """Writes the page."""
    dataset = open_dataset(args.dataset)
    title = f"{dataset.manifest.plan.name} {dataset.manifest.plan.version}"
    sections = [f"<h1>{escape(title)}</h1>", *about_dataset(dataset)]
    if args.model_dir:
        sections += about_model(dataset, args.model_dir)
    content = page(title, sections).encode()
    files.write_bytes(args.to, content)
    print(f"{args.to}: {format_size(len(content))}")
    return 0


def about_dataset(dataset: Dataset) -> Iterator[str]:
    """Splits, features, statistics, labels, images, sources."""
    manifest, plan = dataset.manifest, dataset.manifest.plan
    yield pairs(
        {
            "folder": dataset.path,
            "records": manifest.counters["records"],
            "size": format_size(manifest.counters["num_bytes"]),
            "digest": manifest.digest,
            "content digest": manifest.content_digest,
            "shuffle": f"{plan.shuffle}, seed {plan.seed}",
            "made with": ", ".join(f"{name} {text}" for name, text in manifest.versions.items()),
        }
    )
    yield "<h2>Splits</h2>"
    yield table(
        ("split", "records", "shards", "size", "set aside"),
        (
            (
                split,
                manifest.count(split),
                len(shards),
                format_size(sum(shard.num_bytes for shard in shards)),
                sum(shard.bad_records for shard in shards),
            )
            for split, shards in manifest.splits.items()
        ),
    )
    yield "<h2>Features</h2>"
    yield table(
        ("feature", "stored as", "dtype", "shape", "classes"),
        (
            (f.name, f.encoding, f.dtype, "x".join(map(str, f.shape)) or "scalar", f.num_classes)
            for f in dataset.features
        ),
    )
    yield from _statistics(dataset)
    yield from _images(dataset)
    yield "<h2>Sources</h2>"
    yield table(
        ("file", "bytes", "SHA-256"),
        ((s["name"], s["num_bytes"], s["sha256"]) for s in manifest.sources),
    )


def _statistics(dataset: Dataset) -> Iterator[str]:
    path = files.join(dataset.path, STATS_JSON)
    if STATS_JSON not in dataset.manifest.files:
        yield "<p>Converted with <code>--statistics off</code>: there are no statistics.</p>"
        return
    splits: dict[str, Any] = json.loads(files.read_bytes(path))["splits"]
    rows = [
        (split, name, *(found.get(key) for key in STATISTICS))
        for split, told in splits.items()
        for name, found in told["features"].items()
    ]
    yield "<h2>Statistics</h2>"
    yield table(
        ("split", "feature", *(name.replace("_", " ") for name in STATISTICS)),
        rows,
    )
    for split, told in splits.items():
        for name, found in told["features"].items():
            labels = list(found.get("labels", {}).items())
            if labels:
                some = f", the first {MOST_CLASSES}" if len(labels) > MOST_CLASSES else ""
                yield bars(
                    f"{split}: {name}{some}",
                    {
                        f"{number} {entry.get('name', '')}".strip(): entry["count"]
                        for number, entry in labels[:MOST_CLASSES]
                    },
                )


def _images(dataset: Dataset) -> Iterator[str]:
    if importlib.util.find_spec("matplotlib") is None:
        yield "<p>No images: matplotlib is not installed.</p>"
        return
    split = next(iter(dataset.splits))
    drawn = io.BytesIO()
    count = draw_grid(dataset, split, drawn)
    if count:
        yield f"<h2>The first {count} images of {escape(split)}</h2>"
        yield picture(drawn.getvalue(), f"images of {split}")


def about_model(dataset: Dataset, model_dir: str) -> Iterator[str]:
    """Results, classes, pictures, options.

    Raises:
      DatasetError: The folder holds no finished training.
    """
    path = files.join(model_dir, METRICS)
    if not files.exists(path):
        raise DatasetError(
            f"--model_dir {model_dir}: has no {METRICS}; wanted a folder that a finished "
            "`recordmill train` wrote"
        )
    metrics: dict[str, Any] = json.loads(files.read_bytes(path))
    options, choices = metrics["options"], metrics["choices"]
    yield f"<h2>Model: {escape(options['model'])}</h2>"
    trained_on = metrics["dataset"]["digest"]
    if trained_on != dataset.manifest.digest:
        yield (
            f'<p class="wrong">Trained on another dataset: {escape(metrics["dataset"]["name"])} '
            f"{escape(metrics['dataset']['version'])}, digest <code>{escape(trained_on)}</code></p>"
        )
    validation = metrics["validation"] or {}
    yield pairs(
        {
            "accuracy on test": metrics["accuracy"],
            "loss on test": metrics["loss"],
            "accuracy on validation": validation.get("accuracy"),
            "steps": metrics["steps"],
            "epochs": metrics["epochs"],
            "seconds": metrics["seconds"],
            "examples a second": metrics["examples_per_second"],
            "waiting for input": f"{metrics['input_wait_share']:.2%}",
            "parameters": metrics["parameters"],
            "device": metrics["device"],
            "chosen": ", ".join(f"{name} {value}" for name, value in choices.items()),
            "versions": ", ".join(f"{name} {text}" for name, text in metrics["versions"].items()),
        }
    )
    yield table(
        ("class", "precision", "recall", "records"),
        (
            (name, entry["precision"], entry["recall"], entry["records"])
            for name, entry in metrics["classes"].items()
        ),
    )
    for name, caption in PICTURES.items():
        png = files.join(model_dir, name)
        if files.exists(png):
            yield f"<h2>{caption}</h2>"
            yield picture(files.read_bytes(png), caption)
    yield "<h2>Options of the training</h2>"
    yield pairs({name: value for name, value in options.items() if value not in (None, "")})
