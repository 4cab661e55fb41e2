"""`recordmill train`: trains a classifier on a dataset."""

from __future__ import annotations

import argparse
import os

from train.options import DEFAULT_EPOCHS, PRESETS, TrainOptions, from_preset

DEFAULTS = TrainOptions(data="-", model_dir="-")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags; what is not given is decided by the preset."""
    parser.add_argument("--data", required=True, metavar="DIR", help="folder of the dataset")
    add_training_arguments(parser)


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that `recordmill run` shares."""
    add = parser.add_argument
    add(
        "--model_dir",
        required=True,
        metavar="DIR",
        help="folder for model.keras, metrics.json and the pictures",
    )
    add(
        "--preset",
        default="standard",
        choices=sorted(PRESETS),
        help=f"standard: {DEFAULT_EPOCHS} epochs; article: 3,000 steps of 16 with a line each 100; "
        "quick: one epoch. Flags given beside it win",
    )
    add("--epochs", type=int, metavar="N", help="passes over the train split")
    add("--steps", type=int, metavar="N", help="batches to train on, in place of --epochs")
    add("--batch_size", type=int, metavar="N", help=f"default {DEFAULTS.batch_size}")
    add("--learning_rate", type=float, metavar="X", help=f"default {DEFAULTS.learning_rate}")
    add("--seed", type=int, metavar="N", help=f"of weights and order; default {DEFAULTS.seed}")
    add(
        "--shuffle_buffer",
        type=int,
        metavar="N",
        help="records among which the order is drawn, 0 for the shards' order; "
        f"default {DEFAULTS.shuffle_buffer}",
    )
    add("--log_every", type=int, metavar="N", help="a line each N steps, in place of the bar")
    add("--image_feature", metavar="NAME", help="default: the one feature of rank 2 or 3")
    add("--label_feature", metavar="NAME", help="default: the one feature of classes")


def run(args: argparse.Namespace, beam_args: list[str]) -> int:
    """Trains; TensorFlow is imported here and not before."""
    options = from_preset(args.preset, vars(args))
    # Its start-up notices would stand between the user and the first line of ours.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from train.trainer import train

    from .progress import progress

    train(options, progress=progress)
    return 0
