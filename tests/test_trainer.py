import argparse
import contextlib
import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from matplotlib.image import imread

import launch.train
from pipeline.errors import DatasetError, OutputError, UsageError
from pipeline.features import Feature
from train import feed
from train.options import TrainOptions
from train.trainer import train

SHAPE, CLASSES = (6, 5), ("left", "middle", "right")
COUNTS = {"train": 200, "validation": 40, "test": 60}


def images(count, seed):
    """One bright column on noise; where it stands is the class."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, len(CLASSES), count)
    values = random.integers(0, 100, (count, *SHAPE)).astype(np.uint8)
    values[np.arange(count), :, labels * 2] = 255
    return values, labels


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    """A dataset in memory behind the functions that open and load one."""
    folder = tmp_path / "dataset"
    folder.mkdir()
    (folder / "manifest.json").write_text("{}")
    arrays = {split: images(count, seed) for seed, (split, count) in enumerate(COUNTS.items())}

    class Fake(dict):
        path = folder
        splits = property(lambda self: tuple(self))
        features = (
            Feature(name="image", column="image", encoding="bytes", dtype="uint8", shape=SHAPE),
            Feature(
                name="label",
                column="label",
                encoding="int64_list",
                dtype="int64",
                num_classes=len(CLASSES),
                names=CLASSES,
            ),
        )

    fake = Fake({split: range(count) for split, count in COUNTS.items()})

    def load(path, split, batch_size, *, shuffle_buffer=0, seed=None):
        import tensorflow as tf

        assert path == str(folder)
        data = tf.data.Dataset.from_tensor_slices(
            dict(zip(("image", "label"), arrays[split], strict=True))
        )
        if shuffle_buffer:
            data = data.shuffle(shuffle_buffer, seed=seed)
        return data.batch(batch_size)

    monkeypatch.setattr("pipeline.open_dataset", lambda path: fake)
    monkeypatch.setattr(feed, "load", load)
    return fake


def options(dataset, tmp_path, **more):
    return TrainOptions(
        data=str(dataset.path), model_dir=str(tmp_path / "model"), batch_size=16, **more
    )


def run_command(*arguments):
    parser = argparse.ArgumentParser()
    launch.train.add_arguments(parser)
    return launch.train.run(parser.parse_args(list(map(str, arguments))), [])


def test_learns_and_writes_everything(dataset, tmp_path):
    lines = []
    metrics = train(options(dataset, tmp_path, epochs=3), log=lines.append)
    folder = tmp_path / "model"
    assert metrics.accuracy > 0.9
    assert (metrics.steps, metrics.examples, metrics.epochs) == (39, 600, 3.0)
    assert metrics.validation["accuracy"] > 0.9
    assert metrics.classes["left"]["recall"] > 0.8
    assert json.loads((folder / "metrics.json").read_text())["accuracy"] == metrics.accuracy
    assert {p.name for p in folder.iterdir()} == {
        "model.keras",
        "metrics.json",
        "history.json",
        "learning_curves.png",
        "confusion_matrix.png",
    }
    assert imread(folder / "learning_curves.png").size
    assert "training article" in lines[0]
    assert "6x5, 3 classes" in lines[0]

    saved = keras.models.load_model(folder / "model.keras")
    values, labels = images(60, 9)
    assert (saved.predict(values, verbose=0).argmax(-1) == labels).mean() > 0.9


def test_history_has_points_of_all_splits(dataset, tmp_path):
    train(options(dataset, tmp_path, epochs=2), log=lambda line: None)
    history = json.loads((tmp_path / "model" / "history.json").read_text())
    steps = {
        split: [p["step"] for p in history if p["split"] == split]
        for split in ("train", "validation", "test")
    }
    assert steps["train"][-1] == 26
    assert steps["validation"] == [13, 26]
    assert steps["test"] == [26]


def test_steps_end_in_the_midst_of_an_epoch_with_a_line_each_so_many(dataset, tmp_path):
    lines = []
    metrics = train(options(dataset, tmp_path, steps=20, log_every=5), log=lines.append)
    assert (metrics.steps, metrics.examples) == (20, 200 + 7 * 16)
    assert [line.split(":")[0] for line in lines if "steps/s" in line] == [
        f"step {step}/20" for step in (5, 10, 15, 20)
    ]
    assert "accuracy 0." in lines[1]


def test_same_seed_same_weights_and_another_seed_others(dataset, tmp_path):
    losses = [
        train(options(dataset, tmp_path, steps=4, seed=seed), log=lambda line: None).loss
        for seed in (1, 1, 2)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert losses[0] != pytest.approx(losses[2], rel=1e-3)


@pytest.mark.parametrize(
    "change", [{"learning_rate": 0.1}, {"batch_size": 8}, {"shuffle_buffer": 0}]
)
def test_each_option_changes_the_result(dataset, tmp_path, change):
    base = {"data": str(dataset.path), "model_dir": str(tmp_path / "model"), "batch_size": 16}
    plain = train(TrainOptions(**base, steps=4), log=lambda line: None)
    other = train(TrainOptions(**{**base, **change}, steps=4), log=lambda line: None)
    assert plain.loss != pytest.approx(other.loss, rel=1e-4)


def test_progress_counts_every_example(dataset, tmp_path):
    seen = []
    bar = SimpleNamespace(update=seen.append, set_postfix_str=lambda text, refresh: None)

    def progress(total, description, unit):
        seen.append(SimpleNamespace(total=total, unit=unit))
        return contextlib.nullcontext(bar)

    train(options(dataset, tmp_path, epochs=1), log=lambda line: None, progress=progress)
    assert seen[0] == SimpleNamespace(total=200, unit="examples")
    assert sum(seen[1:]) == 200


def test_the_command_takes_its_flags(dataset, tmp_path, capsys):
    model_dir = tmp_path / "model"
    assert (
        run_command(
            *("--data", dataset.path, "--model_dir", model_dir, "--preset", "article"),
            *("--steps", 10, "--log_every", 4, "--batch_size", 8, "--seed", 3),
            *("--learning_rate", 0.01, "--shuffle_buffer", 50),
            *("--image_feature", "image", "--label_feature", "label"),
        )
        == 0
    )
    found = json.loads((model_dir / "metrics.json").read_text())
    wanted = {"steps": 10, "log_every": 4, "batch_size": 8, "seed": 3, "learning_rate": 0.01}
    assert found["options"].items() >= {**wanted, "shuffle_buffer": 50}.items()
    out = capsys.readouterr().out
    assert "step 8/10" in out
    assert "test: loss" in out


def test_a_model_dir_that_is_a_file_is_found_before_training(dataset, tmp_path):
    (tmp_path / "model").write_text("")
    with pytest.raises(OutputError, match="--model_dir .*model: cannot be written"):
        train(options(dataset, tmp_path), log=pytest.fail)


def test_a_full_disk_is_found_before_training(dataset, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="cannot be written .No space left on device"):
        train(options(dataset, tmp_path), log=pytest.fail)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_missing_split(dataset, tmp_path, split):
    del dataset[split]
    with pytest.raises(DatasetError, match=f"has no split '{split}'; there is "):
        train(options(dataset, tmp_path), log=pytest.fail)


def test_an_empty_split(dataset, tmp_path):
    dataset["train"] = range(0)
    with pytest.raises(DatasetError, match="split 'train' has no records"):
        train(options(dataset, tmp_path), log=pytest.fail)


def test_an_unknown_feature(dataset, tmp_path):
    with pytest.raises(UsageError, match="--label_feature digit: is no feature"):
        train(options(dataset, tmp_path, label_feature="digit"), log=pytest.fail)


def test_a_failed_write_leaves_no_metrics(dataset, tmp_path, monkeypatch):
    train(options(dataset, tmp_path, steps=1), log=lambda line: None)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("train.pictures.confusion_matrix", full)
    with pytest.raises(OutputError, match=r"confusion_matrix.png: cannot be written .*make room"):
        train(options(dataset, tmp_path, steps=1), log=lambda line: None)
    left = {p.name for p in (tmp_path / "model").iterdir()}
    assert "metrics.json" not in left
    assert not [name for name in left if name.startswith(".partial")]
