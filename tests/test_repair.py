"""repair brings back the same bytes, or says why it cannot."""

import pytest
import small

from launch.cli import main
from pipeline import repair
from pipeline.errors import DatasetError, InputError

SHARD = "small-train.tfrecord-00001-of-00003"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return small.write_source(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory):
    return small.content(small.convert(source, tmp_path_factory.mktemp("whole")))


@pytest.fixture
def dataset(whole, tmp_path):
    folder = tmp_path / "dataset"
    folder.mkdir()
    for name, data in whole.items():
        (folder / name).write_bytes(data)
    return folder


def test_nothing_to_repair(dataset, whole, source, capsys):
    assert main(["repair", str(dataset), "--source", str(source)]) == 0
    assert "nothing to repair" in capsys.readouterr().out
    assert small.content(dataset) == whole


def test_shards_and_metadata_come_back_and_strays_go(dataset, whole, source, capsys):
    names = list(whole)
    (dataset / names[0]).write_bytes(b"")
    (dataset / "features.json").unlink()
    (dataset / "manifest.json").write_bytes(b"\xff")
    (dataset / SHARD).write_bytes(whole[SHARD][:-1] + b"\0")
    last = "small-train.tfrecord-00002-of-00003"
    (dataset / last).unlink()
    (dataset / f"{last}.tmp-1").write_bytes(b"")
    (dataset / "notes.txt").write_text("mine")
    untouched = "small-train.tfrecord-00000-of-00003"
    before = (dataset / untouched).stat()
    assert main(["repair", str(dataset), "--source", str(source)]) == 0
    told = capsys.readouterr().out
    for name in (SHARD, last, "features.json", "manifest.json"):
        assert f"{name}: rebuilt" in told
    assert f"{last}.tmp-1: removed" in told
    assert small.content(dataset) == {**whole, "notes.txt": b"mine"}
    assert (dataset / untouched).stat() == before


def test_statistics_come_back(dataset, whole, source):
    (dataset / "stats.pb").unlink()
    (dataset / SHARD).unlink()
    done = repair.repair_dataset(str(dataset), str(source))
    assert done.rebuilt == (SHARD, "stats.pb")
    assert done.report.findings == ()
    assert small.content(dataset) == whole


def test_a_source_that_moved_or_changed(dataset, whole, source, tmp_path):
    (dataset / SHARD).unlink()
    moved = small.write_source(tmp_path / "moved")
    labels = moved / "train-labels-idx1-ubyte"
    data = labels.read_bytes()
    labels.write_bytes(data[:-1] + b"\3")
    with pytest.raises(InputError, match="labels-idx1-ubyte: is not the file that was converted"):
        repair.repair_dataset(str(dataset), str(moved))
    labels.write_bytes(data)
    repair.repair_dataset(str(dataset), str(moved))
    assert small.content(dataset) == whole


def test_what_comes_out_otherwise_is_not_put_in_place(dataset, source, monkeypatch):
    (dataset / SHARD).unlink()
    monkeypatch.setattr(repair, "digest_file", lambda path: (0, "another", ""))
    with pytest.raises(DatasetError, match="came out otherwise than it was written"):
        repair.repair_dataset(str(dataset), str(source))
    assert not (dataset / SHARD).exists()
    assert not (dataset / ".recordmill").exists()


def test_no_dataset(tmp_path, dataset, source, capsys):
    file = tmp_path / "a.tfrecord"
    file.write_bytes(b"")
    assert main(["repair", str(file), "--source", str(source)]) == 1
    assert "no dataset of recordmill, and only those can be rebuilt" in capsys.readouterr().err
    for name in ("manifest.json", "manifest.copy.json"):
        (dataset / name).write_bytes(b"[]")
    assert main(["repair", str(dataset), "--source", str(source)]) == 1
    assert "convert its source again, with the same options" in capsys.readouterr().err
