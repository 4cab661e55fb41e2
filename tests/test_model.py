import keras
import numpy as np
import pytest

from pipeline.errors import UsageError
from train.model import MODELS, build


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("shape", "dtype"), [((28, 28), "uint8"), ((12, 7), "float32"), ((9, 9, 3), "int16")]
)
def test_any_shape_and_dtype_gives_one_logit_a_class(name, shape, dtype):
    network = build(name, shape, dtype, 4)
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
    with pytest.raises(
        UsageError, match="--model lstm: unknown; there is article, mlp, resnet, or"
    ):
        build("lstm", (28, 28), "uint8", 10)


def test_an_image_of_one_pixel():
    assert build("article", (1, 1), "uint8", 2)(np.ones((1, 1, 1), "uint8")).shape == (1, 2)


OWN = """import keras

def build(shape, dtype, num_classes):
    images = keras.Input(shape, dtype=dtype)
    flat = keras.layers.Flatten()(keras.ops.cast(images, "float32"))
    return keras.Model(images, keras.layers.Dense(num_classes)(flat))

def wrong(shape, dtype, num_classes):
    return build(shape, dtype, num_classes + 1)

def fails(shape, dtype, num_classes):
    raise ValueError("no such luck")

def nothing(shape, dtype, num_classes):
    return None
"""


def test_a_function_of_the_user(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(OWN)
    assert build(f"{path}:build", (4, 3), "uint8", 5).output_shape == (None, 5)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("wrong", r"maps \(None, 4, 3\) to \(None, 6\); wanted .* to \(None, 5\)"),
        ("fails", "own.py, line 12: ValueError: no such luck"),
        ("nothing", "gave NoneType; wanted a keras.Model"),
        ("missing", "own.py has no function 'missing'"),
    ],
)
def test_a_function_that_does_not_give_such_a_model(tmp_path, function, message):
    path = tmp_path / "own.py"
    path.write_text(OWN)
    with pytest.raises(UsageError, match=message):
        build(f"{path}:{function}", (4, 3), "uint8", 5)


def test_a_module_that_is_missing_or_broken(tmp_path):
    with pytest.raises(UsageError, match="there is no file .*own.py"):
        build(f"{tmp_path}/own.py:build", (4, 3), "uint8", 5)
    (tmp_path / "own.py").write_text("x = 1\nimport nothing_of_that_name\n")
    with pytest.raises(UsageError, match="own.py, line 2: ModuleNotFoundError"):
        build(f"{tmp_path}/own.py:build", (4, 3), "uint8", 5)
    (tmp_path / "own.py").write_text("x = 1\ny = (\n")
    with pytest.raises(UsageError, match="own.py, line 2: SyntaxError"):
        build(f"{tmp_path}/own.py:build", (4, 3), "uint8", 5)
