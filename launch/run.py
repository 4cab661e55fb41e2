"""`recordmill run`: converts, verifies, then trains on what was written."""

from __future__ import annotations

import argparse

from . import train, trainers, verify
from .convert import add_conversion_arguments, convert_plan
from .follow import LetGo
from .plan import add_plan_arguments, plan_from_args


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of both commands; `--seed` serves both."""
    add_plan_arguments(parser)
    add_conversion_arguments(parser)
    train.add_training_arguments(parser, seed=False)
    trainers.add_trainer_arguments(parser)


def run(args: argparse.Namespace, beam_args: list[str]) -> int:
    """A conversion that fails, or that left anything damaged, never starts a training."""
    trainers.check(args)
    try:
        converted = convert_plan(args, plan_from_args(args), beam_args)
    except LetGo as told:
        print(f"{told}; nothing is trained before it has ended")
        return 0
    if verify.check_and_show(converted.folder, quiet=args.quiet):
        return 1
    return trainers.start(args, converted.folder, converted.manifest.digest, beam_args)
