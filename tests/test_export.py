import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from samples import images, labels, write_mnist

import pipeline
from launch.cli import main
from pipeline import idx, open_dataset
from pipeline.errors import DatasetError, InputError, UsageError
from pipeline.example import encode_examples
from pipeline.tfrecord import Framed
from train import load
from train.options import TrainOptions
from train.trainer import train
from train.transform import transformed

# Each case trains and exports a model.
pytestmark = pytest.mark.slow

# What a server does: TensorFlow alone, none of these packages to be found.
SERVER = """
import importlib.util, json, sys
import numpy as np, tensorflow as tf
for name in ("pipeline", "train", "launch", "recordmill"):
    assert importlib.util.find_spec(name) is None, name
with np.load("asked.npz", allow_pickle=False) as asked:
    pixels, lengths, data = asked["images"], asked["lengths"], asked["examples"].tobytes()
ends = np.cumsum([0, *lengths])
examples = [data[a:b] for a, b in zip(ends[:-1], ends[1:])]
signatures = tf.saved_model.load(sys.argv[1]).signatures
one = signatures["serving_default"](examples=tf.constant(examples))
other = signatures["images"](images=tf.constant(pixels))
plain = lambda v: v.numpy().astype("S") if v.dtype == tf.string else v.numpy()
np.savez("answered.npz", **{f"examples_{k}": plain(v) for k, v in one.items()},
         **{f"images_{k}": plain(v) for k, v in other.items()})
"""

NAMES = '[features.label]\nnames = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]\n'


def source_of(folder):
    source = write_mnist(folder, train=80, test=30)
    files = {
        s: (f"{p}-images-idx3-ubyte", f"{p}-labels-idx1-ubyte")
        for s, p in (("train", "train"), ("test", "t10k"))
    }
    tables = [f'[splits.{s}]\nimage = "{i}"\nlabel = "{j}"\n' for s, (i, j) in files.items()]
    (source / "dataset.toml").write_text(NAMES + "".join(tables))
    return source


def trained(folder, **options):
    """A dataset and a model trained on it for three steps."""
    made = pipeline.convert(input=str(source_of(folder / "raw")), output=str(folder), **options)
    quick = {"model": "mlp", "steps": 3, "batch_size": 16}
    train(TrainOptions(data=made.folder, model_dir=str(folder / "model"), **quick), log=str)
    return open_dataset(made.folder), folder / "model"


def serve(folder, model, asked, examples):
    """The answers of a process that has TensorFlow alone."""
    lengths = np.array([len(e) for e in examples])
    joined = np.frombuffer(b"".join(examples), np.uint8)
    np.savez(folder / "asked.npz", images=asked, lengths=lengths, examples=joined)
    (folder / "server.py").write_text(SERVER)
    # The project itself stands in site-packages as an editable install; a server has not even that.
    packages = folder / "site"
    packages.mkdir()
    for path in sys.path:
        if path.endswith("site-packages"):
            for name in os.listdir(path):
                if "recordmill" not in name and not name.endswith(".pth"):
                    (packages / name).symlink_to(os.path.join(path, name))
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(packages), "HOME": str(folder)}
    command = [sys.executable, "-S", "-s", str(folder / "server.py"), str(model / "saved_model")]
    subprocess.run(command, check=True, cwd=folder, env=environment)
    return dict(np.load(folder / "answered.npz"))


