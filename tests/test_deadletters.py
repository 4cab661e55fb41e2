"""Bad records end the run or are set aside, and nothing else changes."""

import numpy as np
import pytest
import small

from launch.cli import main
from pipeline import deadletters, protos, rules, verify
from pipeline.conversion import convert
from pipeline.dataset import open_dataset
from pipeline.errors import InputError, UsageError
from pipeline.features import ColumnSpec, FeatureOptions, make_features
from pipeline.idx import write_idx
from pipeline.manifest import load_manifest
from pipeline.repair import repair_dataset
from pipeline.tfrecord import read_records

DEAD = "dead_letters/records.tfrecord-00000-of-00001"
RULE = """
def bright(columns):
    return columns["image"].reshape(len(columns["image"]), -1).max(axis=1) > 20
def no_array(columns):
    return [True]
"""


@pytest.fixture
def source(tmp_path):
    """Labels 12 and 200 at train 4 and 17, 99 at test 3."""
    folder = small.write_source(tmp_path / "source")
    for split, bad in (("train", {4: 12, 17: 200}), ("t10k", {3: 99})):
        path = folder / f"{split}-labels-idx1-ubyte"
        data = bytearray(path.read_bytes())
        for record, value in bad.items():
            data[8 + record] = value
        path.write_bytes(data)
    return folder


def letters(folder):
    with open(folder / DEAD, "rb") as stream:
        return [
            {
                k: protos.values_of(v)[1][0]
                for k, v in protos.parse_example(r.data).features.feature.items()
            }
            for r in read_records(stream, DEAD)
        ]


def skip(source, output, *flags):
    return small.convert(
        source, output, "--on_bad_record", "skip", "--max_bad_fraction", "0.1", *flags
    )


def test_fail_is_the_default_and_names_the_record(source, tmp_path, capsys):
    flags = ["convert", "--input", str(source), "--output", str(tmp_path / "out"), "--quiet"]
    assert main([*flags, "--shuffle", "none"]) == 1
    told = capsys.readouterr().err
    assert "ubyte: record 4: label is 12, outside of the 10 classes 0..9; mend the file" in told
    assert not list((tmp_path / "out").rglob("manifest.json"))


def test_bad_records_are_set_aside_with_all_that_is_known(source, tmp_path):
    folder = skip(source, tmp_path / "out")
    manifest = load_manifest(str(folder))
    assert {s: manifest.count(s) for s in manifest.splits} == {"train": 28, "test": 9}
    assert manifest.counters["bad_records"] == 3
    assert sum(e.bad_records for e in manifest.splits["train"]) == 2
    found = letters(folder)
    assert [(f["split"], f["number"], f["reason"]) for f in found] == [
        (b"train", 4, b"label is 12, outside of the 10 classes 0..9"),
        (b"train", 17, b"label is 200, outside of the 10 classes 0..9"),
        (b"test", 3, b"label is 99, outside of the 10 classes 0..9"),
    ]
    assert found[1]["label/bytes"] == b"\xc8"
    assert found[1]["image/file"] == b"train-images-idx3-ubyte"
    assert found[1]["image/record"] == 17
    images = np.fromfile(source / "train-images-idx3-ubyte", np.uint8)[16:].reshape(-1, 12)
    assert found[1]["image/bytes"] == images[17].tobytes()
    # What is left is the rest, each once.
    left = open_dataset(str(folder))["train"][:]
    wanted = np.delete(images, [4, 17], axis=0)
    assert sorted(map(bytes, left["image"].reshape(-1, 12))) == sorted(map(bytes, wanted))


def test_the_laws_hold_with_dead_letters(source, tmp_path):
    one = skip(source, tmp_path / "one", "--num_shards", "1")
    three = skip(source, tmp_path / "three")
    processes = skip(
        source,
        tmp_path / "p",
        "--direct_running_mode",
        "multi_processing",
        "--direct_num_workers",
        "2",
    )
    assert small.content(three) == small.content(processes)
    joined = b"".join(p.read_bytes() for p in sorted(three.glob("small-train*")))
    assert joined == next(one.glob("small-train*")).read_bytes()
    assert (one / DEAD).read_bytes() == (three / DEAD).read_bytes()
    report = verify.verify_dataset(str(three), source=str(source), deep=True)
    assert report.findings == ()
    before = small.content(three)
    (three / DEAD).unlink()
    next(three.glob("small-train*")).unlink()
    repair_dataset(str(three), str(source))
    assert small.content(three) == before


