import gzip
import itertools

import lists
import numpy as np
import pytest
import samples
from hypothesis import given
from hypothesis import strategies as st
from samples import planned

from pipeline import planning, sizing
from pipeline.errors import InputError, UsageError
from pipeline.plan import Plan


@pytest.fixture
def folder(tmp_path):
    return lists.write_words(tmp_path / "raw")


def sizes_written(plan, folder):
    return {
        split.name: tuple(
            (folder / plan.shard_name(shard)).stat().st_size for shard in split.shards()
        )
        for split in plan.splits
    }


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_shards": 4, "shuffle": "none"},
        {"max_shard_size_bytes": 2000},
        {"max_shard_size_bytes": 2000, "num_shards": 12},
        {"validation": 0.2, "max_records_per_split": 20, "num_shards": 2},
        {"record_type": "example", "num_shards": 3},
    ],
)
def test_the_plan_knows_the_bytes_of_each_shard(folder, tmp_path, options):
    plan = planned(folder, **options)
    samples.write_shards(plan, tmp_path)
    for split in plan.splits:
        assert split.shard_bytes == sizes_written(plan, tmp_path)[split.name]
        assert all(shard.count for shard in split.shards())
        if limit := options.get("max_shard_size_bytes"):
            assert max(split.shard_bytes) <= limit
        if split.name == "train":
            assert split.num_shards >= options.get("num_shards", 1)
    assert plan.num_bytes == sum(map(sum, sizes_written(plan, tmp_path).values()))


def test_shards_are_of_about_equal_bytes(folder):
    split = planned(folder, num_shards=4).split("train")
    assert max(split.shard_bytes) - min(split.shard_bytes) <= split.longest_bytes


def test_the_concatenation_does_not_depend_on_the_number_of_shards(folder, tmp_path):
    found = set()
    for number in (1, 3, 60):
        plan = planned(folder, num_shards=number)
        (target := tmp_path / str(number)).mkdir()
        samples.write_shards(plan, target)
        found.add(samples.joined(plan, target, "train"))
    assert len(found) == 1


def test_a_plan_survives_json(folder):
    plan = planned(folder, num_shards=3)
    again = Plan.from_json(__import__("json").loads(__import__("json").dumps(plan.to_json())))
    assert again == plan
    assert again.digest() == plan.digest()
    other = planned(folder, num_shards=3, record_type="example")
    assert other.digest() != plan.digest()


@given(
    sizes=st.lists(st.one_of(st.integers(1, 9), st.integers(500, 900)), min_size=1, max_size=60),
    data=st.data(),
)
def test_cuts_cover_all_records_in_order(sizes, data):
    step = data.draw(st.integers(1, 70))
    array = np.array(sizes)

    def sized():
        for first in range(0, len(array), step):
            yield first + 100, array[first : first + step]

    count = data.draw(st.integers(1, len(sizes)))
    even = sizing._cut_evenly(sized, int(array.sum()), count, (100, 100 + len(sizes)))
    bounds = [100, *even, 100 + len(sizes)]
    assert len(bounds) == count + 1
    assert all(a < b for a, b in itertools.pairwise(bounds))
    limit = data.draw(st.integers(max(sizes), 2000))
    full = sizing._cut_at(sized, limit)
    sums = sizing._sums(sized, full)
    parts = np.split(array, np.array(full, np.int64) - 100)
    assert [part.sum() for part in parts] == list(sums)
    assert max(sums) <= limit
    # No shard could have taken the next one's first record, too.
    assert all(a.sum() + b[0] > limit for a, b in itertools.pairwise(parts))


def change(folder, name, array):
    samples.write(folder / name, array)


def test_lengths_that_do_not_sum_up_are_named(folder):
    tokens, lengths = lists.words(60)
    change(folder, "train-words.idx", tokens[:-2])
    with pytest.raises(
        InputError,
        match=rf"train-lengths.idx: the 60 lengths sum up to {len(tokens)}, but .*train-words.idx "
        rf"holds {len(tokens) - 2} values",
    ):
        planned(folder)


def test_a_negative_length_is_named(folder):
    _, lengths = lists.words(60)
    lengths[41] = -3
    change(folder, "train-lengths.idx", lengths)
    with pytest.raises(InputError, match=r"train-lengths.idx: record 41: a length of -3"):
        planned(folder)


