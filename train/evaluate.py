"""How good a model is on a split: loss, accuracy, confusion, precision and recall."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

# Wrong answers that are kept to be looked at.
MISTAKES = 36


@dataclass(frozen=True)
class Mistake:
    """A record that was taken for another class.

    Attributes:
      number: Of the record in its split.
      image: As the dataset has it.
      true: Its class.
      predicted: What it was taken for.
      confidence: The predicted class's probability.
    """

    number: int
    image: npt.NDArray[Any]
    true: int
    predicted: int
    confidence: float


@dataclass(frozen=True)
class Evaluation:
    """Results on a split.

    Attributes:
      loss: Mean cross entropy in nats.
      confusion: int64[classes, classes]: records by true class (row) and predicted class (column).
      mistakes: The most confident ones, the worst first.
    """

    loss: float
    confusion: npt.NDArray[np.int64]
    mistakes: list[Mistake] = field(default_factory=list)

    @property
    def records(self) -> int:
        """Number of records evaluated."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """Share of records whose class was predicted."""
        return float(np.trace(self.confusion) / max(1, self.records))

    def by_class(self) -> list[dict[str, float]]:
        """Precision, recall and number of records of each class.

        A class that was never predicted has precision 0, one that never occurs recall 0.

        >>> Evaluation(0.0, np.array([[3, 1], [0, 4]])).by_class()[0]
        {'precision': 1.0, 'recall': 0.75, 'records': 4}
        """
        right = np.diag(self.confusion)
        predicted, true = self.confusion.sum(0), self.confusion.sum(1)
        return [
            {
                "precision": float(right[k] / max(1, predicted[k])),
                "recall": float(right[k] / max(1, true[k])),
                "records": int(true[k]),
            }
            for k in range(len(right))
        ]


def log_softmax(logits: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """Logarithms of the probabilities, stable for logits of any size.

    >>> np.exp(log_softmax(np.array([[0.0, 0.0]]))).tolist()
    [[0.5, 0.5]]
    """
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    result: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return result


def evaluate(
    predict: Callable[[Any], npt.NDArray[np.float32]],
    batches: Iterable[tuple[Any, Any]],
    num_classes: int,
) -> Evaluation:
    """Runs a model over batches.

    Args:
      predict: From images to logits `float32[n, num_classes]`.
      batches: Images and labels int64[n].
      num_classes: Length of the logits.
    """
    total, number = 0.0, 0
    confusion = np.zeros((num_classes, num_classes), np.int64)
    mistakes: list[Mistake] = []
    for images, labels in batches:
        logs, true = log_softmax(predict(images)), np.asarray(labels)
        total -= float(logs[np.arange(len(true)), true].sum())
        found = logs.argmax(-1)
        cells = true * num_classes + found
        confusion += np.bincount(cells, minlength=num_classes**2).reshape(confusion.shape)
        confidence = np.exp(logs.max(-1))
        for row in np.flatnonzero(found != true):
            mistakes.append(
                Mistake(
                    number + int(row),
                    np.asarray(images[row]),
                    int(true[row]),
                    int(found[row]),
                    float(confidence[row]),
                )
            )
        mistakes = sorted(mistakes, key=lambda mistake: -mistake.confidence)[:MISTAKES]
        number += len(true)
    return Evaluation(total / max(1, number), confusion, mistakes)
