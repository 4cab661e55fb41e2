"""verify finds what is wrong, and says where."""

import dataclasses
import json
import struct

import numpy as np
import pytest
import small

from launch.cli import main
from pipeline import tfrecord, verify
from pipeline.checks import MAX_FINDINGS
from pipeline.errors import DatasetError, InputError
from pipeline.features import Feature
from pipeline.idx import write_idx
from pipeline.manifest import load_manifest, write_json

SHARD = "small-train.tfrecord-00001-of-00003"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return small.write_source(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory):
    return small.convert(source, tmp_path_factory.mktemp("whole"))


@pytest.fixture
def dataset(whole, tmp_path):
    folder = tmp_path / "dataset"
    folder.mkdir()
    for name, data in small.content(whole).items():
        (folder / name).write_bytes(data)
    return folder


def found(folder, **options):
    return [str(finding) for finding in verify.verify_dataset(str(folder), **options).findings]


def reframe(row):
    """Gives a changed row the checksum that fits it."""
    row[-4:] = tfrecord.masked_crcs(row[None]).astype("<u4").view(np.uint8)


def change(dataset, record, place, value, *, fitting=False, shard=SHARD):
    stride = load_manifest(str(dataset)).plan.stride
    rows = np.fromfile(dataset / shard, np.uint8).reshape(-1, stride)
    rows[record, place] = value
    if fitting:
        reframe(rows[record])
    rows.tofile(dataset / shard)
    return stride * record


def slot(dataset, feature):
    layout = load_manifest(str(dataset)).plan.layout
    return next(s.offset for s in layout.slots if s.feature == feature)


def test_a_whole_dataset_passes(whole, source, capsys):
    for flags in ([], ["--deep"], ["--source", str(source)], ["--workers", "1"]):
        assert main(["verify", str(whole), "--quiet", *flags]) == 0
    assert capsys.readouterr().out == ""
    assert main(["verify", str(whole.parent), "--source", str(source / "dataset.toml")]) == 0
    told = capsys.readouterr().out
    assert "1.0.0: whole: 13 files, 40 records, " in told


@pytest.mark.slow
def test_processes_find_what_threads_find(dataset, source, monkeypatch):
    change(dataset, 2, 50, 7)
    threads = found(dataset, source=str(source))
    monkeypatch.setattr(verify, "PROCESSES_FROM_BYTES", 0)
    assert found(dataset, source=str(source), workers=2) == threads
    assert len(threads) == 2


