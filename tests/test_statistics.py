import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tensorflow_metadata.proto.v0 import statistics_pb2

import pipeline
from launch.cli import main
from pipeline import accumulate, idx, output
from pipeline.accumulate import ColumnStatistics, cut, merge, observe, total
from pipeline.conversion import run_plan
from pipeline.options import PlanOptions
from pipeline.planning import make_plan

DTYPES = ["uint8", "int8", ">i2", ">i4", ">f4", ">f8"]


def write_source(folder, images, labels, test=None):
    folder.mkdir(parents=True, exist_ok=True)
    for kind, (x, y) in {"train": (images, labels), "t10k": test or (images, labels)}.items():
        idx.write_idx(str(folder / f"{kind}-images.idx3-ubyte"), x)
        idx.write_idx(str(folder / f"{kind}-labels.idx1-ubyte"), y)
    return str(folder)


def sample(count=400, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 4, 6)).astype(np.uint8)
    images[3] = 0
    images[7] = 9
    return images, rng.integers(0, 3, count).astype(np.uint8)


def stats_of(folder):
    return json.loads((folder / "stats.json").read_text())


@pytest.mark.parametrize("dtype", DTYPES)
def test_observe_is_exact(dtype):
    rng = np.random.default_rng(1)
    values = (rng.standard_normal((70, 3, 5)) * 100).astype(dtype)
    found = observe(values, np.arange(70), 1)
    exact = [Fraction(v) for v in values.astype(object).reshape(-1).tolist()]
    squares = [v * v for v in exact]
    assert sum(total({e: p.sum() for e, p in found.sums.items()}) for _ in [0]) == sum(exact)
    assert total(found.squares) == sum(squares)
    assert (found.low, found.high) == (min(exact), max(exact))
    assert found.zeros == sum(v == 0 for v in exact)
    assert found.histogram.sum() == values.size


def test_wide_integers_stay_exact():
    values = np.array([[2**62, -(2**62)], [2**62 - 1, 5]], np.int64)
    found = observe(values, np.arange(2), 1)
    assert total(found.squares) == sum(int(v) ** 2 for v in values.ravel())
    assert [total({e: p[i] for e, p in found.sums.items()}) for i in range(2)] == [
        2**63 - 1,
        5 - 2**62,
    ]


@settings(deadline=None, max_examples=60)
@given(
    values=hnp.arrays(
        np.float64,
        st.tuples(st.integers(1, 12), st.integers(1, 4)),
        elements=st.floats(allow_nan=False, allow_infinity=False),
    ),
    data=st.data(),
)
def test_floats_in_any_grouping_give_the_same(values, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(values)), max_size=4)))
    numbers = np.arange(len(values))
    parts = [
        observe(values[a:b], numbers[a:b], 2)
        for a, b in zip([0, *cuts], [*cuts, len(values)], strict=True)
    ]
    merged = ColumnStatistics()
    for part in data.draw(st.permutations(parts)):
        merged = merge(merged, ColumnStatistics.from_json(json.loads(json.dumps(part.to_json()))))
    whole = observe(values, numbers, 2)
    for place in range(values.shape[1]):
        wanted = sum(map(Fraction, values[:, place].tolist()))
        assert total({e: p[place] for e, p in merged.sums.items()}) == wanted
    assert total(merged.squares) == total(whole.squares)
    assert total(whole.squares) == sum(Fraction(v) ** 2 for v in values.ravel().tolist())
    assert (merged.low, merged.high, merged.zeros) == (whole.low, whole.high, whole.zeros)
    assert merged.histogram.tolist() == whole.histogram.tolist()
    assert merged.constant_records == whole.constant_records


def test_cut_pieces_add_up_and_are_small():
    values = np.array([math.pi, -1e300, 5e-324, 0.0])
    pieces = cut(values)
    for i, value in enumerate(values.tolist()):
        assert sum(int(p[i]) * Fraction(2) ** e for e, p in pieces.items()) == Fraction(value)
    assert all(abs(p).max() < 2**24 for p in pieces.values())


def test_not_numbers_are_counted_and_left_out():
    found = observe(np.array([[np.nan, 1.0], [np.inf, -np.inf]]), np.arange(2), 1)
    assert (found.nans, found.infinities, found.low, found.high) == (1, 2, 1.0, 1.0)


def test_distinct_values_are_given_up_beyond_a_thousand():
    one = observe(np.arange(900, dtype=np.int32), np.arange(900), 1)
    other = observe(np.arange(400, 1300, dtype=np.int32), np.arange(900), 1)
    assert len(one.distinct) == 900
    assert merge(one, other).distinct is None


