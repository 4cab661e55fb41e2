"""A picture of the first images of a split, each with its label."""

from __future__ import annotations

from typing import IO

from pipeline.dataset import Dataset
from pipeline.inspection import image_feature

COLUMNS, IMAGES = 10, 50


def draw_grid(dataset: Dataset, split: str, target: str | IO[bytes]) -> int:
    """Draws a PNG.

    Args:
      dataset: With a feature that is a picture, see `pipeline.inspection.image_feature`.
      split: Whose first images to draw.
      target: A path, or an open file.

    Returns:
      How many images were drawn; 0, and nothing written, where the dataset holds no pictures or
      the split no records.
    """
    feature = image_feature(dataset.features)
    if feature is None or not dataset.splits[split]:
        return 0
    from matplotlib.figure import Figure

    records = next(dataset.blocks(split, 0, IMAGES))
    images = records[feature.name]
    classes = next((f for f in dataset.features if f.num_classes and not f.shape), None)
    rows = -(-len(images) // COLUMNS)
    figure = Figure(figsize=(COLUMNS * 1.2, rows * 1.4), layout="constrained")
    for index, (axes, image) in enumerate(
        zip(figure.subplots(rows, COLUMNS, squeeze=False).flat, images, strict=False)
    ):
        axes.imshow(image, cmap="gray")
        if classes:
            label = int(records[classes.name][index])
            axes.set_title(classes.names[label] if classes.names else label, fontsize=7)
    for axes in figure.axes:
        axes.axis("off")
    figure.savefig(target, dpi=110, format="png")
    return len(images)