KINDS = {
    "no preprocessing": {},
    "raw": {"preprocess": "default"},
    "transformed": {"preprocess": "default", "materialize": "transformed"},
    "article": {"example_format": "article"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_served_answers_equal_the_trainers_bit_for_bit(tmp_path, kind):
    dataset, model = trained(tmp_path, shuffle="none", **KINDS[kind])
    plan = dataset.manifest.plan
    raw_features = plan.preprocess.raw_features if plan.preprocess else plan.features
    columns = {"image": images(30, 10_000), "label": labels(30)}
    rows = encode_examples(raw_features, columns, np.arange(30))
    answered = serve(tmp_path, model, columns["image"], list(Framed.of_rows(rows).messages()))

    seen = transformed(dataset) if plan.preprocess else dataset
    network = keras.models.load_model(model / "model.keras")
    logits = tf.function(lambda x: network(x, training=False))(
        tf.constant(seen["test"][:]["image"])
    )
    wanted = tf.nn.softmax(logits).numpy()
    for way in ("examples", "images"):
        assert answered[f"{way}_probabilities"].tobytes() == wanted.tobytes()
        assert answered[f"{way}_class"].tolist() == wanted.argmax(-1).tolist()
        named = [b"abcdefghij"[k : k + 1] for k in wanted.argmax(-1)]
        assert answered[f"{way}_label"].tolist() == named


def test_load_transformed(tmp_path):
    source = str(source_of(tmp_path / "raw"))
    raw = pipeline.convert(input=source, output=str(tmp_path / "a"), preprocess="default")
    made = pipeline.convert(
        input=source, output=str(tmp_path / "b"), preprocess="default", materialize="transformed"
    )
    wanted = open_dataset(made.folder)["train"][:]
    for folder in (raw.folder, made.folder):
        batches = list(load(folder, "train", 32, transformed=True))
        for name in ("image", "label"):
            found = np.concatenate([batch[name].numpy() for batch in batches])
            assert found.tobytes() == wanted[name].tobytes()
    assert next(iter(load(raw.folder, "train", 32)))["image"].dtype == tf.uint8
    bare = pipeline.convert(input=source, output=str(tmp_path / "c"))
    with pytest.raises(UsageError, match="converted without preprocessing"):
        load(bare.folder, "train", 32, transformed=True)


def test_predict_prints_a_table_and_json(tmp_path, capsys):
    _, model = trained(tmp_path, preprocess="default")
    files = str(tmp_path / "raw" / "t10k-images-idx3-ubyte")
    assert main(["predict", "--model", str(model), "--images", files, "--max_images", "4"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert len(table) == 5
    assert "t10k-images-idx3-ubyte:3" in table[4]
    assert main(["predict", "--model", str(model), "--images", files, "--json"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(answers) == 30
    assert answers[3]["label"] == table[4].split()[2]
    picture = tmp_path / "three.png"
    picture.write_bytes(tf.io.encode_png(images(1, 10_003).reshape(5, 4, 1)).numpy())
    assert main(["predict", "--model", str(model), "--images", str(picture), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["label"] == answers[3]["label"]

    wrong = tmp_path / "wrong.idx"
    idx.write_idx(str(wrong), np.zeros((2, 3, 3), np.uint8))
    for path, message in (
        (wrong, "holds uint8 3x3, but the model takes uint8 5x4"),
        (tmp_path / "gone.png", "no such file"),
        (tmp_path / "raw" / "dataset.toml", "neither IDX nor a PNG"),
    ):
        with pytest.raises(InputError, match=message):
            _predict(model, path)
    assert main(["predict", "--model", str(tmp_path), "--images", files]) == 2
    assert "no saved_model.pb there" in capsys.readouterr().err
    assert main(["predict", "--model", str(model), "--images", files, "--max_images", "0"]) == 2


def _predict(model, path):
    from launch.predict import read_images

    return read_images(str(path), (5, 4), "uint8", None)


def test_require(tmp_path):
    dataset, model = trained(tmp_path)
    options = {"data": dataset.path, "model_dir": str(model), "model": "mlp", "steps": 2}
    assert (model / "saved_model" / "saved_model.pb").exists()
    with pytest.raises(DatasetError, match=r"accuracy on test is 0\.\d+; no model is kept"):
        train(TrainOptions(**options, require="accuracy>=1"), log=str)
    assert not (model / "saved_model").exists()
    assert not (model / "model.keras").exists()
    assert json.loads((model / "metrics.json").read_text())["classes"]["a"]["recall"] >= 0
    train(TrainOptions(**options, require="loss<=100"), log=str)
    assert (model / "model.keras").exists()
    with pytest.raises(UsageError, match="--require speed>3: wanted accuracy"):
        TrainOptions(**options, require="speed>3")