def test_stats_json_equals_numpy(tmp_path):
    images, labels = sample()
    source = write_source(tmp_path / "raw", images, labels)
    pipeline.convert(input=source, output=str(tmp_path / "out"), num_shards=3)
    told = stats_of(tmp_path / "out/raw/1.0.0")["splits"]["train"]["features"]
    assert told["image"]["mean"] == pytest.approx(images.mean(), abs=0, rel=1e-15)
    assert told["image"]["std"] == pytest.approx(images.std(), rel=1e-14)
    assert (told["image"]["min"], told["image"]["max"]) == (0, 255)
    assert told["image"]["zeros"] == (images == 0).sum()
    assert np.array_equal(told["image"]["mean_record"], images.mean(0))
    assert told["image"]["constant_records"] == 2
    assert told["image"]["blank_records"] == 1
    assert told["image"]["first_constant_records"] == [3, 7]
    counts = np.bincount(labels)
    assert [told["label"]["labels"][str(k)]["count"] for k in range(3)] == counts.tolist()


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_same_on_any_sharding_and_after_a_resume(tmp_path, dtype, monkeypatch):
    images, labels = sample()
    images = images if dtype == "uint8" else (images / 7).astype(np.float32)
    source = write_source(tmp_path / "raw", images, labels)
    made = {}
    for shards in (1, 5):
        folder = tmp_path / f"out{shards}"
        pipeline.convert(input=source, output=str(folder), num_shards=shards)
        made[shards] = [(folder / "raw/1.0.0" / f).read_bytes() for f in ("stats.json", "stats.pb")]
    assert made[1] == made[5]

    folder = tmp_path / "resumed"
    plan = make_plan(PlanOptions(input=source, num_shards=5))
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.conversion.manifest.publish", lambda *_: 1 / 0)
        with pytest.raises(Exception, match="division by zero"):
            run_plan(plan, str(folder))
    assert output.count_receipts(str(folder / "raw/1.0.0")) == 10
    assert run_plan(plan, str(folder)).kept == 10
    assert (folder / "raw/1.0.0/stats.json").read_bytes() == made[5][0]


def test_shards_without_statistics_are_written_again_when_they_are_wanted(tmp_path, monkeypatch):
    source = write_source(tmp_path / "raw", *sample())
    plan = make_plan(PlanOptions(input=source, num_shards=2))
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.conversion.manifest.publish", lambda *_: 1 / 0)
        with pytest.raises(Exception, match="division by zero"):
            run_plan(plan, str(tmp_path), with_statistics=False)
    assert run_plan(plan, str(tmp_path)).kept == 0
    assert (tmp_path / "raw/1.0.0/stats.json").exists()


def test_stats_pb_is_a_tfdv_statistics_list(tmp_path):
    images, labels = sample()
    source = write_source(tmp_path / "raw", images, labels)
    made = pipeline.convert(input=source, output=str(tmp_path / "out"))
    path = tmp_path / "out/raw/1.0.0/stats.pb"
    found = statistics_pb2.DatasetFeatureStatisticsList.FromString(path.read_bytes())
    assert [(d.name, d.num_examples) for d in found.datasets] == [("train", 400), ("test", 400)]
    image, label = found.datasets[0].features
    assert (image.path.step[0], label.path.step[0]) == ("image", "label")
    assert image.bytes_stats.avg_num_bytes == 24
    assert {c.name: c.num for c in image.custom_stats}["mean"] == pytest.approx(images.mean())
    assert label.num_stats.mean == pytest.approx(labels.mean())
    buckets = [b.sample_count for b in label.num_stats.histograms[0].buckets]
    assert buckets == np.bincount(labels).tolist()
    assert set(made.manifest.files) == {"stats.json", "stats.pb"}


def test_scale_and_one_hot_are_told_as_the_feature_has_them(tmp_path):
    images, labels = sample()
    source = write_source(tmp_path / "raw", images, labels)
    pipeline.convert(input=source, output=str(tmp_path / "out"), example_format="article")
    told = stats_of(tmp_path / "out/raw/1.0.0")["splits"]["train"]["features"]
    assert told["image"]["max"] == pytest.approx(1.0)
    assert told["image"]["mean"] == pytest.approx((images / 255).mean())
    assert told["label"]["labels"]["2"]["count"] == (labels == 2).sum()


def test_statistics_off_leaves_none(tmp_path, capsys):
    source = write_source(tmp_path / "raw", *sample())
    arguments = ["convert", "--input", source, "--output", str(tmp_path), "--statistics", "off"]
    assert main([*arguments, "--quiet"]) == 0
    assert not list((tmp_path / "raw/1.0.0").glob("stats*"))


@pytest.mark.parametrize(("dtype", "low"), [(">i4", -300), (">i2", 0), (">u4", 5)])
def test_integers_near_one_another_are_counted_as_any_others_are_seen(dtype, low, monkeypatch):
    random = np.random.default_rng(0)
    lengths = random.integers(0, 60, 200)
    values = random.integers(low, low + 2000, lengths.sum()).astype(dtype)
    counted = observe(values, np.arange(200), 3, lengths)
    assert list(counted.sums) == [0]
    monkeypatch.setattr(accumulate, "COUNTED_VALUES", 0)
    seen = observe(values, np.repeat(np.arange(200), lengths), 3)
    for one in (counted, seen):
        one.sums = total({e: part[0] for e, part in one.sums.items()})
        one.squares = total(one.squares)
    assert counted.histogram.tolist() == seen.histogram.tolist()
    counted.histogram = seen.histogram = None
    assert counted == seen
