"""Equal records are found wherever they stand, and counted exactly."""

import json

import numpy as np
import pytest
import small

from launch.cli import main
from pipeline import duplicates
from pipeline.dataset import open_dataset
from pipeline.errors import OutputError
from pipeline.idx import write_idx
from pipeline.manifest import load_manifest


@pytest.fixture
def source(tmp_path):
    """Train 1, 2, 3 and test 0 are equal; 5 and 6 too, with another label; test 4 and 5."""
    folder = small.write_source(tmp_path / "source")
    images = {
        split: np.fromfile(folder / f"{split}-images-idx3-ubyte", np.uint8)[16:].reshape(-1, 4, 3)
        for split in ("train", "t10k")
    }
    labels = np.arange(30, dtype=np.uint8) % 10
    images["train"][[2, 3]] = images["t10k"][0] = images["train"][1]
    labels[[1, 2, 3]] = 0
    images["train"][6] = images["train"][5]
    images["t10k"][5] = images["t10k"][4]
    tests = np.arange(10, dtype=np.uint8)
    tests[5] = 4
    for split, values in images.items():
        write_idx(str(folder / f"{split}-images-idx3-ubyte"), values)
    write_idx(str(folder / "train-labels-idx1-ubyte"), labels)
    write_idx(str(folder / "t10k-labels-idx1-ubyte"), tests)
    return folder


WANTED = {
    "duplicate_groups": 3,
    "duplicate_groups_with_other_labels": 1,
    "duplicates_inside_test": 1,
    "duplicates_inside_train": 3,
    "duplicates_of_train_in_test": 1,
}


def groups(folder):
    """Contents of each listed group, read back from where it is said to be."""
    dataset = open_dataset(str(folder))
    told = json.loads((folder / "duplicates.json").read_text())
    for group in told["groups"]:
        images = []
        for split, shard, record in group["at"]:
            entries = dataset.manifest.splits[split]
            first = sum(entry.records for entry in entries[:shard])
            images.append(dataset[split][first + record]["image"].tobytes())
        yield group, images


def test_they_are_listed_and_counted(source, tmp_path, capsys):
    folder = small.convert(source, tmp_path / "out", "--check_duplicates", "--index_feature")
    counters = load_manifest(str(folder)).counters
    assert {k: v for k, v in counters.items() if k.startswith("dup")} == WANTED
    found = list(groups(folder))
    assert [g["records"] for g, _ in found].count({"train": 3, "test": 1}) == 1
    assert {g["labels"] for g, _ in found if "test" in g["records"]} == {"agree"}
    assert all(len(set(images)) == 1 and len(images) > 1 for _, images in found)
    assert main(["verify", str(folder), "--duplicates"]) == 0
    told = capsys.readouterr().out
    assert "duplicates of train in test: 1\n" in told
    assert "duplicate groups with other labels: 1\n" in told
    assert main(["verify", str(folder), "--duplicates", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["duplicates"]
    assert listed == json.loads((folder / "duplicates.json").read_text())


def test_many_buckets_and_gzip_find_the_same(source, tmp_path, monkeypatch):
    monkeypatch.setattr(duplicates, "BUCKET_RECORDS", 3)
    flags = ("--check_duplicates", "--compression", "gzip")
    folder = small.convert(source, tmp_path / "a", *flags)
    monkeypatch.undo()
    whole = small.convert(source, tmp_path / "b", *flags)
    assert small.content(folder) == small.content(whole)


def test_what_is_listed_is_bounded(monkeypatch):
    monkeypatch.setattr(duplicates, "MAX_IN_GROUP", 2)
    monkeypatch.setattr(duplicates, "MAX_GROUPS", 1)
    hashed = np.zeros(7, duplicates.HASHED)
    hashed["high"] = [1, 1, 1, 2, 2, 3, 4]
    hashed["record"] = np.arange(7)[::-1]
    counters, listed = duplicates.find_groups([hashed[:3].tobytes(), hashed[3:].tobytes()], ["a"])
    assert counters["duplicates_inside_a"] == 3
    (group,) = listed
    assert (group["records"], group["at"]) == ({"a": 2}, [["a", 0, 2], ["a", 0, 3]])


def test_no_duplicates_and_no_records():
    assert duplicates.find_groups([], ["a"]) == ({}, [])
    assert duplicates.summarize([], ["a"])[0] == {
        "duplicate_groups": 0,
        "duplicate_groups_with_other_labels": 0,
    }


def test_labels_alone(tmp_path):
    write_idx(str(tmp_path / "train-labels-idx1-ubyte"), np.array([1, 2, 1], np.uint8))
    assert (
        main(
            [
                "convert",
                "--input",
                str(tmp_path),
                "--output",
                str(tmp_path / "out"),
                "--quiet",
                "--name",
                "x",
                "--check_duplicates",
            ]
        )
        == 0
    )
    counters = load_manifest(str(tmp_path / "out/x/1.0.0")).counters
    assert counters["duplicates_inside_train"] == 1


def test_a_dataset_that_was_finished_without(source, tmp_path, capsys):
    small.convert(source, tmp_path / "out")
    flags = ["convert", "--input", str(source), "--output", str(tmp_path / "out"), "--quiet"]
    code = main([*flags, "--num_shards", "train=3,test=2", "--check_duplicates"])
    assert code == OutputError.exit_code
    assert "without a look for duplicates; run recordmill verify --duplicates" in (
        capsys.readouterr().err
    )
    assert main(["verify", str(source), "--duplicates"]) == 1
