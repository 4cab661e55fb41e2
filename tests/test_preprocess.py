import json
import os
import re
import subprocess
import sys

import lists
import numpy as np
import pytest
from samples import write_mnist

import pipeline
from pipeline import idx, open_dataset
from pipeline.errors import UsageError
from pipeline.options import PlanOptions
from pipeline.planning import make_plan

FIRST_LINES = "import tensorflow as tf\nimport tensorflow_transform as tft\n\n"


def module(folder, body, name="mine.py"):
    path = folder / name
    path.write_text(FIRST_LINES + body)
    return str(path)


def converted(folder, source, **options):
    pipeline.convert(input=str(source), output=str(folder), name="made", **options)
    return open_dataset(str(folder))


GOOD = """
def float_(value):
    return tf.cast(value, tf.float32)


def preprocessing_fn(inputs):
    image = tf.reshape(tf.io.decode_raw(inputs["image"], tf.uint8), [-1, 20])
    top = tft.max(tf.cast(image, tf.int64))
    return {
        "scaled": tf.ensure_shape(float_(image) / float_(top), [None, 20]),
        "label": inputs["label"] - 5,
    }
"""


def test_default_standardises_with_the_figures_of_train(tmp_path):
    source = write_mnist(tmp_path / "raw", train=300, test=50)
    options = {"preprocess": "default", "materialize": "transformed"}
    made = converted(tmp_path / "made", source, num_shards=3, **options)
    raw = converted(tmp_path / "raw_too", source)
    pixels = raw["train"][:]["image"].astype(np.float64)
    for split in ("train", "test"):
        wanted = (raw[split][:]["image"] - pixels.mean()) / pixels.std()
        found = made[split][:]["image"]
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=1e-6)
        assert np.array_equal(made[split][:]["label"], raw[split][:]["label"])
    again = converted(tmp_path / "again", source, num_shards=1, **options)
    assert np.array_equal(again["train"][:]["image"], made["train"][:]["image"])
    same = converted(tmp_path / "same", source, num_shards=3, **options)
    assert same.manifest.digest == made.manifest.digest


def test_default_numbers_labels_that_have_gaps(tmp_path):
    source = write_mnist(tmp_path / "raw", train=40, test=20)
    labels = np.tile(np.array([200, 3, 7, 3], np.uint8), 10)
    idx.write_idx(str(source / "train-labels-idx1-ubyte"), labels)
    made = converted(
        tmp_path / "made", source, preprocess="default", materialize="transformed", shuffle="none"
    )
    assert made["train"][:4]["label"].tolist() == [2, 0, 1, 0]
    # 0, 1 and 2 don't occur in train, 3 does.
    assert made["test"][:4]["label"].tolist() == [-1, -1, -1, 0]


@pytest.mark.slow
def test_users_module_is_applied_and_stored(tmp_path):
    source = write_mnist(tmp_path / "raw")
    chosen = module(tmp_path, GOOD)
    made = converted(tmp_path / "made", source, preprocess=chosen, materialize="transformed")
    raw = converted(tmp_path / "raw_too", source)
    images = raw["train"][:]["image"].reshape(-1, 20)
    assert np.array_equal(
        made["train"][:]["scaled"], images.astype(np.float32) / np.float32(images.max())
    )
    # Negative numbers keep their width, and all rows their stride.
    assert np.array_equal(made["train"][:]["label"], raw["train"][:]["label"] - 5)
    files = json.loads((tmp_path / "made/made/1.0.0/manifest.json").read_text())["files"]
    assert "transform_fn/saved_model.pb" in files
    assert any(name.startswith("transformed_metadata/") for name in files)


def test_materialize_raw_leaves_the_shards_as_they_are(tmp_path):
    source = write_mnist(tmp_path / "raw")
    made = converted(tmp_path / "made", source, preprocess="default")
    raw = converted(tmp_path / "raw_too", source)
    assert made.manifest.digest == raw.manifest.digest
    assert (tmp_path / "made/made/1.0.0/transform_fn/saved_model.pb").exists()
    assert made.manifest.plan.digest() != raw.manifest.plan.digest()


def test_analysis_sees_train_alone(tmp_path):
    source = write_mnist(tmp_path / "raw")
    idx.write_idx(str(source / "t10k-images-idx3-ubyte"), np.full((20, 5, 4), 255, np.uint8))
    made = converted(tmp_path / "made", source, preprocess="default", materialize="transformed")
    assert abs(made["train"][:]["image"].mean()) < 1e-4


