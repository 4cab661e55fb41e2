import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
from laws import assert_same_files, contents, messages
from samples import images, joined, labels, planned, write, write_columns, write_mnist, write_shards

import pipeline
from pipeline import conversion
from pipeline import write as write_module
from pipeline.conversion import Convert
from pipeline.errors import OutputError
from pipeline.manifest import load_manifest
from pipeline.order import Permutation

GOLDEN = {
    "00000-of-00003": "d39f8090e3e92038c1ca65f613dae3559a78a085143266288b275b50a50defad",
    "00001-of-00003": "077356250cbeef5e7799321b2c04d50d200c57e000eb87c6da9e16c3e674f842",
    "00002-of-00003": "c45ce8e02cfab5bd7fa7d447b78173aa26b3f19765eb2fe2a5129b9e8e8ab9c2",
    "dataset_info.json": "79d652ad4a07df532c428f2117ef517d9b1f532ad3fe431b5897a9fafeb54fa5",
    "features.json": "02e1a0251a4ce8ddd784941f13ce61c538c96fb5210bec82018bb4432fd43846",
    "label.labels.txt": "880553fca8fcea94e325ee2cfb48e5a985cc797f39a14cc6d3cedecfeb2ae4d2",
    "schema.pbtxt": "2898395af24345642cc31b1db9cc9e38e9c9a62faaebaf8e5fdc3aa0a70694f1",
}


def convert(folder: Path, output: Path, **options: Any) -> conversion.Conversion:
    return pipeline.convert(input=str(folder), output=str(output), **options)


def test_a_tiny_dataset_is_pinned(tmp_path: Path) -> None:
    """Ten records, three shards, byte for byte.

    Everybody who holds a dataset depends on these digests: `verify --source` and `repair` make
    shards anew and compare, a run that goes on keeps the shards of an older version, and papers
    cite a dataset by its digest. A change here is Breaking, and belongs into the changelog.
    """
    columns = {"image": images(10), "label": labels(10) % 3}
    text = 'version = "1.2.3"\n[features.label]\nnames = ["a", "b", "c"]'
    folder = write_columns(tmp_path / "raw", columns, text)
    made = convert(folder, tmp_path / "out", name="golden", num_shards=3, index_feature=True)
    assert made.folder == str(tmp_path / "out" / "golden" / "1.2.3")
    found = {
        name.removeprefix("golden-train.tfrecord-"): hashlib.sha256(content).hexdigest()
        for name, content in contents(Path(made.folder)).items()
    }
    assert {name: found[name] for name in GOLDEN} == GOLDEN
    assert (
        made.manifest.digest == "12b560a666b4b5010e9038064399c15503f3f45e21e138e9feb043832631ee2a"
    )


def test_shards_are_those_of_the_pure_functions(dataset: Path, tmp_path: Path) -> None:
    """Beam adds nothing: each shard is a function of the plan."""
    write_mnist(tmp_path / "made")
    plan = planned(tmp_path / "made", num_shards={"train": 3, "test": 1})
    write_shards(plan, tmp_path / "pure")
    for path in (tmp_path / "pure").iterdir():
        assert path.read_bytes() == (dataset / path.name).read_bytes()


def test_records_out_are_records_in(dataset: Path) -> None:
    """Law 4."""
    opened = pipeline.open_dataset(str(dataset))
    for split, count, first in (("train", 50, 0), ("test", 20, 10_000)):
        found = opened[split][:]
        pairs = sorted(
            (image.tobytes(), int(label))
            for image, label in zip(found["image"], found["label"], strict=True)
        )
        wanted = zip(images(count, first), labels(count), strict=True)
        assert pairs == sorted((image.tobytes(), int(label)) for image, label in wanted)


def test_the_order_is_the_plan_s(dataset: Path) -> None:
    found = pipeline.open_dataset(str(dataset))["test"][:]["image"]
    order = Permutation(20, 0, "test")(np.arange(20))
    np.testing.assert_array_equal(found, images(20, 10_000)[order])


@pytest.mark.parametrize("options", [{}, {"compression": "gzip"}], ids=str)
def test_the_same_plan_gives_the_same_bytes(tmp_path: Path, options: dict[str, Any]) -> None:
    """Law 2: run again, with the input in another folder."""
    raw = write_mnist(tmp_path / "a" / "raw")
    one = convert(raw, tmp_path / "one", num_shards=2, **options)
    shutil.copytree(raw, tmp_path / "b" / "raw")
    two = convert(tmp_path / "b" / "raw", tmp_path / "two", num_shards=2, **options)
    first, second = contents(Path(one.folder)), contents(Path(two.folder))
    assert list(first) == list(second)
    differ = {name for name in first if first[name] != second[name]}
    # Where the input lies stands in the manifest; what was made of it is the same.
    assert differ <= {"manifest.json", "manifest.copy.json"}
    assert one.manifest.digest == two.manifest.digest
    assert one.manifest.plan.digest() == two.manifest.plan.digest()


def test_input_in_gzip_makes_the_same_shards(dataset: Path, tmp_path: Path) -> None:
    raw = write_mnist(tmp_path / "made", ending=".gz")
    made = convert(raw, tmp_path / "out", num_shards={"train": 3, "test": 1})
    assert made.manifest.digest == load_manifest(str(dataset)).digest
    assert not (Path(made.folder) / ".recordmill").exists()


def test_a_second_run_keeps_everything(dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset.parent.parent, tmp_path / "out")
    raw = write_mnist(tmp_path / "made")
    again = convert(raw, tmp_path / "out", num_shards={"train": 3, "test": 1})
    assert (again.kept, again.counters) == (4, {})
    assert_same_files(Path(again.folder), dataset)


