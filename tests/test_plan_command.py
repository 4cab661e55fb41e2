"""Each flag of `recordmill plan` that decides the bytes changes what is shown (law 11)."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from commands import Command
from samples import images, labels, write, write_mnist

from pipeline import idx


def plan(recordmill: Command, *argv: object) -> dict[str, Any]:
    ran = recordmill("plan", "--json", *argv)
    assert ran.code == 0, ran.err
    told: dict[str, Any] = json.loads(ran.out)
    return told


def splits(told: dict[str, Any]) -> dict[str, tuple[int, int]]:
    return {s["name"]: (s["records"], s["shards"]) for s in told["splits"]}


def features(told: dict[str, Any]) -> dict[str, Any]:
    return {feature["name"]: feature for feature in told["record"]["features"]}


def test_what_a_plan_tells(recordmill: Command, mnist: Path) -> None:
    told = plan(recordmill, "--input", mnist)
    assert splits(told) == {"train": (50, 8), "test": (20, 8)}
    assert (told["name"], told["version"], told["shuffle"], told["seed"]) == (
        "raw",
        "1.0.0",
        "record",
        0,
    )
    assert (told["files_in"], told["bytes_in"]) == (
        4,
        sum(p.stat().st_size for p in mnist.iterdir()),
    )
    assert told["bytes_out"] == 70 * told["record"]["bytes"] == 4900
    assert told["splits"][0]["bytes_a_shard"] == 7 * 70
    assert features(told)["image"]["shape"] == [5, 4]
    assert features(told)["label"]["encoding"] == "int64_list"
    assert told["estimated_peak_memory_bytes"] < 700 << 20


def test_a_plan_for_people(recordmill: Command, mnist: Path) -> None:
    out = recordmill("plan", "--input", mnist, "--validation=5", "--shuffle=none").out
    for line in (
        "raw 1.0.0",
        "in       4 files, 1.5 KiB",
        "out      70 records, 4.8 KiB",
        "order    as the source",
        "split    train: 45 records in 8 shards of 420 B",
        "note     validation is the end of train in the order of its files",
        "record   70 bytes, every one of the same layout:",
        "image: bytes, uint8 5x4, 20 bytes at 29",
    ):
        assert line in out


@pytest.mark.parametrize(
    ("flag", "key", "value"),
    [
        ("--name=digits", "name", "digits"),
        ("--version=2.0.0", "version", "2.0.0"),
        ("--seed=7", "seed", 7),
        ("--shuffle=none", "shuffle", "none"),
        ("--compression=gzip", "compression", "gzip"),
    ],
)
def test_flags_that_are_told_as_they_are(
    recordmill: Command, mnist: Path, flag: str, key: str, value: object
) -> None:
    told, default = plan(recordmill, "--input", mnist, flag), plan(recordmill, "--input", mnist)
    assert told[key] == value != default[key]
    assert told["digest"] != default["digest"]


@pytest.mark.parametrize(
    ("flag", "wanted"),
    [
        ("--num_shards=3", {"train": (50, 3), "test": (20, 3)}),
        ("--num_shards=train=3,test=1", {"train": (50, 3), "test": (20, 1)}),
        ("--max_shard_size=700B", {"train": (50, 5), "test": (20, 2)}),
        ("--validation=0.1", {"train": (45, 8), "validation": (5, 5), "test": (20, 8)}),
        ("--validation=10%", {"train": (45, 8), "validation": (5, 5), "test": (20, 8)}),
        ("--validation=8", {"train": (42, 8), "validation": (8, 8), "test": (20, 8)}),
        ("--max_records_per_split=4", {"train": (4, 4), "test": (4, 4)}),
    ],
)
def test_flags_that_cut(recordmill: Command, mnist: Path, flag: str, wanted: object) -> None:
    assert splits(plan(recordmill, "--input", mnist, flag)) == wanted


@pytest.mark.parametrize(
    ("flags", "name", "wanted"),
    [
        (["--example_format=article"], "image", {"dtype": "float32", "bytes": 80}),
        (["--example_format=article"], "label", {"dtype": "float64", "shape": [10], "bytes": 80}),
        (["--shape_features"], "height", {"encoding": "int64_list", "shape": []}),
        (["--index_feature"], "index", {"encoding": "int64_list", "bytes": 1}),
        (["--feature=image=float_list"], "image", {"encoding": "float_list", "bytes": 80}),
        (["--feature=image=int64_list"], "image", {"encoding": "int64_list", "bytes": 40}),
        (["--feature=image=bytes,dtype=float64,scale=1/255"], "image", {"dtype": "float64"}),
        (["--feature=label=num_classes=10"], "label", {"num_classes": 10, "bytes": 1}),
        (["--feature=label=one_hot,num_classes=10"], "label", {"encoding": "float_list"}),
        (["--feature=image=float_list", "--feature=label=bytes"], "label", {"encoding": "bytes"}),
    ],
)
def test_flags_that_shape_the_record(
    recordmill: Command, mnist: Path, flags: list[str], name: str, wanted: dict[str, Any]
) -> None:
    default = features(plan(recordmill, "--input", mnist)).get(name)
    found = features(plan(recordmill, "--input", mnist, *flags))[name]
    assert {key: found[key] for key in wanted} == wanted
    assert found != default


def test_a_plan_writes_nothing(recordmill: Command, mnist: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    plan(recordmill, "--input", mnist)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.slow
def test_ten_thousand_files(recordmill: Command, tmp_path: Path) -> None:
    for index in range(5000):
        write(tmp_path / f"image-{index:05d}", images(2))
        write(tmp_path / f"label-{index:05d}", labels(2))
    (tmp_path / "dataset.toml").write_text('[splits.train]\nimage = "image-*"\nlabel = "label-*"')
    started = time.monotonic()
    told = plan(recordmill, "--input", tmp_path)
    assert (told["files_in"], splits(told)) == (10_000, {"train": (10_000, 8)})
    assert time.monotonic() - started < 10


def test_the_headers_of_gzip_are_enough(
    recordmill: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idx, "inflate", None)
    told = plan(recordmill, "--input", write_mnist(tmp_path / "raw", ending=".gz"))
    assert splits(told) == {"train": (50, 8), "test": (20, 8)}
