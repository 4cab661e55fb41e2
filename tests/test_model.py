import keras
import numpy as np
import pytest

from pipeline.errors import UsageError
from train.model import build


@pytest.mark.parametrize("shape", [(28, 28), (12, 7), (9, 9, 3), (1, 1)])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "int16"])
def test_any_shape_and_dtype_gives_one_logit_a_class(shape, dtype):
    network = build("article", shape, dtype, 4)
    assert network.input_shape == (None, *shape)
    logits = network(np.ones((2, *shape), dtype))
    assert tuple(logits.shape) == (2, 4)
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"


def test_the_article_has_its_layers():
    network = build("article", (28, 28), "uint8", 10)
    kernels = [tuple(w.shape) for w in network.trainable_variables if len(w.shape) > 1]
    assert kernels == [(5, 5, 1, 48), (5, 5, 48, 96), (7 * 7 * 96, 512), (512, 10)]


@pytest.mark.parametrize(
    ("dtype", "value", "expected"), [("uint8", 255, 1.0), ("int16", 32767, 1.0), ("float32", 3, 3)]
)
def test_integers_are_scaled_by_the_largest_and_floats_are_not(dtype, value, expected):
    network = build("article", (4, 4), dtype, 2)
    first = network.layers[2 if dtype != "float32" else 1].output
    scaled = keras.Model(network.inputs, first)(np.full((1, 4, 4), value, dtype))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(scaled), expected, rtol=1e-6)


@pytest.mark.parametrize("shape", [(28,), (2, 2, 2, 2), (0, 3), ()])
def test_other_ranks_are_refused(shape):
    with pytest.raises(UsageError, match=r"image of shape .*: wanted \[rows, cols\]"):
        build("article", shape, "uint8", 10)


def test_unknown_model_is_refused():
    with pytest.raises(UsageError, match="--model lstm: unknown; there is article"):
        build("lstm", (28, 28), "uint8", 10)
