"""A run that is stopped, anywhere, ends like one that was not."""

import json
import os
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
from striped import make_dataset

from pipeline.errors import OutputError, UsageError
from train.checkpoint import Checkpoints
from train.options import TrainOptions
from train.signals import Stopped, stop_request
from train.trainer import train

SCRIPT = """
import argparse, sys
import launch.train
from pipeline.errors import RecordmillError
parser = argparse.ArgumentParser()
launch.train.add_arguments(parser)
try:
    launch.train.run(parser.parse_args(), [])
except RecordmillError as error:
    print(error)
    sys.exit(error.exit_code)
"""
FLAGS = (
    *("--model", "mlp", "--epochs", "40", "--batch_size", "16", "--checkpoint_every", "7"),
    *("--augment", "flip,shift=1", "--schedule", "cosine", "--deterministic", "--log_every", "7"),
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("striped"))


def start(dataset, model_dir, **more):
    command = [sys.executable, "-u", "-c", SCRIPT, "--data", dataset, "--model_dir", model_dir]
    return subprocess.Popen(
        [*command, *FLAGS], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more
    )


def weights(model_dir):
    return [np.asarray(v) for v in keras.models.load_model(model_dir / "model.keras").variables]


def stop_at(process, text, number):
    """Sends a signal once a line with this text has come; returns all lines."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            process.send_signal(number)
    process.wait()
    return lines


@pytest.mark.slow
def test_killed_twice_and_terminated_once_it_ends_with_the_same_weights(dataset, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    unbroken = start(dataset, whole)
    stop_at(start(dataset, parts), "step 28/520", signal.SIGKILL)
    second = stop_at(start(dataset, parts), "step 140/520", signal.SIGKILL)
    assert any("going on from step 2" in line for line in second)

    third = start(dataset, parts)
    lines = stop_at(third, "step 301/520", signal.SIGTERM)
    assert third.returncode == 128 + signal.SIGTERM
    assert "stopped by SIGTERM at step 30" in lines[-1]
    assert "start the same command again to go on" in lines[-1]
    assert not (parts / "metrics.json").exists()

    output, _ = start(dataset, parts).communicate()
    assert "going on from step 30" in output
    assert unbroken.communicate()
    assert unbroken.returncode == 0
    for one, other in zip(weights(whole), weights(parts), strict=True):
        assert (one == other).all()
    ends = [json.loads((folder / "metrics.json").read_text()) for folder in (whole, parts)]
    assert ends[0]["loss"] == ends[1]["loss"]
    assert ends[0]["examples"] == ends[1]["examples"] == 8000
    assert not (parts / "checkpoint").exists()


def run(dataset, tmp_path, log=lambda line: None, **more):
    wishes = {"batch_size": 16, "model": "mlp", **more}
    options = TrainOptions(data=dataset, model_dir=str(tmp_path / "model"), **wishes)
    return train(options, log=log)


def stop_after(count):
    """A log that terminates its own process after so many lines of steps."""
    seen = []

    def log(line):
        seen.append(line)
        if "steps/s" in line and sum("steps/s" in s for s in seen) == count:
            os.kill(os.getpid(), signal.SIGTERM)

    return log


def test_other_options_or_data_are_refused_and_overwrite_starts_anew(dataset, tmp_path):
    with pytest.raises(Stopped, match="stopped by SIGTERM at step 4 of 26"):
        run(dataset, tmp_path, epochs=2, log_every=2, log=stop_after(2))
    with pytest.raises(UsageError, match=r"started with seed 0, now 1; give the same .*overwrite"):
        run(dataset, tmp_path, epochs=2, seed=1)
    with pytest.raises(UsageError, match="started with epochs 2, now 3"):
        run(dataset, tmp_path, epochs=3)
    lines = []
    # What changes no step may be changed.
    run(dataset, tmp_path, epochs=2, log_every=13, cache="memory", log=lines.append)
    assert any("going on from step 4 of 26" in line for line in lines)

    with pytest.raises(Stopped):
        run(dataset, tmp_path, epochs=2, log_every=2, log=stop_after(2))
    lines.clear()
    run(dataset, tmp_path, epochs=2, seed=1, overwrite=True, log=lines.append)
    assert not any("going on" in line for line in lines)


def test_a_damaged_checkpoint_is_named(dataset, tmp_path):
    with pytest.raises(Stopped):
        run(dataset, tmp_path, epochs=2, log_every=2, log=stop_after(1))
    path = Checkpoints(tmp_path / "model").newest
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(OutputError, match=r"step-0000000002.npz: is damaged .*delete it to go on"):
        run(dataset, tmp_path, epochs=2)


def test_a_checkpoint_of_another_model_is_refused(dataset, tmp_path, monkeypatch):
    with pytest.raises(Stopped):
        run(dataset, tmp_path, epochs=2, log_every=2, log=stop_after(1))
    checkpoints = Checkpoints(tmp_path / "model")
    arrays, facts = checkpoints.load()
    checkpoints.save(2, arrays[:-1], facts)
    with pytest.raises(UsageError, match="arrays that do not fit this model and optimizer"):
        run(dataset, tmp_path, epochs=2)


def test_a_full_disk_keeps_the_older_checkpoints(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2, 3):
        checkpoints.save(step, [np.full(3, step)], {"step": step})
    assert len(list((tmp_path / "checkpoint").iterdir())) == 2

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="step-0000000004.npz: cannot be written .*make room"):
        checkpoints.save(4, [np.zeros(3)], {})
    arrays, facts = checkpoints.load()
    assert (arrays[0].tolist(), facts) == ([3, 3, 3], {"step": 3})
    checkpoints.clear()
    assert checkpoints.load() is None
    assert not (tmp_path / "checkpoint").exists()


def test_patience_keeps_the_best_weights(dataset, tmp_path):
    lines = []
    metrics = run(
        dataset, tmp_path, epochs=50, patience=2, learning_rate=0.3, log=lines.append, seed=1
    )
    history = json.loads((tmp_path / "model" / "history.json").read_text())
    looks = [point for point in history if point["split"] == "validation"]
    best = min(looks, key=lambda point: point["loss"])
    assert metrics.model_step == best["step"]
    assert metrics.steps == best["step"] + 2 * 13 < 650
    assert any("taking the weights of step" in line for line in lines)


def test_a_second_signal_is_not_held_back():
    # A shell starts what it sends to the background with SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with stop_request() as request:
            signal.raise_signal(signal.SIGINT)
            assert request.name == "SIGINT"
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
