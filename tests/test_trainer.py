import argparse
import contextlib
import json
from types import SimpleNamespace

import keras
import pytest
from matplotlib.image import imread
from striped import CLASSES, images, make_dataset

import launch.train
from pipeline.errors import DatasetError, OutputError, UsageError
from train.options import TrainOptions
from train.trainer import train


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("striped"))


def run(dataset, tmp_path, log=lambda line: None, progress=None, **more):
    wishes = {"batch_size": 16, "model": "mlp", **more}
    options = TrainOptions(data=dataset, model_dir=str(tmp_path / "model"), **wishes)
    return train(options, log=log, progress=progress)


def run_command(*arguments):
    parser = argparse.ArgumentParser()
    launch.train.add_arguments(parser)
    return launch.train.run(parser.parse_args(list(map(str, arguments))), [])


def test_learns_and_writes_everything(dataset, tmp_path):
    lines = []
    metrics = run(dataset, tmp_path, log=lines.append, model="article", epochs=3)
    folder = tmp_path / "model"
    assert metrics.accuracy > 0.9
    assert (metrics.steps, metrics.examples, metrics.epochs) == (39, 600, 3.0)
    assert metrics.validation["accuracy"] > 0.9
    assert metrics.classes["left"]["recall"] > 0.8
    assert 0 < metrics.input_wait_share < 1
    assert json.loads((folder / "metrics.json").read_text())["accuracy"] == metrics.accuracy
    assert {p.name for p in folder.iterdir()} == {
        *("model.keras", "saved_model", "metrics.json", "history.json", "logs"),
        *("learning_curves.png", "confusion_matrix.png", "worst_mistakes.png"),
    }
    assert imread(folder / "learning_curves.png").size
    assert "training article" in lines[0]
    assert "6x5, 3 classes" in lines[0]
    assert lines[-1].endswith("worst_mistakes.png, saved_model/")

    saved = keras.models.load_model(folder / "model.keras")
    values, labels = images(60, 9)
    assert (saved.predict(values, verbose=0).argmax(-1) == labels).mean() > 0.9


def test_history_has_points_of_all_splits(dataset, tmp_path):
    run(dataset, tmp_path, epochs=2)
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
    metrics = run(dataset, tmp_path, log=lines.append, steps=20, log_every=5)
    assert (metrics.steps, metrics.examples) == (20, 200 + 7 * 16)
    assert [line.split(":")[0] for line in lines if "steps/s" in line] == [
        f"step {step}/20" for step in (5, 10, 15, 20)
    ]
    assert "accuracy 0." in lines[1]


def test_same_seed_same_weights_and_another_seed_others(dataset, tmp_path):
    losses = [run(dataset, tmp_path, steps=4, seed=seed).loss for seed in (1, 1, 2)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert losses[0] != pytest.approx(losses[2], rel=1e-3)


@pytest.fixture(scope="module")
def plain(dataset, tmp_path_factory):
    return run(dataset, tmp_path_factory.mktemp("plain"), steps=8)


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 0.1},
        {"batch_size": 8},
        {"shuffle_buffer": 0},
        {"model": "article"},
        {"optimizer": "sgd"},
        {"schedule": "cosine"},
        {"warmup": 0.5},
        {"weight_decay": 0.9},
        {"label_smoothing": 0.3},
        {"augment": "flip=1"},
        {"precision": "bfloat16"},
    ],
    ids=str,
)
def test_each_option_changes_the_result(dataset, plain, tmp_path, change):
    other = run(dataset, tmp_path, steps=8, **change)
    assert plain.loss != pytest.approx(other.loss, rel=1e-4)


@pytest.fixture(scope="module")
def unmixed(dataset, tmp_path_factory):
    """Without a shuffle, tf.data and the caches see the same order."""
    return run(dataset, tmp_path_factory.mktemp("unmixed"), steps=20, shuffle_buffer=0)


@pytest.mark.parametrize(
    "change", [{"jit": "on"}, {"steps_per_execution": 5}, {"cache": "memory"}, {"cache": "device"}]
)
def test_how_it_runs_changes_the_choices_and_not_the_steps(dataset, unmixed, tmp_path, change):
    other = run(dataset, tmp_path, steps=20, shuffle_buffer=0, **change)
    assert other.loss == pytest.approx(unmixed.loss, rel=1e-3)
    assert other.steps == 20
    wanted = {k: {"on": True}.get(v, v) for k, v in change.items()}
    assert other.choices.items() >= wanted.items()


