import pickle
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import images, keep, labels, planned, run_beam, write, write_columns, write_mnist

from pipeline import plan as plan_module
from pipeline.errors import InputError, UsageError
from pipeline.read import Blocks, ReadFromIdx, inflate_file, place_of, split_reader


@given(st.integers(0, 100), st.integers(0, 60), st.integers(1, 20))
def test_blocks_cover_a_range(start: int, count: int, step: int) -> None:
    blocks = Blocks(start, start + count, step, range)
    parts = list(blocks)
    assert [i for part in parts for i in part] == list(range(start, start + count))
    assert len(parts) == len(blocks) == -(-count // step)
    assert all(len(part) == step for part in parts[:-1])
    assert list(blocks) == parts


def test_blocks_are_lazy_and_travel() -> None:
    blocks = Blocks(0, 10, 4, range).map(sum)
    assert list(pickle.loads(pickle.dumps(blocks))) == list(blocks) == [6, 22, 17]
    assert len(pickle.dumps(Blocks(0, 10**9, 4, range).map(sum))) < 300


def read(folder: Path, **options: Any) -> tuple[Any, Any]:
    plan = planned(folder, **options)
    return plan, split_reader(plan, "train", {})


def test_a_split_is_read_by_position(mnist: Path) -> None:
    plan, reader = read(mnist, seed=5)
    numbers = plan.order("train")(np.arange(50))
    block = reader(10, 30)
    np.testing.assert_array_equal(block.numbers, numbers[10:30])
    np.testing.assert_array_equal(block.columns["image"], images(50)[numbers[10:30]])
    np.testing.assert_array_equal(block.columns["label"], labels(50)[numbers[10:30]])


def test_a_record_s_place(tmp_path: Path) -> None:
    for index in range(2):
        write(tmp_path / f"part-{index}", images(3))
    write(tmp_path / "label", labels(6))
    text = '[splits.train]\nimage = "part-*"\nlabel = "label"'
    (tmp_path / "dataset.toml").write_text(text)
    _, reader = read(tmp_path, shuffle="none")
    block = reader(2, 6)
    assert block.place("image", 0) == f"{tmp_path}/part-0: record 2"
    assert block.place("image", 1) == f"{tmp_path}/part-1: record 0"
    assert block.place("label", 3) == f"{tmp_path}/label: record 5"
    with pytest.raises(IndexError):
        place_of(block.files["label"], 6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.unlink(), r"was there when the conversion was planned, and is gone"),
        (
            lambda path: path.write_bytes(path.read_bytes() + b"x"),
            r"was changed after the conversion was planned \(planned 1016 bytes, found 1017\)",
        ),
        (lambda path: path.touch(), r"was changed after .*; leave the input alone during a run"),
    ],
)
def test_inputs_that_change_after_the_plan(mnist: Path, change: Any, message: str) -> None:
    plan = planned(mnist)
    change(mnist / "train-images-idx3-ubyte")
    with pytest.raises(InputError, match=rf"train-images-idx3-ubyte: {message}"):
        split_reader(plan, "train", {})


def test_files_are_inflated_once(tmp_path: Path) -> None:
    plan = planned(write_mnist(tmp_path / "raw", ending=".gz"))
    part = plan.sources["train"]["image"][0]
    path, target = inflate_file(part, str(tmp_path / "scratch"))
    assert path == part.path
    assert Path(target).stat().st_size == part.header.file_bytes
    before = Path(target).stat().st_mtime_ns
    assert inflate_file(part, str(tmp_path / "scratch")) == (path, target)
    assert Path(target).stat().st_mtime_ns == before


def test_inflated_files_of_one_name_are_kept_apart(tmp_path: Path) -> None:
    columns = {}
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "x.gz", images(3, first=len(columns)))
        columns[name] = f'{name} = "{name}/x.gz"'
    (tmp_path / "dataset.toml").write_text("[splits.train]\n" + "\n".join(columns.values()))
    parts = planned(tmp_path).source_files()
    targets = {inflate_file(part, str(tmp_path / "scratch"))[1] for part in parts}
    assert len(targets) == 2


def test_the_transform_reads_all_shards_of_a_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_module, "BLOCK_BYTES", 500)
    plan = planned(write_mnist(tmp_path / "raw", ending=".gz"), num_shards=4)

    def build(root: beam.Pipeline) -> None:
        read = root | ReadFromIdx(plan, "train", scratch=str(tmp_path / "scratch"))
        read | beam.Map(keep)

    found = sorted(run_beam(build), key=lambda element: element[0].index)
    assert [shard for shard, _ in found] == plan.split("train").shards()
    assert all(len(blocks) > 1 for _, blocks in found)
    read = np.concatenate([block.columns["image"] for _, blocks in found for block in blocks])
    np.testing.assert_array_equal(read, images(50)[plan.order("train")(np.arange(50))])
    # Only what this split needs was inflated.
    assert len(list((tmp_path / "scratch").iterdir())) == 2


def test_gzip_needs_a_scratch_folder(tmp_path: Path) -> None:
    folder = write_mnist(tmp_path / "raw", ending=".gz")
    with pytest.raises(UsageError, match=r"images-idx3-ubyte\.gz is in gzip: give ReadFromIdx a s"):
        beam.Pipeline() | ReadFromIdx(str(folder))


def test_columns_of_floats_keep_their_byte_order(tmp_path: Path) -> None:
    values = np.linspace(-1, 1, 12).reshape(4, 3)
    _, reader = read(write_columns(tmp_path, {"x": values}), shuffle="none")
    block = reader(0, 4)
    assert block.columns["x"].dtype == ">f8"
    np.testing.assert_array_equal(block.columns["x"], values)
