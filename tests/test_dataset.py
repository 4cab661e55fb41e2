import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import assert_flip_found, by_parse_example, messages
from samples import images, labels, write_mnist

import pipeline
from pipeline.dataset import Dataset, find_dataset, open_dataset
from pipeline.errors import DatasetError, UsageError
from pipeline.order import Permutation
from pipeline.tfrecord import FRAME_BYTES

ORDER = Permutation(50, 0, "train")(np.arange(50))
IMAGES, LABELS = images(50)[ORDER], labels(50)[ORDER]
SHARD = "made-train.tfrecord-00001-of-00003"


@pytest.fixture(scope="module")
def opened(dataset: Path) -> Dataset:
    return open_dataset(str(dataset))


@pytest.fixture
def copy(dataset: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(dataset, tmp_path / "copy"))


@pytest.fixture(scope="module")
def zipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zipped")
    write_mnist(folder / "made")
    made = pipeline.convert(
        input=str(folder / "made"),
        output=str(folder / "out"),
        num_shards={"train": 3, "test": 1},
        compression="gzip",
        with_statistics=False,
    )
    return Path(made.folder)


def test_what_a_dataset_tells_of_itself(opened: Dataset, dataset: Path) -> None:
    assert opened.path == str(dataset)
    assert opened.splits == {"train": 50, "test": 20}
    assert [feature.name for feature in opened.features] == ["image", "label"]
    assert opened.random_access
    assert opened.label_names() == ()


def test_each_record_by_number(opened: Dataset) -> None:
    records = opened["train"]
    assert len(records) == 50
    for number in (*range(50), -1, -50, np.int64(7)):
        record = records[number]
        assert (record["image"].dtype, record["label"].dtype) == (np.uint8, np.int64)
        np.testing.assert_array_equal(record["image"], IMAGES[number])
        assert record["label"] == LABELS[number]


INTS = st.integers(-60, 60)
BOUNDS = st.none() | INTS


@given(BOUNDS, BOUNDS, st.sampled_from([None, 1, 2, -1, 7]))
def test_slices_are_those_of_a_list(opened: Dataset, start: Any, stop: Any, step: Any) -> None:
    found = opened["train"][start:stop:step]
    np.testing.assert_array_equal(found["image"], IMAGES[start:stop:step])
    np.testing.assert_array_equal(found["label"], LABELS[start:stop:step])


@given(st.lists(st.integers(-50, 49), max_size=30), st.booleans())
def test_numbers_in_any_order(opened: Dataset, numbers: list[int], as_array: bool) -> None:
    found = opened["train"][np.array(numbers, np.int64) if as_array else numbers]
    np.testing.assert_array_equal(found["image"], IMAGES[np.array(numbers, int)])


@pytest.mark.parametrize("key", [50, -51, [0, 50], np.array([-51])], ids=str)
def test_numbers_out_of_range(opened: Dataset, key: Any) -> None:
    with pytest.raises(IndexError, match=r"record .*-?5[01] of 50|record numbers .* of 50"):
        opened["train"][key]


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 60), st.none() | st.integers(0, 60))
def test_split_expressions_and_ranges_of_them(
    opened: Dataset, a: int, b: int, start: int, stop: int | None
) -> None:
    text = f"train[{a}:]+test+train[:{b}]"
    test = opened["test"][:]["image"]
    wanted = np.concatenate([IMAGES[a:], test, IMAGES[:b]])
    np.testing.assert_array_equal(opened[text][:]["image"], wanted)
    found = [block["image"] for block in opened.blocks(text, start, stop)]
    np.testing.assert_array_equal(np.concatenate([wanted[:0], *found]), wanted[start:stop])


def test_a_batch_as_pytorch_asks_for_it(opened: Dataset) -> None:
    batch = opened["train"].__getitems__([3, 40])
    assert [int(record["label"]) for record in batch] == LABELS[[3, 40]].tolist()


def test_records_travel_to_other_processes(opened: Dataset) -> None:
    again = pickle.loads(pickle.dumps(opened["train[10:]"]))
    np.testing.assert_array_equal(again[:5]["image"], IMAGES[10:15])


def test_a_split_that_is_not_there(opened: Dataset) -> None:
    with pytest.raises(UsageError, match="'dev' is not there; there is train, test"):
        opened["dev"]


def test_the_fast_reader_and_parse_example_give_the_same(opened: Dataset, dataset: Path) -> None:
    """Law 9."""
    content = b"".join(path.read_bytes() for path in sorted(dataset.glob("*-train.tfrecord-*")))
    parsed = by_parse_example(opened.features, messages(content))
    found = opened["train"][:]
    for name, values in parsed.items():
        np.testing.assert_array_equal(found[name], values)
        assert found[name].dtype == values.dtype


