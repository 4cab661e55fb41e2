"""What came of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Results of a run; `metrics.json` holds the same.

    Attributes:
      loss: Mean cross entropy on `test`, in nats.
      accuracy: Share of `test` that was classified rightly.
      validation: Loss and accuracy on `validation` when last looked; None without that split.
      classes: Precision, recall and number of records of each class, on `test`.
      steps: Steps that were taken.
      model_step: The step whose weights the model has; the last, or the best with `patience`.
      epochs: Passes over `train`, a part of one included.
      examples: Records that the steps saw.
      seconds: Time that the steps took, compilation included, evaluation left out.
      examples_per_second: Over those seconds.
      input_wait_share: Share of those seconds spent waiting for input.
      parameters: Number of trained numbers.
      device: What it ran on.
      dataset: Folder, name, version and digest.
      options: The run's.
      choices: What was chosen where options said auto.
      versions: Of Python and of the libraries that matter.
    """

    loss: float
    accuracy: float
    validation: dict[str, float] | None
    classes: dict[str, dict[str, float]]
    steps: int
    model_step: int
    epochs: float
    examples: int
    seconds: float
    examples_per_second: float
    input_wait_share: float
    parameters: int
    device: str
    dataset: dict[str, str]
    options: dict[str, Any]
    choices: dict[str, Any]
    versions: dict[str, str]
