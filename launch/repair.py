"""`recordmill repair`: rebuilds what is damaged of a dataset from its source."""

from __future__ import annotations

import argparse
import time

from pipeline.errors import DatasetError

from . import verify
from .progress import progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags."""
    add = parser.add_argument
    add("path", help="a dataset's folder")
    add("--source", required=True, metavar="DIR", help="the folder that was converted")
    add("--rule", metavar="FILE.py:FUNCTION", help="that the records were chosen by")
    add("--quiet", action="store_true", help="no progress; print only what is still wrong")


def run(args: argparse.Namespace, beam_args: list[str]) -> int:
    """Repairs and prints what was done; 1 when something is still wrong."""
    from pipeline import repair
    from pipeline.verify import all_shards, find_manifest

    folder = verify.dataset_folder(args.path)
    if folder is None:
        raise DatasetError(
            f"{args.path}: no dataset of recordmill, and only those can be rebuilt; give the "
            "folder with the manifest.json"
        )
    started = time.monotonic()
    total = sum(entry.num_bytes for _, entry in all_shards(find_manifest(folder)[0]))
    with progress(total, "verifying", "B", quiet=args.quiet) as bar:
        done = repair.repair_dataset(
            folder, args.source, rule=args.rule, beam_args=beam_args, seen=bar.update
        )
    if not args.quiet:
        for name in done.rebuilt:
            print(f"{name}: rebuilt")
        for name in done.removed:
            print(f"{name}: removed; it was no shard of this dataset")
        if not done.rebuilt and not done.removed:
            print(f"{folder}: nothing to repair")
    verify.show(done.report, time.monotonic() - started, quiet=args.quiet)
    return 1 if done.report.findings else 0