def test_progress_counts_every_example(dataset, tmp_path):
    seen, texts = [], []
    bar = SimpleNamespace(
        update=seen.append, set_postfix_str=lambda text, refresh: texts.append(text)
    )

    def progress(total, desc, unit, initial):
        assert (total, unit, initial) == (200, "examples", 0)
        return contextlib.nullcontext(bar)

    run(dataset, tmp_path, epochs=1, progress=progress)
    assert sum(seen) == 200
    assert "input wait" in texts[-1]


def test_the_command_takes_its_flags(dataset, tmp_path, capsys):
    model_dir = tmp_path / "model"
    wanted = {
        **{"model": "mlp", "steps": 10, "log_every": 4, "batch_size": 8, "seed": 3},
        **{"learning_rate": 0.01, "shuffle_buffer": 50, "optimizer": "sgd", "schedule": "cosine"},
        **{"warmup": 0.1, "weight_decay": 0.01, "label_smoothing": 0.1, "augment": "flip"},
        **{"precision": "float32", "jit": "off", "steps_per_execution": 2, "cache": "memory"},
        **{"checkpoint_every": 4, "patience": 3, "profile": "2:4"},
        **{"image_feature": "image", "label_feature": "label"},
    }
    flags = [part for name, value in wanted.items() for part in (f"--{name}", value)]
    assert run_command("--data", dataset, "--model_dir", model_dir, *flags) == 0
    found = json.loads((model_dir / "metrics.json").read_text())
    assert found["options"].items() >= wanted.items()
    out = capsys.readouterr().out
    assert "step 8/10" in out
    assert "test: loss" in out


def test_one_hot_labels_and_float_images(tmp_path):
    article = make_dataset(tmp_path, example_format="article")
    metrics = run(article, tmp_path, epochs=2, model="article")
    assert metrics.accuracy > 0.8
    cached = run(article, tmp_path, epochs=2, model="article", cache="memory", shuffle_buffer=0)
    assert cached.accuracy > 0.8
    assert list(metrics.classes) == list(CLASSES)


def test_a_compressed_dataset(tmp_path):
    packed = make_dataset(tmp_path, compression="gzip")
    assert run(packed, tmp_path, epochs=2).steps == 26


def test_a_model_dir_that_is_a_file_is_found_before_training(dataset, tmp_path):
    (tmp_path / "model").write_text("")
    with pytest.raises(OutputError, match="--model_dir .*model: cannot be written"):
        run(dataset, tmp_path, log=pytest.fail)


def test_a_full_disk_is_found_before_training(dataset, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="cannot be written .No space left on device"):
        run(dataset, tmp_path, log=pytest.fail)


def test_a_missing_split(tmp_path):
    only = make_dataset(tmp_path, {"train": 20})
    with pytest.raises(DatasetError, match="has no split 'test'; there is train"):
        run(only, tmp_path, log=pytest.fail)


def test_patience_needs_validation(tmp_path):
    short = make_dataset(tmp_path, {"train": 20, "test": 5})
    with pytest.raises(DatasetError, match="has no split 'validation'"):
        run(short, tmp_path, log=pytest.fail, patience=1)
    assert run(short, tmp_path, epochs=1).validation is None


def test_a_flipped_byte_is_an_error_that_names_shard_and_record(tmp_path):
    damaged = make_dataset(tmp_path)
    shard = next(p for p in (tmp_path / "out").rglob("*train*-00001-of-*"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    with pytest.raises(DatasetError, match=rf"{shard.name}: record \d+ at byte"):
        run(damaged, tmp_path, epochs=1)
    assert not (tmp_path / "model" / "metrics.json").exists()


def test_an_unknown_feature(dataset, tmp_path):
    with pytest.raises(UsageError, match="--label_feature digit: is no feature"):
        run(dataset, tmp_path, log=pytest.fail, label_feature="digit")


def test_a_failed_write_leaves_no_metrics(dataset, tmp_path, monkeypatch):
    run(dataset, tmp_path, steps=1)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("train.pictures.confusion_matrix", full)
    with pytest.raises(OutputError, match=r"confusion_matrix.png: cannot be written .*make room"):
        run(dataset, tmp_path, steps=1)
    left = {p.name for p in (tmp_path / "model").iterdir()}
    assert "metrics.json" not in left
    assert not [name for name in left if name.startswith(".partial")]
