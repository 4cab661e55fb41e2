"""`recordmill convert`: writes a dataset on Apache Beam."""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .estimate import describe_estimate
from .follow import LetGo
from .plan import add_plan_arguments, describe, plan_from_args
from .progress import progress
from .settings import add_runner_arguments
from .sizes import format_size

if TYPE_CHECKING:
    from pipeline.conversion import Conversion
    from pipeline.plan import Plan

POLL_SECONDS = 0.2
# Each look into a bucket is a request that costs time and money.
REMOTE_POLL_SECONDS = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags."""
    add_plan_arguments(parser)
    add_conversion_arguments(parser)
    parser.add_argument("--dry_run", action="store_true", help="print the plan and stop")
    parser.add_argument(
        "--estimate", action="store_true", help="print workers, time and bytes, and stop"
    )


def add_conversion_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say where to and how; `run` shares them."""
    parser.add_argument(
        "--output", required=True, help="folder; the dataset goes to <output>/<name>/<version>"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a dataset of another plan"
    )
    parser.add_argument(
        "--statistics",
        default="on",
        choices=("on", "off"),
        help="take statistics on the way, for stats.json and stats.pb (default: on)",
    )
    parser.add_argument(
        "--check_duplicates",
        action="store_true",
        help="list equal records, inside of splits and between them, in duplicates.json",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress, no summary")
    parser.add_argument(
        "--log_format",
        default="text",
        choices=("text", "json"),
        help="json: one object a line on stderr, in place of the progress bar (default: text)",
    )
    add_runner_arguments(parser)


@contextmanager
def _shards_shown(plan: Plan, folder: str, quiet: bool) -> Iterator[None]:
    """A bar over the shards, counted where they are written: it works on any runner."""
    from pipeline import files
    from pipeline.output import count_receipts

    from .logs import tell

    poll_seconds = POLL_SECONDS if files.is_local(folder) else REMOTE_POLL_SECONDS
    total = sum(split.num_shards for split in plan.splits)
    done = threading.Event()
    reached = 0

    def watch() -> None:
        with progress(total, "converting", "shards", quiet=quiet) as bar:
            while not done.wait(poll_seconds):
                written = count_receipts(folder)
                if written != bar.n:
                    tell("progress", shards=written, of=total)
                bar.update(written - bar.n)
            bar.update(max(0, reached - bar.n))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
        reached = total
    finally:
        done.set()
        watcher.join()


def convert_plan(args: argparse.Namespace, plan: Plan, beam_args: list[str]) -> Conversion:
    """Converts with a progress bar and prints what came of it."""
    from pipeline.conversion import run_plan

    from . import logs, runners

    if args.log_format == "json":
        logs.use_json()
    submission = runners.prepare(args, beam_args, input=args.input, output=args.output)
    logs.tell("planned", plan=plan.digest(), records=plan.num_records, splits=len(plan.splits))
    started = time.monotonic()
    with runners.explained(args):
        converted = run_plan(
            plan,
            args.output,
            beam_args=submission.beam_args,
            overwrite=args.overwrite,
            with_statistics=args.statistics == "on",
            check_duplicates=args.check_duplicates,
            watch=lambda plan, folder: _shards_shown(
                plan, folder, args.quiet or args.log_format == "json"
            ),
            wait=submission.wait,
        )
    logs.tell(
        "finished",
        folder=converted.folder,
        seconds=round(time.monotonic() - started, 3),
        shards_kept=converted.kept,
        counters=converted.manifest.counters,
        run_counters=converted.counters,
        digest=converted.manifest.digest,
        content_digest=converted.manifest.content_digest,
    )
    if not args.quiet:
        _print_summary(converted, time.monotonic() - started)
    return converted


def describe_duplicates(counters: Mapping[str, int]) -> Iterator[str]:
    """What a look for duplicates counted, a line each; none where nobody looked."""
    for name, count in counters.items():
        if name.startswith("duplicate"):
            yield f"{name.replace('_', ' ')}: {count:,}"


def _print_summary(converted: Conversion, seconds: float) -> None:
    counters = converted.manifest.counters
    if converted.kept:
        print(f"{converted.kept} of {counters['shards']} shards kept")
    for split, shards in converted.manifest.splits.items():
        print(f"{split}: {converted.manifest.count(split):,} records in {len(shards)} shards")
    if counters["bad_records"]:
        print(f"{counters['bad_records']:,} bad records set aside, listed in dead_letters/")
    for line in describe_duplicates(counters):
        print(line)
    written = counters["records"]
    rate = f", {written / seconds:,.0f} records/s" if not converted.kept else ""
    print(
        f"{converted.folder}: {written:,} records, {format_size(counters['num_bytes'])} in "
        f"{seconds:.1f} s{rate}"
    )
    if converted.counters:
        told = (f"{name} {count:,}" for name, count in sorted(converted.counters.items()))
        print(f"this run: {', '.join(told)}")
    print(f"digest {converted.manifest.digest}")


def run(args: argparse.Namespace, beam_args: list[str]) -> int:
    """Plans and converts."""
    plan = plan_from_args(args)
    if args.dry_run:
        print(describe(plan))
        return 0
    if args.estimate:
        print(describe_estimate(plan, beam_args))
        return 0
    try:
        convert_plan(args, plan, beam_args)
    except LetGo as told:
        print(told)
    return 0
