import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import images, labels, planned, write, write_columns, write_mnist

from pipeline import idx
from pipeline.errors import InputError, UsageError
from pipeline.features import FeatureOptions
from pipeline.options import PlanOptions
from pipeline.order import Permutation, SourceOrder
from pipeline.plan import Plan, Shard, Split, estimate_peak_bytes


@given(st.integers(0, 500), st.integers(0, 500), st.integers(1, 40))
def test_shards_partition_a_split(start: int, count: int, num_shards: int) -> None:
    shards = Split("a", "a", start, start + count, num_shards).shards()
    assert [shard.index for shard in shards] == list(range(num_shards))
    positions = [i for shard in shards for i in range(shard.start, shard.stop)]
    assert positions == list(range(start, start + count))
    assert max(s.count for s in shards) - min(s.count for s in shards) <= 1


def shards_of(plan: Plan) -> dict[str, tuple[int, int]]:
    return {split.name: (split.count, split.num_shards) for split in plan.splits}


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, {"train": (50, 8), "test": (20, 8)}),
        ({"num_shards": 3}, {"train": (50, 3), "test": (20, 3)}),
        ({"num_shards": {"train": 4}}, {"train": (50, 4), "test": (20, 8)}),
        ({"num_shards": 1000}, {"train": (50, 50), "test": (20, 20)}),
        # A record takes 70 bytes.
        ({"max_shard_size_bytes": 700}, {"train": (50, 5), "test": (20, 2)}),
        ({"max_shard_size_bytes": 699, "num_shards": 1}, {"train": (50, 6), "test": (20, 3)}),
        ({"max_shard_size_bytes": 1 << 40, "num_shards": 2}, {"train": (50, 2), "test": (20, 2)}),
        ({"max_records_per_split": 10}, {"train": (10, 8), "test": (10, 8)}),
        ({"validation": 0.1}, {"train": (45, 8), "validation": (5, 5), "test": (20, 8)}),
        ({"validation": 20}, {"train": (30, 8), "validation": (20, 8), "test": (20, 8)}),
        (
            {"validation": 20, "num_shards": {"validation": 2, "train": 1, "test": 1}},
            {"train": (30, 1), "validation": (20, 2), "test": (20, 1)},
        ),
        (
            {"validation": 20, "max_records_per_split": 15},
            {"train": (15, 8), "validation": (15, 8), "test": (15, 8)},
        ),
    ],
    ids=str,
)
def test_splits_and_shards(mnist: Path, options: dict[str, Any], wanted: Any) -> None:
    assert shards_of(planned(mnist, **options)) == wanted


def test_no_shard_is_larger_than_wished(mnist: Path) -> None:
    for limit in (100, 300, 779, 2000):
        plan = planned(mnist, max_shard_size_bytes=limit)
        sizes = [s.count * plan.stride for split in plan.splits for s in split.shards()]
        assert max(sizes) <= limit


def test_validation_is_the_end_of_train_s_order(mnist: Path) -> None:
    train, validation, test = planned(mnist, validation=0.3).splits
    assert (train.source, train.start, train.stop) == ("train", 0, 35)
    assert (validation.source, validation.start, validation.stop) == ("train", 35, 50)
    assert (test.source, test.start, test.stop) == ("test", 0, 20)


def test_orders(mnist: Path) -> None:
    plan = planned(mnist, seed=3)
    assert plan.order("train") == Permutation(50, 3, "train")
    assert plan.order("test") == Permutation(20, 3, "test")
    assert planned(mnist, shuffle="none").order("train") == SourceOrder(50)


