import numpy as np
import pytest
from matplotlib.image import imread

from train.pictures import confusion_matrix, learning_curves


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
