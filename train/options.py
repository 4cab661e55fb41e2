"""What a training run is asked to do: options that check themselves, and presets of them.

No heavy import here: the command line reads the defaults at `--help` time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from pipeline.errors import UsageError

# 0.90 test accuracy on Fashion-MNIST after two, 0.91 after three of about 35 s on two CPU cores.
DEFAULT_EPOCHS = 3
OPTIMIZERS = ("adam", "sgd")
SCHEDULES = ("constant", "cosine")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")
CACHES = ("auto", "none", "memory", "device")
SWITCH = ("auto", "on", "off")
# Of each augmentation: what its number means, the default, and the largest.
AUGMENTATIONS = {
    "flip": ("share of images that are mirrored", 0.5, 1.0),
    "shift": ("pixels, at most, to any side", 2.0, 1024.0),
    "cutout": ("side of the blanked square in pixels", 8.0, 1024.0),
}

# What a preset sets; what the user gives beside it wins.
PRESETS: dict[str, dict[str, Any]] = {
    "standard": {},
    "article": {"steps": 3000, "batch_size": 16, "log_every": 100},
    # One epoch of 55,000 images reached 0.8985 on Fashion-MNIST's test split (batches of 128 at a
    # constant rate: 0.873).
    "quick": {
        "epochs": 1,
        "batch_size": 64,
        "learning_rate": 0.002,
        "schedule": "cosine",
        "warmup": 0.05,
    },
    "best": {
        "model": "resnet",
        "epochs": 60,
        "batch_size": 512,
        "learning_rate": 0.002,
        "schedule": "cosine",
        "warmup": 0.1,
        "weight_decay": 0.05,
        "label_smoothing": 0.1,
        "augment": "flip,shift,cutout",
    },
}


def parse_require(text: str | None) -> tuple[str, str, float] | None:
    """Reads a bar that a model has to reach.

    >>> parse_require("accuracy>=0.9")
    ('accuracy', '>=', 0.9)
    """
    if text is None:
        return None
    match = re.fullmatch(r"(accuracy|loss)(>=|<=)(\d+(?:\.\d*)?|\.\d+)", text.replace(" ", ""))
    if not match:
        raise UsageError(f"--require {text}: wanted accuracy>=X or loss<=X, such as accuracy>=0.9")
    return match[1], match[2], float(match[3])


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Options of one run.

    Attributes:
      data: Folder of a dataset that `recordmill convert` wrote.
      model_dir: Folder for the model, its metrics and pictures; made when missing.
      model: Name of an architecture of `train.model`, or `path/to/module.py:function`.
      epochs: How often all of `train` is seen; None where `steps` says how long to train.
      steps: Batches to train on, whatever part of an epoch that is.
      batch_size: Records a step, over all devices and workers.
      optimizer: One of `OPTIMIZERS`; sgd has Nesterov momentum of 0.9.
      learning_rate: Its peak, where the schedule changes it.
      schedule: One of `SCHEDULES`; cosine falls to 0 at the last step.
      warmup: Share of the steps over which the rate rises from 0.
      weight_decay: Decoupled, on kernels alone.
      label_smoothing: Share of the target that is spread over all classes.
      augment: Such as `flip,shift=2,cutout=8`; "" leaves the images as they are.
      precision: One of `PRECISIONS`; auto takes 16 bits where the device is made for them.
      jit: One of `SWITCH`; whether XLA compiles the step; auto does on a GPU.
      steps_per_execution: Steps that run between two looks of Python; None: 1 on a CPU.
      cache: One of `CACHES`: where decoded records are kept.
      seed: Of the initial weights, of the records' order and of the augmentation.
      deterministic: Same weights on every run, and after every resume, at some cost in speed.
      shuffle_buffer: Records among which the order is drawn; 0 keeps the shards' order.
      log_every: Print a line each so many steps, in place of a progress bar.
      checkpoint_every: Steps between checkpoints; None: one after each epoch.
      overwrite: Start anew where an unfinished run left a checkpoint.
      patience: Stop when `validation` has not got better for so many epochs, and keep the best.
      profile: Steps such as `100:120` that are profiled for TensorBoard.
      image_feature: The input's name; None: the one feature of rank 2 or 3.
      label_feature: The label's name; None: the one feature of classes.
      require: Such as `accuracy>=0.9`: a model that is worse on `test` is not kept.
    """

    data: str
    model_dir: str
    model: str = "article"
    epochs: int | None = None
    steps: int | None = None
    batch_size: int = 128
    optimizer: str = "adam"
    learning_rate: float = 0.001
    schedule: str = "constant"
    warmup: float = 0.0
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    augment: str = ""
    precision: str = "auto"
    jit: str = "auto"
    steps_per_execution: int | None = None
    cache: str = "auto"
    seed: int = 0
    deterministic: bool = False
    shuffle_buffer: int = 16384
    log_every: int | None = None
    checkpoint_every: int | None = None
    overwrite: bool = False
    patience: int | None = None
    profile: str | None = None
    image_feature: str | None = None
    label_feature: str | None = None
    require: str | None = None

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
        parse_require(self.require)
        for name in (
            *("epochs", "steps", "batch_size", "log_every"),
            *("steps_per_execution", "checkpoint_every", "patience"),
        ):
            self._check_number(name, 1)
        for name in ("seed", "shuffle_buffer"):
            self._check_number(name, 0)
        for name, known in (
            *(("optimizer", OPTIMIZERS), ("schedule", SCHEDULES), ("precision", PRECISIONS)),
            *(("cache", CACHES), ("jit", SWITCH)),
        ):
            if getattr(self, name) not in known:
                raise UsageError(
                    f"--{name} {getattr(self, name)}: unknown; there is {', '.join(known)}"
                )
        if not (math.isfinite(self.learning_rate) and 0 < self.learning_rate <= 10):
            raise UsageError(f"--learning_rate {self.learning_rate}: wanted above 0 and at most 10")
        for name in ("warmup", "weight_decay", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"--{name} {getattr(self, name)}: wanted 0 or more and below 1")
        for name in ("log_every", "checkpoint_every"):
            value, group = getattr(self, name), self.steps_per_execution
            if value and group and value % group:
                raise UsageError(
                    f"--{name} {value}: Python looks up each {group} steps alone; wanted a "
                    f"multiple of --steps_per_execution {group}"
                )
        # Parsed again where they are used; a wrong one is found here.
        parse_augment(self.augment)
        parse_profile(self.profile)

    def _check_number(self, name: str, low: int) -> None:
        value = getattr(self, name)
        if value is not None and not low <= value < 2**31:
            raise UsageError(f"--{name} {value}: wanted {low} or more, below 2**31")

    @property
    def all_epochs(self) -> int | None:
        """Number of epochs, defaults filled in; None where `steps` counts."""
        return DEFAULT_EPOCHS if self.epochs is None and self.steps is None else self.epochs


