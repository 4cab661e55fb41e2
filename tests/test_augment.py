import keras
import numpy as np
import pytest

from train.augment import Augment, augmented
from train.model import build


def change(changes, images, seed=0):
    return np.asarray(keras.ops.convert_to_numpy(Augment(changes, seed)(images, training=True)))


@pytest.fixture(params=["uint8[n, 6, 5]", "float32[n, 6, 5, 2]"])
def images(request):
    random = np.random.default_rng(0)
    if "uint8" in request.param:
        return random.integers(1, 255, (64, 6, 5)).astype(np.uint8)
    return random.random((64, 6, 5, 2)).astype(np.float32) + 1


def test_flip_mirrors_some_and_leaves_the_others(images):
    found = change({"flip": 0.5}, images)
    assert found.dtype == images.dtype
    same = [(a == b).all() for a, b in zip(found, images, strict=True)]
    mirrored = [(a == b[:, ::-1]).all() for a, b in zip(found, images, strict=True)]
    assert all(s != m for s, m in zip(same, mirrored, strict=True))
    assert 16 < sum(mirrored) < 48
    assert (change({"flip": 1.0}, images) == images[:, :, ::-1]).all()


def test_shift_moves_by_whole_pixels_and_zeros_come_in(images):
    found = change({"shift": 2.0}, images)
    padded = np.pad(images, [(0, 0), (2, 2), (2, 2)] + [(0, 0)] * (images.ndim - 3))
    seen = set()
    for one, source in zip(found, padded, strict=True):
        places = [
            (y, x)
            for y in range(5)
            for x in range(5)
            if (source[y : y + 6, x : x + 5] == one).all()
        ]
        assert len(places) == 1
        seen.add(places[0])
    assert {y for y, _ in seen} == {x for _, x in seen} == set(range(5))


def test_cutout_blanks_a_square(images):
    found = change({"cutout": 3.0}, images)
    blank = (found == 0).reshape(*images.shape[:3], -1).all(-1)
    assert (found[~blank] == images[~blank]).all()
    assert 1 < blank.sum((1, 2)).mean() <= 9
    for one in blank:
        rows, columns = np.flatnonzero(one.any(1)), np.flatnonzero(one.any(0))
        assert len(rows) <= 3
        assert len(columns) <= 3
        assert one.sum() == len(rows) * len(columns)


def test_nothing_happens_outside_of_training(images):
    layer = Augment({"flip": 1.0, "shift": 2.0, "cutout": 3.0}, 0)
    assert (keras.ops.convert_to_numpy(layer(images, training=False)) == images).all()


def test_seeds_differ_and_repeat(images):
    one, same, other = (change({"shift": 2.0}, images, seed) for seed in (1, 1, 2))
    assert (one == same).all()
    assert (one != other).any()


def test_the_wrapped_network_shares_its_weights_and_keeps_random_state():
    network = build("mlp", (6, 5), "uint8", 3)
    model = augmented(network, {"flip": 1.0}, 0)
    assert [v.path for v in model.trainable_variables] == [
        v.path for v in network.trainable_variables
    ]
    assert len(model.variables) == len(network.variables) + 1
    assert augmented(network, {}, 0) is network