def test_a_damaged_record_is_named_with_its_place(dataset, capsys):
    start = change(dataset, 4, slot(dataset, "image") + 5, 1)
    assert main(["verify", str(dataset), "--quiet"]) == 1
    line, last = capsys.readouterr().out.splitlines()
    problem = "the checksum of its data does not fit; it is damaged"
    assert line == f"{SHARD}: record 4, byte {start}: {problem}"
    assert last == f"{dataset}: 1 finding"
    assert main(["verify", str(dataset), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["findings"] == [{"file": SHARD, "problem": problem, "record": 4, "offset": start}]


@pytest.mark.parametrize(
    ("place", "wanted"),
    [(3, "its length is damaged: 09, wanted 00"), (9, "the checksum of its length is damaged: 09")],
)
def test_a_damaged_frame_is_told_byte_by_byte(dataset, place, wanted):
    start = change(dataset, 1, place, 9)
    (line,) = found(dataset)
    assert line.startswith(f"{SHARD}: record 1, byte {start + place}: {wanted}")


def test_with_a_fitting_checksum_the_layout_tells(dataset):
    start = change(dataset, 0, 14, 99, fitting=True)
    (line,) = found(dataset)
    assert f"record 0, byte {start + 14}: 63, where every record of this dataset has" in line


def test_a_label_outside_of_the_classes(dataset):
    place = slot(dataset, "label")
    start = change(dataset, 3, place, 10, fitting=True)
    assert f"record 3, byte {start + place}: label is 10, wanted one of the 10" in found(dataset)[0]
    change(dataset, 3, place, 0x8A, fitting=True)
    assert "label holds integers of another width" in found(dataset)[0]


def test_one_hot_labels(source, tmp_path):
    dataset = small.convert(source, tmp_path, "--example_format", "article")
    place = slot(dataset, "label")
    change(dataset, 3, slice(place, place + 80), 0, fitting=True)
    (line,) = found(dataset)
    assert "label is [0.0, 0.0" in line


def test_only_the_source_can_tell_a_good_record_from_another(dataset, source):
    place = slot(dataset, "image") + 2
    start = change(dataset, 5, place, 0, fitting=True)
    assert "though each record fits its own checksums" in found(dataset)[0]
    (line,) = [f for f in found(dataset, source=str(source)) if "record 5, " in f]
    assert (
        f"record 5, byte {start + place}: 00, but the source's record at this place makes" in line
    )


def test_deep_parses_each_record(dataset, monkeypatch):
    place = slot(dataset, "image")
    change(dataset, 2, place - 1, 13, fitting=True)
    lines = found(dataset, deep=True)
    assert any("record 2" in line and "not a tf.train.Example" in line for line in lines)


def test_files_cut_lengthened_missing_swapped_doubled(dataset):
    path, other = dataset / SHARD, dataset / SHARD.replace("00001", "00002", 1)
    data, stride = path.read_bytes(), load_manifest(str(dataset)).plan.stride
    path.write_bytes(data[:-5])
    lines = found(dataset)
    assert f"has {len(data) - 5} bytes, the manifest says {len(data)}" in lines[0]
    assert f"record 9, byte {9 * stride}: the file ends inside of this record" in lines[1]
    path.write_bytes(data + data)
    assert any(f"byte {len(data)}: bytes stand behind the last record" in f for f in found(dataset))
    path.write_bytes(other.read_bytes())
    assert found(dataset) == [
        f"{SHARD}: is not the file that was written, though each record fits its own checksums: "
        "its SHA-256 differs from the manifest's"
    ]
    path.unlink()
    assert found(dataset) == [f"{SHARD}: is missing"]
    path.write_bytes(data)
    copy = dataset / "small-train.tfrecord-00003-of-00003"
    copy.write_bytes(data)
    assert found(dataset) == [f"{copy.name}: is no shard of this dataset, but named like one"]


def test_a_shard_that_cannot_be_read(dataset):
    (dataset / SHARD).unlink()
    (dataset / SHARD).mkdir()
    assert found(dataset) == [f"{SHARD}: is missing"]


def test_metadata_and_manifest(dataset):
    text = (dataset / "features.json").read_bytes()
    (dataset / "features.json").write_bytes(text.replace(b"uint8", b"uint9"))
    (dataset / "label.labels.txt").unlink()
    (dataset / "manifest.json").write_bytes(b"{}")
    (dataset / "stats.json").write_text("{}")
    lines = found(dataset)
    assert lines[3] == "stats.json: is not the file that was written: its SHA-256 differs"
    assert lines[0].startswith("manifest.json: not a manifest of format 1")
    assert lines[1].startswith("features.json: byte ")
    assert lines[2] == "label.labels.txt: is missing"
    (dataset / "manifest.copy.json").write_bytes(b"[")
    with pytest.raises(DatasetError, match=r"nothing is left that says what this dataset was"):
        found(dataset)


def test_two_manifests_that_differ(dataset, source, tmp_path):
    other = small.convert(source, tmp_path / "other", "--seed", "1")
    (dataset / "manifest.copy.json").write_bytes((other / "manifest.json").read_bytes())
    assert found(dataset) == ["manifest.copy.json: is not the copy of manifest.json"]


def test_many_findings_are_counted(dataset):
    path = dataset / SHARD
    path.write_bytes(bytes(len(path.read_bytes())))
    assert len(found(dataset)) <= MAX_FINDINGS + 1


def test_another_source_is_refused_and_a_changed_one_named(dataset, source, tmp_path):
    with pytest.raises(InputError, match="train-images-idx3-ubyte: is missing; give --source"):
        found(dataset, source=str(tmp_path))
    wrong = small.write_source(tmp_path / "wrong", counts={"train": 31, "t10k": 10})
    with pytest.raises(InputError, match=r"holds \(31, 4, 3\) uint8, but \(30, 4, 3\) uint8 was"):
        found(dataset, source=str(wrong))
    changed = small.write_source(tmp_path / "changed")
    path = changed / "train-images-idx3-ubyte"
    data = bytearray(path.read_bytes())
    data[16] ^= 1
    path.write_bytes(data)
    lines = found(dataset, source=str(changed))
    assert lines[0] == f"{path}: is not the file that was converted: its SHA-256 differs"
    assert len(lines) == 2
    assert "but the source's record at this place makes" in lines[1]


def test_gzip_in_and_out(tmp_path):
    source = small.write_source(tmp_path / "zipped", gzip=True)
    dataset = small.convert(source, tmp_path, "--compression", "gzip")
    assert found(dataset, source=str(source), deep=True) == []
    path = dataset / SHARD
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    assert any(line.startswith(SHARD) for line in found(dataset))


def test_foreign_files(tmp_path, capsys):
    good = tmp_path / "a.tfrecord"
    good.write_bytes(tfrecord.frame(b"") + tfrecord.frame(b"no Example"))
    assert main(["verify", str(good), "--quiet"]) == 0
    assert main(["verify", str(tmp_path), "--deep"]) == 1
    assert "record 1, byte 16: not a tf.train.Example" in capsys.readouterr().out
    data = good.read_bytes()
    for damaged, wanted in (
        (data[:-1], "record 1, byte 16: 13 of 14 bytes: the file is cut off"),
        (data[:20], "record 1, byte 16: 4 bytes of a header's 12"),
        (data[:-6] + b"xx" + data[-4:], "record 1, byte 16: the checksum of its data"),
        (b"\1" + data[1:], "record 0, byte 0: its length is damaged"),
        (struct.pack("<QI", 1 << 40, 0), "record 0, byte 0: its length is damaged"),
        (b"\x1f\x8b broken", "broken gzip"),
    ):
        good.write_bytes(damaged)
        assert main(["verify", str(good), "--quiet"]) == 1
        assert wanted in capsys.readouterr().out
    assert main(["verify", str(good), "--source", str(tmp_path)]) == 2
    assert "--source goes with a dataset of recordmill" in capsys.readouterr().err
    assert main(["verify", str(tmp_path / "nothing")]) == 1
    assert main(["verify", str(good), "--workers", "0"]) == 2


def test_names_that_lead_outside_are_refused(dataset):
    manifest = load_manifest(str(dataset))
    evil = Feature(name="../label", column="label", encoding="int64_list", dtype="int64")
    for broken in (
        {"name": "../small"},
        {"version": "../../etc"},
        {"features": (evil,)},
        {
            "splits": (
                *manifest.plan.splits[:-1],
                type(manifest.plan.splits[0])("..", "train", 0, 1, 1),
            )
        },
    ):
        plan = dataclasses.replace(manifest.plan, **broken)
        value = dataclasses.replace(manifest, plan=plan).to_json()
        write_json(str(dataset / "manifest.json"), value)
        with pytest.raises(DatasetError, match="do not trust this dataset"):
            load_manifest(str(dataset))


def test_records_of_varying_length(tmp_path, capsys):
    source = tmp_path / "source"
    source.mkdir()
    write_idx(str(source / "lengths.idx"), np.array([3, 0, 2, 4, 3], np.uint8))
    values = np.array([1, 2, 3, 9, 9, 4, 5, 6, 7, 1, 2, 3], np.int32)
    write_idx(str(source / "values.idx"), values)
    (source / "dataset.toml").write_text(
        'name = "small"\n[splits.train]\n'
        'words = { values = "values.idx", lengths = "lengths.idx" }\n'
    )
    flags = ["--input", str(source), "--output", str(tmp_path), "--num_shards", "2", "--quiet"]
    assert main(["convert", *flags, "--check_duplicates"]) == 0
    folder = tmp_path / "small" / "1.0.0"
    assert load_manifest(str(folder)).counters["duplicates_inside_train"] == 1
    assert found(folder, source=str(source), deep=True) == []
    before = small.content(folder)
    shard = next(folder.glob("*.tfrecord-00000-of-00002"))
    data = bytearray(shard.read_bytes())
    data[len(data) - 6] ^= 1
    shard.write_bytes(data)
    lines = found(folder, source=str(source))
    assert any("the checksum of its data does not fit" in line for line in lines)
    assert any(f"byte {len(data) - 6}: not what the source's record" in line for line in lines)
    shard.write_bytes(data[:-9])
    index = next(folder.glob("*.index-00001-of-00002"))
    index.unlink()
    assert f"{index.name}: is missing" in found(folder)
    assert main(["repair", str(folder), "--source", str(source), "--quiet"]) == 0
    assert small.content(folder) == before
