"""`recordmill run`: converts, verifies, then trains on what was written."""

from __future__ import annotations

import argparse

from . import train, verify
from .convert import add_conversion_arguments, convert_plan
from .plan import add_plan_arguments, plan_from_args


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of both commands; `--seed` serves both."""
    add_plan_arguments(parser)
    add_conversion_arguments(parser)
    train.add_training_arguments(parser, seed=False)


def run(args: argparse.Namespace, beam_args: list[str]) -> int:
    """A conversion that fails, or that left anything damaged, never starts a training."""
    converted = convert_plan(args, plan_from_args(args), beam_args)
    if verify.check_and_show(converted.folder, quiet=args.quiet):
        return 1
    args.data = converted.folder
    return train.run(args, [])
