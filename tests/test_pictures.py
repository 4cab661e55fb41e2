import numpy as np
import pytest
from matplotlib.image import imread

from train.evaluate import Mistake
from train.pictures import confusion_matrix, learning_curves, worst_mistakes


def test_curves_of_several_splits_differ_from_one(tmp_path):
    points = [
        {"step": step, "split": split, "loss": 1 / step, "accuracy": 1 - 1 / step}
        for step in (1, 2, 3)
        for split in ("train", "validation")
    ]
    learning_curves(points, tmp_path / "both.png")
    learning_curves(points[::2], tmp_path / "one.png")
    both, one = imread(tmp_path / "both.png"), imread(tmp_path / "one.png")
    assert both.shape == one.shape
    assert (both != one).any()


def test_empty_history_still_draws(tmp_path):
    learning_curves([], tmp_path / "none.png")
    assert imread(tmp_path / "none.png").size


@pytest.mark.parametrize("count", [2, 40])
def test_confusion_matrix_of_few_and_many_classes(tmp_path, count):
    confusion = np.eye(count, dtype=np.int64) * 5
    names = [f"class {k}" for k in range(count)]
    confusion_matrix(confusion, names, "test", tmp_path / "right.png")
    confusion_matrix(confusion[::-1], names, "test", tmp_path / "wrong.png")
    right, wrong = imread(tmp_path / "right.png"), imread(tmp_path / "wrong.png")
    assert right.shape == wrong.shape
    assert (right != wrong).any()


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((6, 5), np.uint8),
        np.zeros((6, 5, 1), np.float32),
        np.arange(90).reshape(6, 5, 3).astype(np.int16),
        np.zeros((6, 5, 3), np.uint8),
    ],
    ids=lambda image: f"{image.dtype}{image.shape}",
)
def test_worst_mistakes_of_any_image(tmp_path, image):
    mistakes = [Mistake(number, image, 0, 1, 0.9) for number in range(8)]
    worst_mistakes(mistakes, ["a", "b"], tmp_path / "eight.png")
    worst_mistakes(mistakes[:2], ["a", "b"], tmp_path / "two.png")
    assert imread(tmp_path / "eight.png").shape > imread(tmp_path / "two.png").shape


def test_no_mistakes_is_a_picture_too(tmp_path):
    worst_mistakes([], ["a"], tmp_path / "none.png")
    assert imread(tmp_path / "none.png").size
