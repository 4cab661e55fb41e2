"""Keras on JAX and on PyTorch, TensorFlow absent: where `make backends` has set them up."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from striped import make_dataset

pytestmark = pytest.mark.slow

ELSEWHERE = Path(__file__).parents[1] / ".venv-backends" / "bin" / "python"
SCRIPT = """
import importlib.util, os, signal, sys
from train.options import TrainOptions
from train.signals import Stopped
from train.trainer import train

absent = importlib.util.find_spec("tensorflow") is None
assert absent or os.environ["KERAS_BACKEND"] == "tensorflow"

def log(line):
    print(line, flush=True)
    if sys.argv[3] in line:
        os.kill(os.getpid(), signal.SIGTERM)

options = TrainOptions(
    data=sys.argv[1], model_dir=sys.argv[2], model="mlp", epochs=4, batch_size=16, log_every=2,
    cache="memory", schedule="cosine", warmup=0.1, weight_decay=0.01, label_smoothing=0.1,
)
try:
    train(options, log=log)
except Stopped as error:
    print(error)
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    assert ELSEWHERE.exists(), "make backends sets up JAX, PyTorch and Grain"
    return make_dataset(tmp_path_factory.mktemp("striped"))


def run(backend, *arguments, script=SCRIPT):
    """Runs the script; returns what it printed."""
    python = sys.executable if backend == "tensorflow" else str(ELSEWHERE)
    done = subprocess.run(
        [python, "-c", script, *map(str, arguments)],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_learns_and_writes_everything(dataset, tmp_path, backend):
    run(backend, dataset, tmp_path / "model", "no such line")
    metrics = json.loads((tmp_path / "model" / "metrics.json").read_text())
    assert metrics["accuracy"] > 0.9
    assert metrics["choices"]["backend"] == backend
    assert backend in metrics["versions"]
    assert {p.name for p in (tmp_path / "model").iterdir()} >= {
        *("model.keras", "learning_curves.png", "confusion_matrix.png", "worst_mistakes.png")
    }


def test_all_backends_take_the_same_steps(dataset, tmp_path):
    """From one checkpoint, over the same batches, to the same place."""
    begun = tmp_path / "begun"
    assert "stopped by SIGTERM at step 6 of 52" in run("tensorflow", dataset, begun, "step 6/52")
    losses = {}
    for backend in ("tensorflow", "jax", "torch"):
        folder = shutil.copytree(begun, tmp_path / backend)
        assert "going on from step 6" in run(backend, dataset, folder, "no such line")
        losses[backend] = json.loads((folder / "metrics.json").read_text())["loss"]
    assert losses["jax"] == pytest.approx(losses["tensorflow"], rel=1e-3)
    assert losses["torch"] == pytest.approx(losses["tensorflow"], rel=1e-3)


STEPS = """
import keras, numpy as np, sys
from pipeline import open_dataset
from train.options import TrainOptions
from train.feed import describe
from train.setup import set_up

wishes = dict(data=sys.argv[1], model_dir="-", model="resnet", steps=4, batch_size=8,
              augment="flip,shift=1,cutout=2", shuffle_buffer=0)
dataset = open_dataset(sys.argv[1])
task = describe(dataset, None, None)
sums = []
for more in ({}, {"steps_per_execution": 4}, {"cache": "device"}, {"precision": "bfloat16"}):
    setup = set_up(TrainOptions(**wishes, **more), dataset, task)
    for group in setup.feed.groups(0, 4):
        setup.learner.train(*group)
    sums.append(setup.learner.take_sums())
    state = setup.learner.state()
    setup.learner.set_state(state)
    assert all((a == b).all() for a, b in zip(state, setup.learner.state(), strict=True))
    assert setup.learner.predict(np.zeros((2, 6, 5), "uint8")).shape == (2, 3)
assert [s[2] for s in sums] == [32] * 4
assert abs(sums[0][0] - sums[1][0]) < 0.05 * sums[0][0], sums
assert abs(sums[0][0] - sums[2][0]) < 0.05 * sums[0][0], sums
assert abs(sums[0][0] - sums[3][0]) < 0.2 * sums[0][0], sums
assert sums[0][0] != sums[3][0]
print("fine")
"""


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_groups_caches_precision_and_state(dataset, backend):
    assert run(backend, dataset, script=STEPS) == "fine\n"