def test_plan_tells_how_much_larger_and_survives_json(tmp_path):
    from launch.plan import describe
    from pipeline.plan import Plan

    source = write_mnist(tmp_path / "raw")
    plan = make_plan(
        PlanOptions(input=str(source), preprocess="default", materialize="transformed")
    )
    assert re.search(r"\d\.\d\d times as large as the raw ones", describe(plan))
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_conversion_without_preprocessing_imports_no_tensorflow(tmp_path):
    source = write_mnist(tmp_path / "raw")
    code = (
        "import sys, pipeline\n"
        f"pipeline.convert(input={str(source)!r}, output={str(tmp_path / 'made')!r})\n"
        "assert not [name for name in sys.modules if name.startswith('tensorflow.')]\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


BAD = {
    "no function": ("x = 1\n", r"mine\.py, line 1: has no function preprocessing_fn"),
    "syntax": ("def preprocessing_fn(inputs:\n", r"mine\.py, line 4: SyntaxError"),
    "import": ("import nothing_of_this_name\n", r"mine\.py, line 4: ModuleNotFoundError"),
    "exception": (
        "def preprocessing_fn(inputs):\n    return {'x': inputs['pixels']}\n",
        r"mine\.py, line 5: KeyError: 'pixels'",
    ),
    "no dict": (
        "def preprocessing_fn(inputs):\n    return inputs['label']\n",
        r"mine\.py, line 4: TypeError: preprocessing_fn gave .*Tensor; wanted a dict",
    ),
    "shape": (
        "def preprocessing_fn(inputs):\n"
        "    return {'x': tf.cast(tf.io.decode_raw(inputs['image'], tf.uint8), tf.int64)}\n",
        r"mine\.py, line 4: output 'x' has shape \(None, None\)",
    ),
    "dtype": (
        "def preprocessing_fn(inputs):\n    return {'x': inputs['image']}\n",
        r"mine\.py, line 4: output 'x' is string",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_module_is_named_with_its_line(tmp_path, name):
    body, message = BAD[name]
    source = write_mnist(tmp_path / "raw")
    options = {"preprocess": module(tmp_path, body), "materialize": "transformed"}
    with pytest.raises(UsageError, match=message):
        make_plan(PlanOptions(input=str(source), **options))


@pytest.mark.slow
def test_graph_that_fails_on_the_data_is_named_with_its_line(tmp_path):
    source = write_mnist(tmp_path / "raw")
    body = (
        "def preprocessing_fn(inputs):\n"
        "    image = tf.reshape(tf.io.decode_raw(inputs['image'], tf.uint8), [-1, 19])\n"
        "    return {'x': tf.cast(image, tf.float32) - tft.mean(tf.cast(image, tf.float32))}\n"
    )
    with pytest.raises(UsageError, match=r"mine\.py, line 5: "):
        converted(tmp_path / "made", source, preprocess=module(tmp_path, body))


def test_analyser_over_an_empty_split(tmp_path):
    source = write_mnist(tmp_path / "raw")
    for kind in ("images", "labels"):
        for old in source.glob(f"train-{kind}*"):
            old.unlink()
    with pytest.raises(UsageError, match=r"mine\.py, line \d+: analyses the whole train split"):
        make_plan(PlanOptions(input=str(source), preprocess=module(tmp_path, GOOD)))


def test_lists_of_varying_length_are_refused(tmp_path):
    source = lists.write_words(tmp_path / "raw")
    with pytest.raises(UsageError, match="preprocess default: knows no lists of varying length"):
        make_plan(PlanOptions(input=str(source), preprocess="default"))


def test_options_that_cannot_be(tmp_path):
    with pytest.raises(UsageError, match="materialize transformed: nothing is transformed"):
        PlanOptions(input="-", materialize="transformed")
    with pytest.raises(UsageError, match="no such file; wanted default, none or a module"):
        make_plan(PlanOptions(input=str(write_mnist(tmp_path / "raw")), preprocess="nothing.py"))


@pytest.mark.slow
def test_verify_and_repair_apply_the_stored_transform(tmp_path):
    from pipeline.repair import repair_dataset
    from pipeline.verify import verify_dataset

    source = write_mnist(tmp_path / "raw")
    made = converted(tmp_path / "made", source, preprocess="default", materialize="transformed")
    assert not verify_dataset(made.path, source=str(source)).findings
    shard = next((tmp_path / "made/made/1.0.0").glob("*train*00000-of*"))
    good = shard.read_bytes()
    shard.write_bytes(good[:100] + b"\xff" + good[101:])
    repair_dataset(made.path, source=str(source))
    assert shard.read_bytes() == good


@pytest.mark.slow
def test_bad_records_are_not_analysed(tmp_path):
    source = write_mnist(tmp_path / "raw", train=60)
    images = np.linspace(0, 1, 60 * 20).astype(np.float32).reshape(60, 5, 4)
    images[17] = np.nan
    for split in ("train", "t10k"):
        for old in source.glob(f"{split}-images*"):
            old.unlink()
    idx.write_idx(str(source / "train-images-idx3-ubyte"), images)
    idx.write_idx(str(source / "t10k-images-idx3-ubyte"), images[20:40])
    made = converted(
        tmp_path / "made",
        source,
        preprocess="default",
        materialize="transformed",
        on_bad_record="skip",
        max_bad_fraction=0.1,
    )
    found = made["train"][:]["image"]
    assert found.shape == (59, 5, 4)
    assert np.isfinite(found).all()