def test_a_run_that_goes_on_keeps_what_it_set_aside(source, tmp_path):
    flags = {"input": str(source), "on_bad_record": "skip", "num_shards": 3}
    with pytest.raises(
        InputError, match=r"3 of 40 records are bad, more than --max_bad_fraction 0\.05"
    ):
        convert(output=str(tmp_path / "out"), max_bad_fraction=0.05, **flags)
    done = convert(output=str(tmp_path / "out"), max_bad_fraction=0.1, **flags)
    assert done.kept == 6
    whole = convert(output=str(tmp_path / "whole"), max_bad_fraction=0.1, **flags)
    folder = tmp_path / "out" / "small" / "1.0.0"
    assert small.content(folder) == small.content(tmp_path / "whole" / "small" / "1.0.0")
    assert len(letters(folder)) == 3
    assert whole.counters["bad_records"] == 3


def test_a_block_that_is_all_bad_ends_the_run_at_once(source, tmp_path):
    with pytest.raises(InputError, match="bad, more than --max_bad_fraction allows of all"):
        convert(input=str(source), output=str(tmp_path), on_bad_record="skip", max_bad_fraction=0)


def test_no_bad_records(tmp_path):
    folder = skip(small.write_source(tmp_path / "source"), tmp_path / "out")
    assert (folder / DEAD).read_bytes() == b""
    assert load_manifest(str(folder)).counters["bad_records"] == 0


def test_a_rule_of_the_users_own(tmp_path, capsys):
    source = small.write_source(tmp_path / "source")
    path = source / "train-images-idx3-ubyte"
    data = bytearray(path.read_bytes())
    data[16 + 12 * 7 : 16 + 12 * 8] = bytes(12)
    path.write_bytes(data)
    module = tmp_path / "mine.py"
    module.write_text(RULE)
    folder = skip(source, tmp_path / "out", "--rule", f"{module}:bright")
    assert [f["reason"] for f in letters(folder)] == [b"breaks the rule bright"]
    verifying = ["verify", str(folder), "--quiet", "--source", str(source)]
    assert main([*verifying, "--rule", f"{module}:bright"]) == 0
    assert main(verifying) == 2
    assert "were chosen by a rule, bright sha256:" in capsys.readouterr().err
    module.write_text(RULE + "\n")
    assert main([*verifying, "--rule", f"{module}:bright"]) == 2
    assert "but the records were chosen by bright sha256:" in capsys.readouterr().err
    assert main(["verify", str(folder), "--rule", f"{module}:bright"]) == 2


def test_rules_that_cannot_be_used(tmp_path):
    module = tmp_path / "mine.py"
    module.write_text(RULE)
    for option, wanted in (
        ("mine.py", r"wanted path/to/module\.py:function"),
        (f"{tmp_path}/other.py:f", "No such file"),
        (f"{module}:absent", "has no function 'absent'"),
    ):
        with pytest.raises(UsageError, match=wanted):
            rules.load_rule(option)
    name, code = rules.load_rule(f"{module}:no_array")
    with pytest.raises(UsageError, match=r"no_array: answered with list, wanted bool\[2\]"):
        rules.Rules(rule=name, code=code).find([], {"image": np.zeros((2, 3))})
    module.write_text("1 / 0")
    with pytest.raises(UsageError, match="its file fails with ZeroDivisionError"):
        rules.load_rule(f"{module}:f")


def test_nan_and_infinity():
    (feature,) = make_features({"x": ColumnSpec("float32", (2,))}, {"x": FeatureOptions()})
    values = np.array([[0, 1], [np.nan, 0], [2, np.inf]], ">f4")
    found = rules.Rules().find([feature], {"x": values})
    assert found == [(1, "x", "x holds NaN or infinity"), (2, "x", "x holds NaN or infinity")]
    assert rules.Rules(allow_nan=True).find([feature], {"x": values}) == []


def test_allow_nan_from_the_command_line(tmp_path):
    write_idx(str(tmp_path / "train-images-idx3-ubyte"), np.full((5, 2, 2), np.nan, ">f4"))
    flags = ["convert", "--input", str(tmp_path), "--quiet", "--output"]
    assert main([*flags, str(tmp_path / "out")]) == 1
    assert main([*flags, str(tmp_path / "out"), "--allow_nan"]) == 1  # another plan
    assert main([*flags, str(tmp_path / "other"), "--allow_nan"]) == 0
    assert deadletters.FOLDER not in str(list((tmp_path / "other").rglob("*")))