def test_names(mnist: Path) -> None:
    plan = planned(mnist, name="digits", version="2.0.1", num_shards=2)
    assert plan.folder == "digits/2.0.1"
    shard = plan.split("train").shards()[1]
    assert shard == Shard("train", 1, 2, 25, 50)
    assert plan.shard_name(shard) == "digits-train.tfrecord-00001-of-00002"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_shards": 0}, r"num_shards 0 for every split: wanted 1 to 100000"),
        ({"num_shards": {"train": -1}}, r"num_shards -1 for train"),
        ({"num_shards": 100_001}, r"num_shards 100001"),
        ({"num_shards": {"trian": 1}}, r"num_shards: no split 'trian'; there is train, test"),
        ({"max_shard_size_bytes": 0}, r"max_shard_size 0: wanted 1 byte or more"),
        ({"max_shard_size_bytes": 69}, r"max_shard_size 69 bytes: one record takes 70; allow"),
        ({"max_records_per_split": 0}, r"max_records_per_split 0: wanted 1 or more"),
        ({"validation": -0.1}, r"validation -0\.1: wanted a fraction from 0"),
        ({"validation": 1.0}, r"validation 1\.0: wanted a fraction"),
        ({"validation": 50}, r"validation 50 of 50 train records leaves 0 for train and 50 for"),
        ({"validation": 0.001}, r"validation 0\.001 of 50 train records leaves 50 for train and 0"),
        ({"shuffle": "window"}, r"shuffle 'window': wanted record or none"),
        ({"compression": "zstd"}, r"compression 'zstd': wanted none or gzip"),
        ({"example_format": "other"}, r"example_format 'other': wanted default or article"),
        ({"name": "a/b"}, r"name 'a/b': wanted letters"),
        ({"version": "1"}, r"version '1': wanted three numbers"),
        ({"features": {"lable": FeatureOptions(encoding="bytes")}}, r"'lable' is no column"),
    ],
    ids=str,
)
def test_options_that_cannot_be(mnist: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        planned(mnist, **options)


def test_too_many_shards_by_size(tmp_path: Path) -> None:
    folder = write_columns(tmp_path, {"x": np.zeros(100_001, np.uint8)})
    with pytest.raises(
        UsageError, match=r"'train' would have 100001 shards, 100000 at most; raise"
    ):
        planned(folder, max_shard_size_bytes=40)


@pytest.mark.parametrize(
    ("split", "message"),
    [("test", r"no split 'train' to carve it off; there is test"), ("validation", r"no split 'tr")],
)
def test_validation_without_train(tmp_path: Path, split: str, message: str) -> None:
    folder = write_columns(tmp_path, {"x": labels(5)}, split=split)
    with pytest.raises(UsageError, match=message):
        planned(folder, validation=1)


def test_validation_that_is_there_already(tmp_path: Path) -> None:
    folder = write_columns(tmp_path, {"x": labels(5)})
    with open(folder / "dataset.toml", "a") as stream:
        stream.write('\n[splits.validation]\nx = "x.idx"')
    with pytest.raises(UsageError, match=r"has a split 'validation' already"):
        planned(folder, validation=1)


def test_the_command_line_s_wishes_go_over_the_description_s(tmp_path: Path) -> None:
    names = '[features.x]\nnames = ["a", "b"]\nencoding = "int64_list"'
    folder = write_columns(tmp_path, {"x": labels(5)}, names)
    feature = planned(folder, features={"x": FeatureOptions(encoding="one_hot")}).features[0]
    assert (feature.one_hot, feature.names) == (True, ("a", "b"))


@pytest.mark.parametrize("options", [{}, {"validation": 0.2, "compression": "gzip"}], ids=str)
def test_a_trip_through_json(mnist: Path, options: dict[str, Any]) -> None:
    plan = planned(mnist, index_feature=True, **options)
    again = Plan.from_json(json.loads(json.dumps(plan.to_json())))
    assert again == plan
    assert again.digest() == plan.digest()


def test_a_plan_of_another_format(mnist: Path) -> None:
    value = {**planned(mnist).to_json(), "format": 0}
    with pytest.raises(
        UsageError, match=r"a plan of format 0, wanted 1: it was made by another ve"
    ):
        Plan.from_json(value)


def test_the_digest_does_not_depend_on_where_the_input_lies(mnist: Path, tmp_path: Path) -> None:
    plan = planned(mnist)
    shutil.copytree(mnist, tmp_path / "elsewhere" / "raw")
    assert planned(tmp_path / "elsewhere" / "raw").digest() == plan.digest()
    shutil.move(mnist, tmp_path / "renamed")
    assert planned(tmp_path / "renamed", name="raw").digest() == plan.digest()


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"shuffle": "none"},
        {"num_shards": 7},
        {"name": "other"},
        {"version": "1.0.1"},
        {"validation": 1},
        {"compression": "gzip"},
        {"index_feature": True},
        {"shape_features": True},
        {"example_format": "article"},
        {"max_records_per_split": 5},
        {"features": {"label": FeatureOptions(num_classes=10)}},
    ],
    ids=str,
)
def test_the_digest_covers_whatever_decides_the_bytes(mnist: Path, change: dict[str, Any]) -> None:
    assert planned(mnist, **change).digest() != planned(mnist).digest()


def test_only_headers_are_read(mnist: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    parse = idx.parse_header
    monkeypatch.setattr(idx, "parse_header", lambda h, path: sizes.append(len(h)) or parse(h, path))
    plan = planned(mnist)
    assert len(sizes) == len(plan.source_files()) == 4
    assert max(sizes) <= idx.MAX_HEADER_BYTES


def test_memory_does_not_grow_with_the_input(mnist: Path) -> None:
    plan = planned(mnist)

    def with_records(count: int) -> int:
        sources = {
            split: {
                column: tuple(
                    dataclasses.replace(
                        part, header=idx.IdxHeader("uint8", (count, *part.header.record_shape))
                    )
                    for part in parts
                )
                for column, parts in columns.items()
            }
            for split, columns in plan.sources.items()
        }
        return estimate_peak_bytes(dataclasses.replace(plan, sources=sources))

    few, many = with_records(60_000), with_records(10**9)
    assert few > 200 << 20
    assert max(few, many, *map(with_records, (10**5, 10**6, 10**7))) < 700 << 20
    assert with_records(10**9) < 1.15 * with_records(10**6)


def test_blocks_hold_one_record_at_least(tmp_path: Path) -> None:
    write(tmp_path / "wide", np.zeros((1, 3 << 20), np.uint8))
    folder = write_columns(tmp_path, {"x": np.zeros((2, 3 << 20), np.uint8)})
    assert planned(folder).block_records == 1
    assert planned(write_mnist(tmp_path / "small")).block_records > 10_000


def test_options_are_frozen() -> None:
    options = PlanOptions(input="a")
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.seed = 1  # type: ignore[misc]


def test_the_input_s_errors_come_through(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        planned(tmp_path / "none")
    write(tmp_path / "train-images-idx3-ubyte", images(3))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(b"")
    with pytest.raises(InputError, match=r"train-labels-idx1-ubyte: 0 bytes, too short"):
        planned(tmp_path)