def test_another_number_of_lengths_is_named(folder):
    change(folder, "test-lengths.idx", np.zeros(9, np.int16))
    with pytest.raises(InputError, match=r"differ in their number of records: label 15, words.*9"):
        planned(folder)


def test_lengths_are_whole_numbers(folder):
    for split, count in (("train", 60), ("test", 15)):
        change(folder, f"{split}-lengths.idx", np.zeros(count, np.float32))
    with pytest.raises(InputError, match=r"records of float32\[\] cannot be lengths"):
        planned(folder)


def test_a_record_larger_than_a_shard_is_named(folder):
    with pytest.raises(UsageError, match=r"max_shard_size 50 bytes: the longest record of train"):
        planned(folder, max_shard_size_bytes=50)


def test_too_many_shards_are_refused(folder, monkeypatch):
    monkeypatch.setattr(planning, "MAX_NUM_SHARDS", 5)
    with pytest.raises(UsageError, match="would have .* shards, 5 at most; raise max_shard_size"):
        planned(folder, max_shard_size_bytes=600)


def test_a_dataset_of_empty_lists_and_one_without_records(tmp_path):
    folder = lists.write_words(tmp_path / "raw", 5, 5)
    for split in ("train", "test"):
        change(folder, f"{split}-words.idx", np.zeros(0, np.int32))
        change(folder, f"{split}-lengths.idx", np.zeros(5, np.uint8))
    plan = planned(folder)
    assert plan.split("train").shard_bytes == (plan.split("train").longest_bytes,) * 5
    for split in ("train", "test"):
        change(folder, f"{split}-label.idx", np.zeros(0, np.uint8))
        change(folder, f"{split}-lengths.idx", np.zeros(0, np.uint8))
    assert planned(folder).num_bytes == 0


def test_lengths_in_gzip_are_read_at_planning(folder, tmp_path):
    zipped = lists.write_words(tmp_path / "zipped", ending=".gz")
    assert gzip.decompress((zipped / "train-lengths.idx.gz").read_bytes())
    assert planned(zipped).splits == planned(folder).splits


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (("values = ", "vals = "), r"found the keys vals, lengths; a list in each record needs"),
        (("[features.label]", 'kind = "context"\n[features.label]'), "cannot be kind context"),
        (("num_classes = 10", 'kind = "sequence"'), "needs an axis of time"),
        (("num_classes = 10", 'kind = "time"'), "kind 'time' is unknown; there is context"),
        (('name = "text"', 'name = "text"\nrecord_type = "list"'), "record_type 'list': wanted"),
    ],
)
def test_a_wrong_dataset_toml_is_explained(folder, edit, message):
    path = folder / "dataset.toml"
    assert edit[0] in path.read_text()
    path.write_text(path.read_text().replace(*edit))
    with pytest.raises(UsageError, match=message):
        planned(folder)


def test_a_sequence_example_needs_a_sequence(tmp_path):
    folder = samples.write_mnist(tmp_path / "raw")
    with pytest.raises(UsageError, match="record_type sequence_example: no column is a sequence"):
        planned(folder, record_type="sequence_example")


def test_each_list_of_its_own_length_tells_it(folder):
    path = folder / "dataset.toml"
    text = path.read_text()
    for split in ("train", "test"):
        same = f'{{ values = "{split}-words.idx", lengths = "{split}-lengths.idx" }}'
        text = text.replace(f"words = {same}", f"words = {same}\ntags = {same}")
    path.write_text(text)
    names = [feature.name for feature in planned(folder).features]
    assert names == ["label", "length", "tags", "words"]
    for split in ("train", "test"):
        copy = folder / f"{split}-copy.idx"
        copy.write_bytes((folder / f"{split}-lengths.idx").read_bytes())
        text = text.replace(
            f'tags = {{ values = "{split}-words.idx", lengths = "{split}-lengths.idx" }}',
            f'tags = {{ values = "{split}-words.idx", lengths = "{split}-copy.idx" }}',
        )
    path.write_text(text)
    names = [feature.name for feature in planned(folder).features]
    assert names == ["label", "tags", "tags_length", "words", "words_length"]
