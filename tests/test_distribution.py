"""Two worker processes on this machine take the same steps as one process."""

import json
import os
import signal
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest
from striped import make_dataset

pytestmark = pytest.mark.slow

# One process that is given the same batches: both workers' parts, side by side.
SCRIPT = """
import sys
import numpy as np
from train import setup
from train.feed import Feed
from train.options import TrainOptions
from train.trainer import train

class BothParts(Feed):
    def __init__(self, *arguments, worker, workers, **more):
        super().__init__(*arguments, worker=0, workers=2, **more)
        self._other = Feed(*arguments, worker=1, workers=2, **more)

    def groups(self, first, last):
        for pair in zip(super().groups(first, last), self._other.groups(first, last), strict=True):
            yield tuple(np.concatenate(parts, axis=1) for parts in zip(*pair, strict=True))

alone = sys.argv[3] == "alone"
if alone:
    setup.Feed = BothParts
train(TrainOptions(
    data=sys.argv[1], model_dir=sys.argv[2], model=sys.argv[4], batch_size=16, epochs=3,
    log_every=2, learning_rate=0.01, weight_decay=0.01, patience=5, checkpoint_every=10,
    augment="flip" if sys.argv[4] == "resnet" else "",
))
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    # 203 records: the workers' parts are of 101 and 102.
    counts = {"train": 203, "validation": 40, "test": 60}
    return make_dataset(tmp_path_factory.mktemp("striped"), counts)


def free_ports(count):
    with_ports = [socket.socket() for _ in range(count)]
    for one in with_ports:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in with_ports]
    for one in with_ports:
        one.close()
    return ports


def start(dataset, folder, kind, model, **environment):
    return subprocess.Popen(
        [sys.executable, "-u", "-c", SCRIPT, dataset, folder, kind, model],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def weights(folder):
    network = keras.models.load_model(folder / "model.keras")
    return [np.asarray(v) for v in network.trainable_variables]


def two_workers(dataset, folder, model, other=None):
    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    processes = []
    for index in range(2):
        task = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        place = other if other and index else folder
        processes.append(start(dataset, place, "worker", model, TF_CONFIG=json.dumps(task)))
    return processes


def test_two_workers_end_with_the_weights_of_one_process(dataset, tmp_path):
    processes = two_workers(dataset, tmp_path / "two", "mlp")
    one = start(dataset, tmp_path / "one", "alone", "mlp")
    for process in (one, *processes):
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    alone, together = (
        json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two")
    )
    assert together["choices"]["workers"] == 2
    assert together["examples"] == alone["examples"] == 3 * 203
    assert together["loss"] == pytest.approx(alone["loss"], rel=1e-3)
    for a, b in zip(weights(tmp_path / "one"), weights(tmp_path / "two"), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-5)
    # The second worker has nothing to say and writes nothing.
    assert output == ""
    assert len(list((tmp_path / "two" / "logs").iterdir())) == 1


def test_a_worker_that_is_terminated_stops_both_and_both_go_on(dataset, tmp_path):
    """With batch normalisation and augmentation, whose state each worker has."""
    processes = two_workers(dataset, tmp_path / "two", "resnet")
    for line in processes[0].stdout:
        if "step 6/" in line:
            processes[1].send_signal(signal.SIGTERM)
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert "stopped by" in errors
    assert not (tmp_path / "two" / "metrics.json").exists()

    processes = two_workers(dataset, tmp_path / "two", "resnet")
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert "going on from step" in outputs[0][0]
    assert json.loads((tmp_path / "two" / "metrics.json").read_text())["steps"] == 39


def test_workers_that_share_no_folder_are_told(dataset, tmp_path):
    processes = two_workers(dataset, tmp_path / "begun", "mlp")
    for line in processes[0].stdout:
        if "step 6/" in line:
            processes[1].send_signal(signal.SIGTERM)
    for process in processes:
        process.communicate(timeout=300)
    processes = two_workers(dataset, tmp_path / "begun", "mlp", other=tmp_path / "other")
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert "other workers found another checkpoint" in errors