@pytest.fixture
def failing_shard(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes one shard fail in the middle of its bytes, as a process that ends there."""

    def arm(name: str) -> None:
        original = write_module._BlockSink.write_encoded_record

        def write_record(self: Any, handle: Any, value: Any) -> None:
            if name and name in self.file_path_prefix.get():
                original(self, handle, value[: len(value) // 2])
                raise KeyboardInterrupt(name)
            original(self, handle, value)

        monkeypatch.setattr(write_module._BlockSink, "write_encoded_record", write_record)

    return arm


def test_a_stopped_run_goes_on(
    tmp_path: Path, failing_shard: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law 5: no reader sees half a dataset, finished shards are kept, the bytes are the same."""
    raw = write_mnist(tmp_path / "raw")
    whole = convert(raw, tmp_path / "whole", num_shards=2)
    failing_shard("-test.tfrecord")
    with pytest.raises(BaseException, match="-test"):
        convert(raw, tmp_path / "out", num_shards=2)
    monkeypatch.undo()
    folder = tmp_path / "out" / "raw" / "1.0.0"
    names = {path.name for path in folder.iterdir()}
    assert "manifest.json" not in names
    with pytest.raises(pipeline.RecordmillError, match=r"no manifest\.json"):
        pipeline.open_dataset(str(folder))
    kept = [path for path in folder.glob("*.tfrecord-*") if ".tmp" not in path.name]
    stamps = {path: path.stat().st_mtime_ns for path in kept}
    again = convert(raw, tmp_path / "out", num_shards=2)
    assert again.kept == len(kept) == 2
    assert {path: path.stat().st_mtime_ns for path in kept} == stamps
    assert_same_files(folder, Path(whole.folder))


@pytest.mark.parametrize("change", [{"num_shards": 1}, {"seed": 5}], ids=str)
def test_another_plan_needs_overwrite(tmp_path: Path, change: dict[str, Any]) -> None:
    raw = write_mnist(tmp_path / "raw", train=9, test=4)
    first = convert(raw, tmp_path / "out", with_statistics=False)
    before = contents(Path(first.folder))
    with pytest.raises(
        OutputError,
        match=r"holds a finished dataset of another plan \(.* was \d+, is \d+.*\); give",
    ):
        convert(raw, tmp_path / "out", **change)
    assert contents(Path(first.folder)) == before
    second = convert(raw, tmp_path / "out", overwrite=True, **change)
    fresh = convert(raw, tmp_path / "fresh", **change)
    assert second.folder == first.folder
    assert_same_files(Path(second.folder), Path(fresh.folder))


def graph_size(plan: pipeline.PlanOptions, folder: Path) -> tuple[int, int]:
    root = beam.Pipeline(runner="FnApiRunner")
    root | Convert(plan, str(folder))
    proto = root.to_runner_api()
    return len(proto.components.transforms), proto.ByteSize()


def test_the_graph_does_not_grow_with_records_or_shards(tmp_path: Path) -> None:
    """Law 8."""
    small = write_mnist(tmp_path / "small" / "raw", train=30)
    large = write_mnist(tmp_path / "large" / "raw", train=30_000)
    few = graph_size(planned(small, num_shards=2), tmp_path)
    many = graph_size(planned(large, num_shards=20_000), tmp_path)
    assert many[0] == few[0]
    # Longer numbers, in the plan that each stage carries.
    assert abs(many[1] - few[1]) < 0.02 * few[1]


def test_an_input_that_changes_during_the_run_is_noticed(
    mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest_source = conversion.digest_source

    def digest_and_touch(part: Any) -> Any:
        told = digest_source(part)
        (mnist / "train-labels-idx1-ubyte").touch()
        return told

    monkeypatch.setattr(conversion, "digest_source", digest_and_touch)
    with pytest.raises(pipeline.RecordmillError, match=r"was changed after the conversion was pla"):
        convert(mnist, tmp_path / "out")
    assert not list(tmp_path.rglob("manifest.json"))


def test_several_files_of_a_column_are_one(tmp_path: Path) -> None:
    for index in range(3):
        write(tmp_path / f"image-{index}.gz", images(4, first=4 * index))
    write(tmp_path / "label", labels(12))
    text = 'name = "parts"\n[splits.train]\nimage = "image-*"\nlabel = "label"'
    (tmp_path / "dataset.toml").write_text(text)
    made = convert(tmp_path, tmp_path / "out", num_shards=2)
    found = pipeline.open_dataset(made.folder)["train"][:]["image"]
    np.testing.assert_array_equal(found, images(12)[Permutation(12, 0, "train")(np.arange(12))])


def test_a_shard_s_records_can_be_read_one_by_one(dataset: Path) -> None:
    content = (dataset / "made-test.tfrecord-00000-of-00001").read_bytes()
    assert len(messages(content)) == 20
    manifest = json.loads((dataset / "manifest.json").read_text())
    assert manifest["splits"]["test"]["records"] == 20


def test_concatenated_shards_do_not_depend_on_their_number(dataset: Path, tmp_path: Path) -> None:
    """Law 3, through Beam; test_write.py draws the numbers."""
    raw = write_mnist(tmp_path / "made")
    made = convert(raw, tmp_path / "out", num_shards=7)
    several = load_manifest(str(dataset)).plan
    for split in ("train", "test"):
        assert joined(made.manifest.plan, Path(made.folder), split) == joined(
            several, dataset, split
        )
