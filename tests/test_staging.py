"""A dataset copied to another disk, shard by shard, checked."""

import shutil

import pytest

import pipeline
from launch.cli import main
from pipeline import staging
from pipeline.errors import DatasetError, UsageError


def shards(folder):
    return sorted(folder.glob("*.tfrecord-*"))


@pytest.fixture
def copy(dataset, tmp_path):
    return tmp_path / "/".join(pipeline.stage(str(dataset), str(tmp_path)).split("/")[-2:])


def test_copy_is_the_dataset(dataset, copy):
    assert [shard.read_bytes() for shard in shards(copy)] == [
        s.read_bytes() for s in shards(dataset)
    ]
    found = pipeline.open_dataset(str(copy)).manifest
    assert found == pipeline.open_dataset(str(dataset)).manifest


def test_what_differs_is_copied_again_and_the_rest_kept(dataset, copy, tmp_path):
    first, *others = shards(copy)
    content = first.read_bytes()
    first.write_bytes(content[:-1] + b"?")
    kept = [shard.stat().st_mtime_ns for shard in others]
    pipeline.stage(str(dataset), str(tmp_path))
    assert first.read_bytes() == content
    assert [shard.stat().st_mtime_ns for shard in others] == kept


def test_damaged_source_is_refused_and_nothing_of_it_is_taken(dataset, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(dataset, broken)
    first = shards(broken)[0]
    first.write_bytes(first.read_bytes()[:-1] + b"?")
    with pytest.raises(DatasetError, match=f"{staging.ATTEMPTS} copies of it differ"):
        pipeline.stage(str(broken), str(tmp_path / "to"))
    left = [path.name for path in (tmp_path / "to").rglob("*") if path.is_file()]
    assert first.name not in left
    assert not [name for name in left if name in ("manifest.json",) or name.endswith(".partial")]


def test_train_of_a_bucket_wants_a_place(tmp_path, capsys):
    line = ["train", "--data=gs://b/d", f"--model_dir={tmp_path}"]
    assert main(line) == UsageError.exit_code
    assert "give --stage_to a folder on a local disk" in capsys.readouterr().err
