import numpy as np
import pytest
from striped import COUNTS, images, make_dataset

from pipeline import open_dataset
from pipeline.errors import DatasetError, UsageError
from train.feed import Feed, describe, in_order, require_split


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    # An index tells which record is which.
    folder = make_dataset(tmp_path_factory.mktemp("striped"), index_feature=True)
    return open_dataset(folder)


@pytest.fixture(scope="module")
def task(dataset):
    return describe(dataset, None, None)


def feed(dataset, task, **more):
    return Feed(dataset, "train", task, **{"batch_size": 16, **more})


def collect(feed, first, last):
    """Images and labels of all records that have a weight, by step."""
    steps = []
    for some, classes, weights in feed.groups(first, last):
        assert some.shape[:2] == classes.shape == weights.shape
        for row in range(len(classes)):
            kept = np.asarray(weights[row]) > 0
            steps.append((np.asarray(some[row])[kept], np.asarray(classes[row])[kept]))
    return steps


def rows(steps):
    return sorted(image.tobytes() for some, _ in steps for image in some)


WAYS = [
    {"use_tf_data": True},
    {"cache": "none"},
    {"cache": "memory"},
    {"cache": "device"},
    {"use_tf_data": True, "group": 4},
    {"cache": "device", "group": 4},
]


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("shuffle_buffer", [0, 50, 1000])
def test_every_record_once_an_epoch_with_its_own_label(dataset, task, way, shuffle_buffer):
    made = feed(dataset, task, shuffle_buffer=shuffle_buffer, **way)
    assert (made.steps_per_epoch, made.count) == (13, 200)
    steps = collect(made, 0, 13)
    assert [len(labels) for _, labels in steps] == [16] * 12 + [8]
    values, classes = images(COUNTS["train"], 0)
    assert rows(steps) == sorted(image.tobytes() for image in values)
    of = {image.tobytes(): label for image, label in zip(values, classes, strict=True)}
    assert all(
        of[i.tobytes()] == k for some, labels in steps for i, k in zip(some, labels, strict=True)
    )


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_step_is_the_same_wherever_one_begins(dataset, task, way):
    made = feed(dataset, task, shuffle_buffer=64, seed=3, **way)
    whole = collect(made, 13, 26)
    rest = collect(feed(dataset, task, shuffle_buffer=64, seed=3, **way), 18, 26)
    assert all((a[0] == b[0]).all() for a, b in zip(whole[5:], rest, strict=True))


def test_epochs_and_seeds_have_orders_of_their_own(dataset, task):
    made = feed(dataset, task, shuffle_buffer=1000)
    other = feed(dataset, task, shuffle_buffer=1000, seed=1)
    first, second = collect(made, 0, 13), collect(made, 13, 26)
    assert (first[0][0] != second[0][0]).any()
    assert (first[0][0] != collect(other, 0, 13)[0][0]).any()


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("workers", [2, 3])
def test_workers_share_an_epoch(dataset, task, way, workers):
    feeds = [
        feed(dataset, task, batch_size=12, shuffle_buffer=64, worker=w, workers=workers, **way)
        for w in range(workers)
    ]
    count = feeds[0].steps_per_epoch
    assert {f.steps_per_epoch for f in feeds} == {count}
    parts = [collect(f, 0, count) for f in feeds]
    assert {len(part) for part in parts} == {count}
    assert rows(sum(parts, [])) == sorted(i.tobytes() for i in images(COUNTS["train"], 0)[0])
    seen = [0]
    for step in zip(*parts, strict=True):
        seen.append(seen[-1] + sum(len(labels) for _, labels in step))
    assert [feeds[0].records_until(step) for step in range(count + 1)] == seen
    assert feeds[0].records_until(count + 1) == 200 + seen[1]


def test_a_worker_whose_part_is_over_goes_on_without_weight(dataset, task):
    # 200 records: parts of 66, 67, 67; in steps of 11 the first is done a step earlier.
    made = feed(dataset, task, batch_size=33, worker=0, workers=3, use_tf_data=True)
    groups = list(made.groups(0, 7))
    assert np.asarray(groups[5][2]).sum() == 11
    assert np.asarray(groups[6][2]).sum() == 0
    assert groups[6][0].shape == (1, 11, 6, 5)
    only = list(made.groups(6, 7))
    assert np.asarray(only[0][2]).sum() == 0


def test_groups_begin_at_multiples_of_their_size(dataset, task):
    made = feed(dataset, task, group=5)
    assert [len(group[1]) for group in made.groups(0, 13)] == [5, 5, 1, 1, 1]
    assert [len(group[1]) for group in made.groups(13, 26)] == [1, 1, 5, 5, 1]


def test_in_order_gives_full_batches_and_the_rest(dataset, task):
    batches = list(in_order(dataset, "train", task, 48))
    assert [len(labels) for _, labels in batches] == [48, 48, 48, 48, 8]
    wanted = dataset["train"][:]["image"]
    assert (np.concatenate([some for some, _ in batches]) == wanted).all()


def test_classes_are_counted_where_no_feature_tells(tmp_path):
    unnamed = open_dataset(make_dataset(tmp_path, named=False))
    assert describe(unnamed, None, None).class_names == ("0", "1", "2")


def test_a_batch_that_workers_cannot_share(dataset, task):
    with pytest.raises(UsageError, match="--batch_size 16: cannot be spread evenly over 3"):
        feed(dataset, task, workers=3)


def test_a_missing_or_short_split(dataset):
    with pytest.raises(DatasetError, match="has no split 'dev'; there is "):
        require_split(dataset, "dev")
    with pytest.raises(DatasetError, match="split 'test' has 60 records; wanted 61 or more"):
        require_split(dataset, "test", 61)


def test_compressed_shards_have_to_be_kept_in_memory(tmp_path):
    packed = open_dataset(make_dataset(tmp_path, compression="gzip"))
    task = describe(packed, None, None)
    with pytest.raises(DatasetError, match="compressed and cannot be read by record number; pass"):
        feed(packed, task)
    assert len(collect(feed(packed, task, cache="memory", shuffle_buffer=50), 0, 13)) == 13
    assert len(collect(feed(packed, task, use_tf_data=True), 0, 13)) == 13