@pytest.mark.parametrize("above", [0, 1, 2])
def test_a_folder_above_will_do(dataset: Path, above: int) -> None:
    path = dataset
    for _ in range(above):
        path = path.parent
    assert Path(find_dataset(str(path))) == dataset


def test_no_dataset_and_several(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"none: no manifest\.json at or below it"):
        open_dataset(str(tmp_path / "none"))
    shutil.copytree(copy, tmp_path / "second")
    with pytest.raises(DatasetError, match=r"holds 2 datasets; name one: .*copy, .*second"):
        open_dataset(str(tmp_path))


def test_a_missing_shard_is_found_when_the_dataset_is_opened(copy: Path) -> None:
    (copy / SHARD).unlink()
    with pytest.raises(DatasetError, match=rf"{SHARD}: is missing"):
        open_dataset(str(copy))


def test_every_flipped_byte_of_a_record_is_found(copy: Path) -> None:
    """Law 6: shard and record are named, whatever part of the frame was hit."""
    path, opened = copy / SHARD, open_dataset(str(copy))
    stride = opened.layout.stride
    for offset in range(2 * stride, 3 * stride):
        message = rf"{SHARD}: record 2 at byte {2 * stride}: its checksum does not fit"
        # The first shard has 16 records.
        assert_flip_found(path, offset, lambda: open_dataset(str(copy))["train"][18], message)
    assert stride == len(images(1).tobytes()) + FRAME_BYTES + 34


@pytest.mark.parametrize("offset", [5, 70, 333, 900])
@pytest.mark.parametrize(
    "read",
    [
        lambda ds: ds["train"][:],
        lambda ds: ds["train"][np.arange(49, -1, -1)],
        lambda ds: list(ds.blocks("train")),
        lambda ds: ds.records("train", check="shard")[16],
    ],
    ids=["slice", "numbers", "blocks", "shard"],
)
def test_flipped_bytes_are_found_by_every_way_to_read(copy: Path, offset: int, read: Any) -> None:
    stride = open_dataset(str(copy)).layout.stride
    assert_flip_found(
        copy / SHARD,
        offset,
        lambda: read(open_dataset(str(copy))),
        rf"{SHARD}: record {offset // stride} at byte {offset // stride * stride}: ",
    )


def test_a_record_that_fits_its_own_checksum_but_not_the_manifest(copy: Path) -> None:
    content = (copy / SHARD).read_bytes()
    stride = open_dataset(str(copy)).layout.stride
    (copy / SHARD).write_bytes(content[stride : 2 * stride] + content[stride:])
    with pytest.raises(DatasetError, match=rf"{SHARD}: each record fits its own checksum, but"):
        open_dataset(str(copy)).records("train", check="shard")[16]


def test_without_a_check_damage_is_handed_out(copy: Path) -> None:
    content = bytearray((copy / SHARD).read_bytes())
    content[40] ^= 1
    (copy / SHARD).write_bytes(content)
    found = open_dataset(str(copy), check="none")["train"][:]["image"]
    assert (found != IMAGES).sum() == 1


def test_gzip_is_read_in_order(zipped: Path) -> None:
    opened = open_dataset(str(zipped))
    assert not opened.random_access
    found = [block["image"] for block in opened.blocks("train[10:40]")]
    np.testing.assert_array_equal(np.concatenate(found), IMAGES[10:40])


def test_gzip_cannot_be_read_by_number(zipped: Path) -> None:
    with pytest.raises(DatasetError, match=r"its shards are gzip, which cannot be read by record"):
        open_dataset(str(zipped))["train"]


def test_flipped_bytes_in_gzip_are_found(zipped: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(zipped, tmp_path / "copy"))
    size = (copy / SHARD).stat().st_size
    # Beam leaves bytes 4 to 9 of the header, time and system, without any meaning.
    for offset in (0, 2, *range(10, size, 11), size - 8, size - 1):
        assert_flip_found(
            copy / SHARD,
            offset,
            lambda: list(open_dataset(str(copy)).blocks("train")),
            rf"{SHARD}: ",
        )


def test_reading_needs_neither_beam_nor_tensorflow(dataset: Path) -> None:
    import subprocess
    import sys

    code = (
        f"import sys, pipeline; pipeline.open_dataset({str(dataset)!r})['train'][0];"
        "print(sorted({'apache_beam', 'tensorflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
