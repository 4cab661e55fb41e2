"""Pictures of a run: learning curves and the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from .evaluate import Mistake

# Beyond so many classes the numbers in the cells no longer fit.
NUMBERED_CLASSES = 30


def learning_curves(history: Sequence[dict[str, Any]], path: Path) -> None:
    """Draws loss and accuracy over the steps.

    Args:
      history: Points with `step`, `split`, `loss`, `accuracy`.
      path: The PNG to write.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, quantity in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for split in dict.fromkeys(point["split"] for point in history):
            points = [point for point in history if point["split"] == split]
            axes.plot(
                [point["step"] for point in points],
                [point[quantity] for point in points],
                marker=None if split == "train" else "o",
                label=split,
            )
        axes.set_xlabel("step")
        axes.set_ylabel(quantity)
        axes.grid(alpha=0.3)
        if history:
            axes.legend()
    figure.savefig(path, dpi=120)


def confusion_matrix(
    confusion: npt.NDArray[np.int64], names: Sequence[str], split: str, path: Path
) -> None:
    """Draws how often each true class (row) was taken for each class (column).

    Args:
      confusion: int64[classes, classes].
      names: Of the classes.
      split: For the title.
      path: The PNG to write.
    """
    count = len(names)
    share = confusion / np.maximum(1, confusion.sum(1, keepdims=True))
    side = min(24.0, 3.0 + 0.6 * count)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    picture = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(picture, ax=axes, label="share of the true class", shrink=0.8)
    axes.set_xticks(range(count), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(count), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    accuracy = np.trace(confusion) / max(1, confusion.sum())
    axes.set_title(f"{split}: {confusion.sum():,} records, accuracy {accuracy:.4f}")
    if count <= NUMBERED_CLASSES:
        for row, column in np.argwhere(confusion):
            color = "white" if share[row, column] > 0.5 else "black"
            number = str(confusion[row, column])
            axes.text(column, row, number, ha="center", va="center", color=color, fontsize=8)
    figure.savefig(path, dpi=120)


def worst_mistakes(mistakes: Sequence[Mistake], names: Sequence[str], path: Path) -> None:
    """Draws the most confident wrong answers, each with its true class and what it was taken for.

    Args:
      mistakes: The worst first.
      names: Of the classes.
      path: The PNG to write.
    """
    columns = min(6, max(1, len(mistakes)))
    rows = max(1, -(-len(mistakes) // columns))
    figure = Figure(figsize=(2.2 * columns, 2.5 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, mistake in zip(grid, mistakes, strict=False):
        image = mistake.image
        if image.ndim == 3 and image.shape[-1] not in (3, 4):
            image = image[..., 0]
        if image.ndim == 3 and image.dtype != np.uint8:
            image = (image - image.min()) / max(1e-9, float(np.ptp(image)))
        axes.imshow(image, cmap="gray")
        axes.set_title(
            f"{names[mistake.true]} (no. {mistake.number})\n"
            f"taken for {names[mistake.predicted]}, {mistake.confidence:.0%}",
            fontsize=8,
        )
    if not mistakes:
        grid[0].text(0.5, 0.5, "no mistakes", ha="center", va="center")
    figure.savefig(path, dpi=120)