def parse_augment(text: str) -> dict[str, float]:
    """Reads a list of augmentations.

    >>> parse_augment("flip,shift=3")
    {'flip': 0.5, 'shift': 3.0}
    """
    wishes: dict[str, float] = {}
    for part in filter(None, text.split(",")):
        name, _, number = part.partition("=")
        if name not in AUGMENTATIONS or name in wishes:
            raise UsageError(
                f"--augment {text}: {part!r} is unknown or stands twice; there is "
                f"{', '.join(AUGMENTATIONS)}, as in flip,shift=2,cutout=8"
            )
        meaning, default, largest = AUGMENTATIONS[name]
        try:
            wishes[name] = float(number) if number else default
        except ValueError:
            wishes[name] = math.nan
        if not 0 < wishes[name] <= largest:
            raise UsageError(
                f"--augment {text}: {part!r}: wanted a number above 0 and at most {largest:g}, "
                f"the {meaning}"
            )
    return wishes


def parse_profile(text: str | None) -> tuple[int, int] | None:
    """Reads a range of steps.

    >>> parse_profile("100:120")
    (100, 120)
    """
    if text is None:
        return None
    first, _, last = text.partition(":")
    if not (first.isdecimal() and last.isdecimal() and int(first) < int(last)):
        raise UsageError(f"--profile {text}: wanted two steps, such as 100:120")
    return int(first), int(last)


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
