import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from laws import assert_flip_found, assert_same_files
from samples import planned, write_shards

from pipeline.errors import DatasetError, OutputError
from pipeline.manifest import (
    MANIFEST,
    Manifest,
    check_shards,
    load_manifest,
    make_manifest,
    publish,
)
from pipeline.write import Receipt, digest_file

SOURCES = [("b", 2, "bb"), ("a", 1, "aa"), ("b", 2, "bb")]


@pytest.fixture
def receipts(mnist: Path, tmp_path: Path) -> list[Receipt]:
    return write_shards(planned(mnist, num_shards=3), tmp_path / "out")


def test_what_was_written_is_told(mnist: Path, tmp_path: Path, receipts: list[Receipt]) -> None:
    plan = planned(mnist, num_shards=3)
    manifest = make_manifest(plan, reversed(receipts), SOURCES)
    assert manifest.counters == {
        "records": 70,
        "num_bytes": 70 * plan.stride,
        "shards": 6,
        **{k: v for k, v in manifest.counters.items() if k == "bad_records"},
    }
    assert [source["name"] for source in manifest.sources] == ["a", "b"]
    assert list(manifest.splits) == ["train", "test"]
    for entry in manifest.splits["train"]:
        found = digest_file(str(tmp_path / "out" / entry.file))
        assert found == (entry.num_bytes, entry.sha256, entry.crc32c)
    assert [entry.records for entry in manifest.splits["train"]] == [16, 17, 17]
    assert (manifest.count("train"), manifest.count("test")) == (50, 20)


def test_publish_writes_the_manifest_last(
    mnist: Path, tmp_path: Path, receipts: list[Receipt], monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: written.append(Path(b).name) or replace(a, b))
    manifest = make_manifest(planned(mnist, num_shards=3), receipts, SOURCES)
    publish(str(tmp_path / "out"), manifest)
    assert written[-1] == MANIFEST
    assert {"dataset_info.json", "features.json", "schema.pbtxt"} < set(written)
    assert load_manifest(str(tmp_path / "out")) == manifest
    check_shards(str(tmp_path / "out"), manifest)


def test_two_conversions_of_one_plan_leave_the_same_files(mnist: Path, tmp_path: Path) -> None:
    plan = planned(mnist)
    for name in ("one", "two"):
        receipts = write_shards(plan, tmp_path / name)
        publish(str(tmp_path / name), make_manifest(plan, receipts, SOURCES))
    assert_same_files(tmp_path / "one", tmp_path / "two")


@pytest.mark.parametrize(
    ("lose", "message"),
    [
        (lambda r: r[1:], r"raw-train\.tfrecord-00000-of-00003: no records were written of 16 pl"),
        (
            lambda r: [dataclasses.replace(r[0], records=15), *r[1:]],
            r"00000-of-00003: 15 records were written of 16 planned: the runner lost elements",
        ),
    ],
)
def test_what_the_runner_lost(
    mnist: Path, receipts: list[Receipt], lose: Any, message: str
) -> None:
    with pytest.raises(OutputError, match=message):
        make_manifest(planned(mnist, num_shards=3), lose(receipts), SOURCES)


@pytest.fixture
def copy(dataset: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(dataset, tmp_path / "copy"))


def test_a_folder_without_a_manifest_is_no_dataset(copy: Path) -> None:
    (copy / MANIFEST).unlink()
    with pytest.raises(DatasetError, match=r"copy: no manifest\.json, so this is no finished data"):
        load_manifest(str(copy))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"manifest\.json: not JSON"),
        ("[]", r"not a manifest of format 1; it was made by another version"),
        ('{"format": 2}', r"not a manifest of format 1"),
        ('{"format": 1}', r"its checksum does not fit"),
    ],
)
def test_what_is_no_manifest(copy: Path, content: str, message: str) -> None:
    (copy / MANIFEST).write_text(content)
    with pytest.raises(DatasetError, match=message):
        load_manifest(str(copy))


def test_each_flipped_byte_is_found(copy: Path) -> None:
    path = copy / MANIFEST
    for offset in range(0, path.stat().st_size, 97):
        assert_flip_found(path, offset, lambda: load_manifest(str(copy)), r"manifest\.json: ")


def test_a_manifest_written_in_another_way_is_found(copy: Path) -> None:
    value = json.loads((copy / MANIFEST).read_text())
    (copy / MANIFEST).write_text(json.dumps(value))
    with pytest.raises(DatasetError, match="its checksum does not fit; it was changed after"):
        load_manifest(str(copy))


def test_the_digest_covers_all_shards(dataset: Path) -> None:
    manifest = load_manifest(str(dataset))
    first, *rest = manifest.splits["test"]
    other = dataclasses.replace(first, sha256="0" * 64)
    changed = dataclasses.replace(manifest, splits={**manifest.splits, "test": (other, *rest)})
    assert changed.digest != manifest.digest
    assert Manifest.from_json(manifest.to_json(), "a").digest == manifest.digest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.unlink(), r"00001-of-00003: is missing, the manifest says \d+ bytes"),
        (
            lambda path: path.write_bytes(path.read_bytes()[:-1]),
            r"00001-of-00003: has \d+ bytes, the manifest says \d+ bytes; repair",
        ),
    ],
)
def test_shards_that_are_missing_or_cut(copy: Path, change: Any, message: str) -> None:
    change(copy / "made-train.tfrecord-00001-of-00003")
    with pytest.raises(DatasetError, match=message):
        check_shards(str(copy), load_manifest(str(copy)))
