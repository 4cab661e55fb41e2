"""`recordmill train`: trains a classifier on a dataset."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any

from pipeline.errors import UsageError
from train import options as known
from train.options import DEFAULT_EPOCHS, PRESETS, TrainOptions, from_preset

from .progress import progress
from .quiet import quiet_stderr

DEFAULTS = TrainOptions(data="-", model_dir="-")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags; what is not given is decided by the preset."""
    add = parser.add_argument
    add("--data", required=True, metavar="DIR", help="folder of the dataset")
    add("--overwrite", action="store_true", help="start anew where a run was left unfinished")
    add("--quiet", action="store_true", help="no progress bar")
    add_training_arguments(parser)


def add_training_arguments(parser: argparse.ArgumentParser, *, seed: bool = True) -> None:
    """Adds the flags that `recordmill run` shares; it has a `--seed` already."""
    group = parser.add_argument_group("what to train, and how long")
    add = group.add_argument
    add(
        "--model_dir",
        required=True,
        metavar="DIR",
        help="folder for the model, its metrics and pictures; an unfinished run there goes on",
    )
    add(
        "--preset",
        default="standard",
        choices=sorted(PRESETS),
        help=f"standard: {DEFAULT_EPOCHS} epochs; article: 3,000 steps of 16 with a line each 100; "
        "quick: one epoch; best: a residual network, for a GPU. Flags given beside it win",
    )
    add("--model", metavar="NAME", help="article, mlp, resnet or path/to/module.py:function")
    add("--epochs", type=int, metavar="N", help="passes over the train split")
    add("--steps", type=int, metavar="N", help="batches to train on, in place of --epochs")
    add("--batch_size", type=int, metavar="N", help=f"default {DEFAULTS.batch_size}")
    if seed:
        add("--seed", type=int, metavar="N", help=f"of weights, order, changes; {DEFAULTS.seed}")
    add(
        "--require",
        metavar="BAR",
        help="such as accuracy>=0.9 on test; a model that misses it is not kept, and train exits 1",
    )
    add("--image_feature", metavar="NAME", help="default: the one feature of rank 2 or 3")
    add("--label_feature", metavar="NAME", help="default: the one feature of classes")

    group = parser.add_argument_group("how it learns")
    add = group.add_argument
    add("--optimizer", choices=known.OPTIMIZERS, help=f"default {DEFAULTS.optimizer}")
    add("--learning_rate", type=float, metavar="X", help=f"default {DEFAULTS.learning_rate}")
    add("--schedule", choices=known.SCHEDULES, help=f"default {DEFAULTS.schedule}")
    add("--warmup", type=float, metavar="SHARE", help="of the steps, with a rising rate")
    add("--weight_decay", type=float, metavar="X", help="decoupled, on kernels alone")
    add("--label_smoothing", type=float, metavar="SHARE", help="of the target, over all classes")
    add("--augment", metavar="LIST", help="such as flip,shift=2,cutout=8")
    add(
        "--patience",
        type=int,
        metavar="N",
        help="stop when validation got no better for N epochs, and keep the best weights",
    )

    group = parser.add_argument_group("how it runs")
    add = group.add_argument
    add("--stage_to", metavar="DIR", help="copy the dataset to a local disk first, each shard once")
    add("--precision", choices=known.PRECISIONS, help="auto: 16 bits where the GPU is made for it")
    add("--jit", choices=known.SWITCH, help="XLA; auto: on a GPU")
    add("--steps_per_execution", type=int, metavar="N", help="default 1 on a CPU, else up to 20")
    add("--cache", choices=known.CACHES, help="auto: on the GPU if the split fits")
    add(
        "--shuffle_buffer",
        type=int,
        metavar="N",
        help="records among which the order is drawn, 0 for the shards' order; "
        f"default {DEFAULTS.shuffle_buffer}",
    )
    add("--deterministic", action="store_true", default=None, help="same weights on every run")
    add("--checkpoint_every", type=int, metavar="N", help="steps; default: after each epoch")
    add("--log_every", type=int, metavar="N", help="a line each N steps, in place of the bar")
    add("--profile", metavar="A:B", help="profile these steps for TensorBoard")


def run(args: argparse.Namespace, beam_args: list[str]) -> int:
    """Trains; the backend of Keras is imported here and not before."""
    args.data = _local(args.data, args.stage_to)
    options = from_preset(args.preset, vars(args))
    train = _import_trainer()
    train(options, progress=None if args.quiet else progress)
    return 0


def _local(data: str, stage_to: str | None) -> str:
    """Where the dataset is on this machine, copied there first when it is to be staged.

    Raises:
      UsageError: It is in an object store, and no place to stage it is given.
    """
    if stage_to is None:
        if "://" in data:
            raise UsageError(
                f"--data {data}: give --stage_to a folder on a local disk with room for it; each "
                "shard is copied there once, and checked"
            )
        return data
    from pipeline.staging import stage

    return stage(data, stage_to)


def _import_trainer() -> Callable[..., Any]:
    """The trainer, without TensorFlow's notices unless TF_CPP_MIN_LOG_LEVEL asks for them."""
    quiet = "TF_CPP_MIN_LOG_LEVEL" not in os.environ
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with quiet_stderr(quiet=quiet):
        from train.hardware import find_device
        from train.trainer import train

        # A worker has to find the others before it may look for devices.
        if "TF_CONFIG" not in os.environ:
            find_device()
    return train
