"""The task that a dataset poses: which feature is the image, which the class, and their shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import DatasetError, UsageError
from pipeline.features import Feature


@dataclass(frozen=True, kw_only=True)
class Task:
    """Classify images.

    Attributes:
      image: Name of the image feature.
      image_shape: `(rows, cols)` or `(rows, cols, channels)`.
      image_dtype: numpy's name of the dtype in which images reach the model.
      label: Name of the label feature.
      one_hot: Whether labels are unit vectors of shape `[num_classes]` instead of numbers.
      class_names: Names of the classes, for people; the numbers where the dataset has no names.
    """

    image: str
    image_shape: tuple[int, ...]
    image_dtype: str
    label: str
    one_hot: bool
    class_names: tuple[str, ...]

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)


def _choose(
    features: Sequence[Feature], candidates: Sequence[Feature], wish: str | None, kind: str
) -> Feature:
    there = ", ".join(f"{f.name} ({f.dtype}{list(f.shape)})" for f in features) or "none"
    if wish is not None:
        for feature in candidates:
            if feature.name == wish:
                return feature
        raise UsageError(
            f"--{kind}_feature {wish}: is no feature that could be the {kind}; there is {there}"
        )
    if len(candidates) != 1:
        found = ", ".join(f.name for f in candidates) or "none"
        raise DatasetError(
            f"{kind} feature: wanted exactly one candidate, found {found} among {there}; "
            f"name one with --{kind}_feature"
        )
    return candidates[0]


def find_task(
    features: Sequence[Feature], image_feature: str | None = None, label_feature: str | None = None
) -> tuple[Feature, Feature]:
    """Finds image and label among a dataset's features.

    Args:
      features: As `pipeline.open_dataset(...).features` has them.
      image_feature: The image's name; None takes the one feature of rank 2 or 3.
      label_feature: The label's name; None takes the one feature with classes, or else the one
        scalar of integers.

    Returns:
      Image and label.

    Raises:
      DatasetError: None or several come into question.
      UsageError: The one asked for does not.
    """
    # What has a length of its own in each record is no image that stacks into batches.
    fixed = [f for f in features if not f.sequence and f.length_of is None]
    images = [f for f in fixed if len(f.shape) in (2, 3) and f.constant is None]
    image = _choose(features, images, image_feature, "image")
    integers = [
        f for f in fixed if f.column is not None and f.shape == () and f.dtype.find("int") >= 0
    ]
    classes = [f for f in fixed if f.one_hot or (f in integers and f.num_classes is not None)]
    if label_feature is not None:
        classes += [f for f in integers if f not in classes]
    label = _choose(features, classes or integers, label_feature, "label")
    return image, label


def make_task(image: Feature, label: Feature, num_classes: int | None = None) -> Task:
    """Completes a task.

    Args:
      image: The input.
      label: The class.
      num_classes: Number of classes where the label feature does not tell.
    """
    count = label.num_classes or num_classes or 0
    return Task(
        image=image.name,
        image_shape=image.shape,
        image_dtype=image.dtype,
        label=label.name,
        one_hot=label.one_hot,
        class_names=label.names or tuple(str(number) for number in range(count)),
    )
