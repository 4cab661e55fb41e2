"""`recordmill verify`: whether a dataset, or any TFRecord file, is whole."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pipeline.dataset import find_dataset, open_dataset
from pipeline.errors import DatasetError, UsageError
from pipeline.files import exists, join, match

from .convert import describe_duplicates
from .progress import progress
from .sizes import format_size

if TYPE_CHECKING:
    from pipeline.verify import Report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags."""
    add = parser.add_argument
    add("path", help="a dataset's folder, a TFRecord file, or a pattern of files; gzip or not")
    add("--source", metavar="DIR", help="compare with these source files, record by record")
    add("--rule", metavar="FILE.py:FUNCTION", help="that the records were chosen by")
    add("--deep", action="store_true", help="parse each record with protobuf, too")
    add("--duplicates", action="store_true", help="look for equal records, too, and count them")
    add("--workers", type=int, metavar="N", help="side by side (default: one a processor)")
    add("--json", action="store_true", help="print JSON")
    add("--quiet", action="store_true", help="no progress; print only what is wrong")


def dataset_folder(path: str) -> str | None:
    """The dataset at or below a path, finished or with its copy of the manifest alone; or None."""
    from pipeline.manifest import MANIFEST, MANIFEST_COPY

    for name in (MANIFEST, MANIFEST_COPY):
        if exists(join(path, name)):
            return path
    if match(path):
        return None
    try:
        return find_dataset(path)
    except DatasetError:
        if match(join(path, "*.tfrecord*")):
            return None
        raise


def check(
    path: str,
    *,
    source: str | None = None,
    rule: str | None = None,
    deep: bool = False,
    workers: int | None = None,
    quiet: bool = False,
) -> Report:
    """Checks with a progress bar."""
    from pipeline import verify

    folder = dataset_folder(path)
    if folder is None:
        if source is not None:
            raise UsageError(f"--source goes with a dataset of recordmill, and {path} is none")
        found = match(path) or match(join(path, "*.tfrecord*"))
        total = sum(size for _, size in found)
        with progress(total, "verifying", "B", quiet=quiet) as bar:
            names = [name for name, _ in found]
            return verify.verify_files(path, names, deep=deep, seen=bar.update)
    manifest, _ = verify.find_manifest(folder)
    total = sum(entry.num_bytes for _, entry in verify.all_shards(manifest))
    with progress(total, "verifying", "B", quiet=quiet) as bar:
        return verify.verify_dataset(
            folder, source=source, rule=rule, deep=deep, workers=workers, seen=bar.update
        )


def show(report: Report, seconds: float, *, quiet: bool = False) -> None:
    """Prints what was found, a line each, and the sum of it."""
    for finding in report.findings:
        print(finding)
    if report.findings:
        count = len(report.findings)
        print(f"{report.path}: {count} {'finding' if count == 1 else 'findings'}")
    elif not quiet:
        print(
            f"{report.path}: whole: {report.files} files, {report.records:,} records, "
            f"{format_size(report.num_bytes)} in {seconds:.1f} s"
        )


def check_and_show(path: str, *, quiet: bool) -> bool:
    """Checks a dataset by itself and prints; whether anything is wrong."""
    started = time.monotonic()
    report = check(path, quiet=quiet)
    show(report, time.monotonic() - started, quiet=quiet)
    return bool(report.findings)


def _duplicates(path: str) -> dict[str, Any]:
    """What `duplicates.json` would hold."""
    from pipeline.duplicates import duplicates_json, find_duplicates

    folder = dataset_folder(path)
    if folder is None:
        raise UsageError(f"--duplicates goes with a dataset of recordmill, and {path} is none")
    opened = open_dataset(folder)
    shards = [
        (split, index, join(folder, entry.file))
        for split, entries in opened.manifest.splits.items()
        for index, entry in enumerate(entries)
    ]
    with tempfile.TemporaryDirectory(prefix="recordmill-") as scratch:
        return duplicates_json(find_duplicates(scratch, opened.manifest.plan, shards, []))


def run(args: argparse.Namespace, beam_args: list[str]) -> int:
    """Checks and prints; 1 when anything is wrong."""
    if args.workers is not None and args.workers < 1:
        raise UsageError(f"--workers {args.workers}: wanted 1 or more")
    if args.rule and not args.source:
        raise UsageError("--rule goes with --source: it says which of its records were left out")
    started = time.monotonic()
    report = check(
        args.path,
        source=args.source,
        rule=args.rule,
        deep=args.deep,
        workers=args.workers,
        quiet=args.quiet or args.json,
    )
    found = _duplicates(args.path) if args.duplicates else None
    if args.json:
        listed = {} if found is None else {"duplicates": found}
        print(json.dumps({**asdict(report), **listed}, indent=1))
    else:
        for line in describe_duplicates(found or {}):
            print(line)
        show(report, time.monotonic() - started, quiet=args.quiet)
    return 1 if report.findings else 0
