"""`recordmill doctor`: whether a runner has what it needs; submits nothing."""

from __future__ import annotations

import argparse

from .settings import RUNNERS, add_runner_arguments, settings_from


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags; without --runner, all runners are looked at."""
    add_runner_arguments(parser)
    parser.set_defaults(runner="all")


def run(args: argparse.Namespace, beam_args: list[str]) -> int:
    """Prints a line for each thing that is needed; 1 where one is missing."""
    from . import runners

    wrong = 0
    for runner in RUNNERS if args.runner == "all" else (args.runner,):
        args.runner = runner
        settings = settings_from(args)
        print(settings.runner)
        for check in runners.checks(settings, runners.beam_args(settings, beam_args)):
            print(f"  {'ok     ' if check.ok else 'MISSING'} {check.what}: {check.found}")
            if not check.ok:
                wrong += 1
                print(f"          {check.remedy}")
    return 1 if wrong else 0
