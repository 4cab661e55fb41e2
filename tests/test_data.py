import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from laws import assert_flip_found
from samples import images, labels, write_columns, write_mnist

import pipeline
from pipeline.errors import DatasetError, UsageError
from pipeline.order import Permutation
from train import data
from train.data import load

ORDER = Permutation(50, 0, "train")(np.arange(50))
IMAGES, LABELS = images(50)[ORDER], labels(50)[ORDER]
SHARD = "made-train.tfrecord-00001-of-00003"


@pytest.fixture(scope="module", params=["none", "gzip"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A dataset whose records are read by number, and one that is read in sequence."""
    folder = tmp_path_factory.mktemp("data")
    write_mnist(folder / "made")
    made = pipeline.convert(
        input=str(folder / "made"),
        output=str(folder / "out"),
        num_shards={"train": 3, "test": 1},
        compression=request.param,
        with_statistics=False,
    )
    return made.folder


def joined(batches: tf.data.Dataset, name: str = "image") -> Any:
    parts = [batch[name].numpy() for batch in batches]
    return np.concatenate(parts) if parts else np.empty((0, 5, 4), np.uint8)


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize(
    ("split", "start", "stop"),
    [("train", 0, 50), ("train[:80%]", 0, 40), ("train[20:45]", 20, 45), ("train[7:7]", 7, 7)],
)
def test_batches_in_the_shards_order(
    made: str, split: str, start: int, stop: int, cache: bool
) -> None:
    batches = load(made, split, 16, cache=cache)
    spec = batches.element_spec
    assert (spec["image"].shape[1:], spec["image"].dtype) == ((5, 4), tf.uint8)
    assert (spec["label"].shape.rank, spec["label"].dtype) == (1, tf.int64)
    sizes = [len(batch["label"]) for batch in batches]
    assert len(sizes) == batches.cardinality() == -(-(stop - start) // 16)
    assert all(size == 16 for size in sizes[:-1])
    np.testing.assert_array_equal(joined(batches), IMAGES[start:stop])
    if sizes:
        np.testing.assert_array_equal(joined(batches, "label"), LABELS[start:stop])


def test_several_splits(made: str) -> None:
    found = joined(load(made, "test[:5]+train", 7))
    np.testing.assert_array_equal(found[5:], IMAGES)


@pytest.mark.parametrize("drop", [False, True])
def test_the_last_batch(made: str, drop: bool) -> None:
    batches = load(made, "train", 16, drop_remainder=drop)
    assert [len(batch["label"]) for batch in batches] == [16, 16, 16] + ([] if drop else [2])
    assert batches.cardinality() == (3 if drop else 4)


def test_repeat(made: str) -> None:
    batches = load(made, "train", 20, repeat=True)
    assert batches.cardinality() == tf.data.INFINITE_CARDINALITY
    found = joined(batches.take(10))
    np.testing.assert_array_equal(found, np.concatenate([IMAGES] * 4))


def keys(batches: tf.data.Dataset) -> list[int]:
    return [int(image[0, 0]) for image in joined(batches)]


@pytest.mark.parametrize("buffer", [10, 50, 1000])
def test_shuffled_epochs_hold_every_record_once(made: str, buffer: int) -> None:
    batches = load(made, "train", 16, shuffle_buffer=buffer, seed=1)
    assert batches.cardinality() == 4
    first, second = keys(batches), keys(batches)
    assert sorted(first) == sorted(second) == list(range(50))
    assert len({tuple(first), tuple(second), tuple(IMAGES[:, 0, 0].tolist())}) == 3


def test_a_seed_makes_the_orders_repeatable(made: str) -> None:
    def epochs(seed: int | None) -> list[list[int]]:
        batches = load(made, "train", 16, shuffle_buffer=50, seed=seed)
        return [keys(batches), keys(batches)]

    assert epochs(1) == epochs(1)
    assert epochs(1) != epochs(2)
    assert epochs(None) != epochs(None)


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_share_the_records(made: str, workers: int) -> None:
    found = []
    for worker in range(workers):
        context = tf.distribute.InputContext(workers, worker)
        found += keys(load(made, "train", 4, input_context=context))
    assert found == IMAGES[:, 0, 0].tolist()


def test_blocks_larger_than_one_fetch(made: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "FETCH_BYTES", 70 * 8)
    np.testing.assert_array_equal(joined(load(made, "train", 4)), IMAGES)
    assert sorted(keys(load(made, "train", 4, shuffle_buffer=9, seed=0))) == list(range(50))


@pytest.fixture
def copy(made: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "copy"))


OPTIONS: list[dict[str, Any]] = [{}, {"cache": True}, {"shuffle_buffer": 50}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_corrupt_data_never_reaches_training(copy: Path, options: dict[str, Any]) -> None:
    """Law 6: the error names shard and, where the file is not in gzip, the record."""
    zipped = (copy / SHARD).read_bytes()[:2] == b"\x1f\x8b"
    place = "" if zipped else r"record 5 at byte 350"
    assert_flip_found(
        copy / SHARD,
        370,
        lambda: joined(load(str(copy), "train", 16, **options)),
        rf"{SHARD}: {place}",
    )


def test_a_shuffled_large_split_is_compared_record_by_record(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "WHOLE_CHECK_BYTES", 0)
    assert sorted(keys(load(str(copy), "train", 16, shuffle_buffer=50))) == list(range(50))
    assert_flip_found(
        copy / SHARD,
        370,
        lambda: joined(load(str(copy), "train", 16, shuffle_buffer=50)),
        rf"{SHARD}: ",
    )


def test_without_a_check_damage_comes_through(dataset: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(dataset, tmp_path / "copy")
    content = bytearray((copy / SHARD).read_bytes())
    content[350 + 40] ^= 1
    (copy / SHARD).write_bytes(content)
    assert (joined(load(str(copy), "train", 16, check=False)) != IMAGES).sum() == 1


def test_every_kind_of_feature_keeps_its_dtype(tmp_path: Path) -> None:
    columns = {
        "wide": np.linspace(-1, 1, 12).reshape(4, 3),
        "small": np.arange(4, dtype=np.int16),
        "weight": np.float32([0.5, 1, 2, 4]),
        "half": np.arange(8, dtype=np.uint8).reshape(4, 2),
    }
    made = pipeline.convert(
        input=str(write_columns(tmp_path, columns, '[features.half]\ndtype = "float16"')),
        output=str(tmp_path / "out"),
        shuffle="none",
        shape_features=False,
        index_feature=True,
        with_statistics=False,
    )
    found = next(iter(load(made.folder, "train", 4)))
    assert {name: values.dtype.name for name, values in found.items()} == {
        "wide": "float64",
        "small": "int64",
        "weight": "float32",
        "half": "float16",
        "index": "int64",
    }
    for name, values in columns.items():
        np.testing.assert_array_equal(found[name], values)
    np.testing.assert_array_equal(found["index"], range(4))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"split": "dev"}, UsageError, r"split 'dev' is not there; there is train, test"),
        ({"batch_size": 0}, UsageError, r"batch_size 0, shuffle_buffer 0: wanted 1 or more"),
        ({"shuffle_buffer": -1}, UsageError, r"shuffle_buffer -1: wanted"),
        ({"dataset": "/none"}, DatasetError, r"/none: no manifest\.json at or below it"),
    ],
)
def test_what_cannot_be_loaded(
    dataset: Path, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        load(**{"dataset": str(dataset), **arguments})


def test_a_strategy_distributes_it(made: str) -> None:
    strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
    spread = strategy.distribute_datasets_from_function(
        lambda context: load(made, "train", 10, input_context=context)
    )
    assert sum(int(batch["label"].shape[0]) for batch in spread) == 50
