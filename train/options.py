"""What a training run is asked to do: options that check themselves, and presets of them.

No heavy import here: the command line reads the defaults at `--help` time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from pipeline.errors import UsageError

# Two epochs' worth of 0.90 test accuracy on Fashion-MNIST and one more; about 35 s each on two
# CPU cores.
DEFAULT_EPOCHS = 3

# What a preset sets; what the user gives beside it wins.
PRESETS: dict[str, dict[str, Any]] = {
    "standard": {},
    "article": {"steps": 3000, "batch_size": 16, "log_every": 100},
    "quick": {"epochs": 1},
}


def _check_range(name: str, value: float, low: float, high: float, *, wanted: str) -> None:
    if not low <= value <= high:
        raise UsageError(f"--{name} {value}: wanted {wanted}")


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Options of one run.

    Attributes:
      data: Folder of a dataset that `recordmill convert` wrote.
      model_dir: Folder for the model, its metrics and pictures; made when missing.
      model: Name of an architecture of `train.model`.
      epochs: How often all of `train` is seen; None where `steps` says how long to train.
      steps: Batches to train on, whatever part of an epoch that is.
      batch_size: Records a step.
      learning_rate: Adam's.
      seed: Of the initial weights and of the records' order.
      shuffle_buffer: Records among which the order is drawn; 0 keeps the shards' order.
      log_every: Print a line each so many steps, in place of a progress bar.
      image_feature: The input's name; None: the one feature of rank 2 or 3.
      label_feature: The label's name; None: the one feature of classes.
    """

    data: str
    model_dir: str
    model: str = "article"
    epochs: int | None = None
    steps: int | None = None
    batch_size: int = 128
    learning_rate: float = 0.001
    seed: int = 0
    shuffle_buffer: int = 16384
    log_every: int | None = None
    image_feature: str | None = None
    label_feature: str | None = None

    def __post_init__(self) -> None:
        """Checks each field, and those that exclude each other."""
        for name in ("data", "model_dir"):
            if not getattr(self, name):
                raise UsageError(f"--{name}: wanted a folder, found an empty text")
        if self.epochs is not None and self.steps is not None:
            raise UsageError(
                f"--epochs {self.epochs} and --steps {self.steps} both say how long to train; "
                "give one of them"
            )
        for name in ("epochs", "steps", "batch_size", "log_every"):
            value = getattr(self, name)
            if value is not None:
                _check_range(name, value, 1, 2**31, wanted="1 or more, below 2**31")
        for name in ("seed", "shuffle_buffer"):
            _check_range(name, getattr(self, name), 0, 2**31, wanted="0 or more, below 2**31")
        if not (math.isfinite(self.learning_rate) and 0 < self.learning_rate <= 10):
            raise UsageError(f"--learning_rate {self.learning_rate}: wanted above 0 and at most 10")

    @property
    def all_epochs(self) -> int | None:
        """Number of epochs, defaults filled in; None where `steps` counts."""
        return DEFAULT_EPOCHS if self.epochs is None and self.steps is None else self.epochs


def from_preset(preset: str, given: Mapping[str, Any]) -> TrainOptions:
    """Options of a preset, changed by what a user gave.

    Args:
      preset: A key of `PRESETS`.
      given: Values by field; a None counts as not given.

    Raises:
      UsageError: An unknown preset, or a value out of range.

    >>> from_preset("article", {"data": "d", "model_dir": "m", "steps": 10}).batch_size
    16
    """
    if preset not in PRESETS:
        raise UsageError(f"--preset {preset}: unknown; there is {', '.join(PRESETS)}")
    known = {field.name for field in fields(TrainOptions)}
    wishes = {k: v for k, v in given.items() if k in known and v is not None}
    merged = {**PRESETS[preset], **wishes}
    # A wish for epochs replaces a preset's steps, and the other way round.
    for wish, other in (("epochs", "steps"), ("steps", "epochs")):
        if wish in wishes and other not in wishes:
            merged.pop(other, None)
    return TrainOptions(**merged)
