"""What a run has come to so far: the part of it that a checkpoint keeps beside the arrays."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass
class Record:
    """Progress of a run.

    Attributes:
      step: Steps taken.
      seconds: Time that they took, evaluation and checkpoints left out.
      wait_seconds: How much of it was spent waiting for input.
      sums: Loss, right ones and weight since the last point.
      history: Points of the learning curves.
      best_step: When `validation` was best; None before the first look.
      best_loss: Its loss then.
      stale: Looks at `validation` since then.
    """

    step: int = 0
    seconds: float = 0.0
    wait_seconds: float = 0.0
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    history: list[dict[str, Any]] = field(default_factory=list)
    best_step: int | None = None
    best_loss: float = float("inf")
    stale: int = 0

    def add(self, sums: npt.NDArray[np.float64]) -> None:
        """Adds what a learner counted, float64[3]."""
        self.sums = [old + float(new) for old, new in zip(self.sums, sums, strict=True)]

    def point(self, split: str, loss: float, accuracy: float) -> dict[str, Any]:
        """Adds a point to the learning curves, with the time that the steps took so far."""
        self.history.append(
            {
                "step": self.step,
                "seconds": round(self.seconds, 3),
                "split": split,
                "loss": loss,
                "accuracy": accuracy,
            }
        )
        return self.history[-1]

    def train_point(self) -> dict[str, Any]:
        """A point of the means since the last one."""
        loss, right, weight = self.sums
        self.sums = [0.0, 0.0, 0.0]
        return self.point("train", loss / max(1.0, weight), right / max(1.0, weight))

    def judge(self, loss: float, *, better: bool) -> None:
        """Notes a look at `validation`, and whether it was the best so far."""
        if better:
            self.best_step, self.best_loss, self.stale = self.step, loss, 0
        else:
            self.stale += 1

    def last(self, split: str) -> dict[str, float] | None:
        """The newest loss and accuracy on a split."""
        for point in reversed(self.history):
            if point["split"] == split:
                return {"loss": point["loss"], "accuracy": point["accuracy"]}
        return None

    @property
    def wait_share(self) -> float:
        """Share of the time spent waiting for input."""
        return self.wait_seconds / self.seconds if self.seconds else 0.0

    def to_json(self) -> dict[str, Any]:
        """As JSON values; `best_loss` is None before the first look."""
        value = dataclasses.asdict(self)
        value["best_loss"] = None if self.best_step is None else self.best_loss
        return value

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Record:
        """From what `to_json` gave."""
        best = value["best_loss"]
        return cls(**{**value, "best_loss": float("inf") if best is None else best})
