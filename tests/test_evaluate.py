import numpy as np
import pytest

from train.evaluate import evaluate, log_softmax


def test_counts_and_loss_over_batches():
    logits = np.array([[9.0, 0.0], [9.0, 0.0], [0.0, 9.0]], np.float32)
    labels = np.array([0, 1, 1])
    batches = [(logits[:2], labels[:2]), (logits[2:], labels[2:])]
    result = evaluate(lambda images: images, batches, 2)
    assert result.confusion.tolist() == [[1, 0], [1, 1]]
    assert (result.records, result.accuracy) == (3, pytest.approx(2 / 3))
    right, wrong = -np.log(1 / (1 + np.exp(-9))), -np.log(1 / (1 + np.exp(9)))
    assert result.loss == pytest.approx((2 * right + wrong) / 3)
    assert result.by_class()[1] == {"precision": 1.0, "recall": 0.5, "records": 2}


def test_a_class_that_never_occurs_divides_nothing_by_zero():
    batches = [(np.array([[1.0, 0.0]]), np.array([0]))]
    result = evaluate(lambda images: images, batches, 2)
    assert result.by_class()[1] == {"precision": 0.0, "recall": 0.0, "records": 0}


def test_huge_logits_stay_finite():
    assert np.isfinite(log_softmax(np.array([[1e30, -1e30]], np.float32))).all()


def test_the_worst_mistakes_come_first_with_their_numbers():
    logits = np.array([[5.0, 0.0], [0.0, 5.0], [1.0, 0.0], [9.0, 0.0]], np.float32)
    labels = np.array([1, 1, 1, 1])
    batches = [(logits[:3], labels[:3]), (logits[3:], labels[3:])]
    mistakes = evaluate(lambda images: images, batches, 2).mistakes
    assert [(m.number, m.true, m.predicted) for m in mistakes] == [(3, 1, 0), (0, 1, 0), (2, 1, 0)]
    assert mistakes[0].confidence == pytest.approx(1 / (1 + np.exp(-9)))
    assert (mistakes[0].image == logits[3]).all()
