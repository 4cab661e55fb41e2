import itertools

import lists
import numpy as np
import pytest
import samples
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

import pipeline
from pipeline.errors import UsageError
from train.data import load
from train.lists import bucket_batches


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    lists.write_words(folder / "raw", 100)
    return pipeline.convert(
        input=str(folder / "raw"), output=str(folder / "out"), num_shards={"train": 3, "test": 1}
    ).folder


@pytest.fixture(scope="module")
def wanted(text):
    return list(map(tuple, pipeline.open_dataset(text)["train"][:]["words"]))


def unpadded(batches):
    return [
        tuple(row[:length])
        for batch in batches.as_numpy_iterator()
        for row, length in zip(batch["words"], batch["length"], strict=True)
    ]


def test_padded_batches_are_as_long_as_their_longest(text, wanted):
    batches = load(text, "train", 16)
    assert batches.cardinality() == 7
    assert batches.element_spec["words"].shape.as_list() == [None, None]
    assert unpadded(batches) == wanted
    for batch in batches:
        assert batch["words"].shape[1] == int(tf.reduce_max(batch["length"]))


def test_ragged_batches_hold_the_same(text, wanted):
    batches = load(text, "train[10:90]", 16, lists="ragged", drop_remainder=True)
    found = [tuple(row) for batch in batches for row in batch["words"].to_list()]
    assert found == wanted[10:90]
    parsed = next(iter(batches))
    assert isinstance(parsed["words"], tf.RaggedTensor)


@pytest.mark.parametrize("bucket_by_length", [True, [5, 20]])
def test_buckets_hold_records_of_about_one_length(text, wanted, bucket_by_length):
    batches = load(text, "train", 8, bucket_by_length=bucket_by_length)
    found = list(batches.as_numpy_iterator())
    assert len(found) == batches.cardinality()
    assert sorted(unpadded(batches)) == sorted(wanted)
    plain = sum(batch["words"].size for batch in load(text, "train", 8).as_numpy_iterator())
    assert sum(batch["words"].size for batch in found) < 0.8 * plain
    if bucket_by_length != True:  # noqa: E712  # a list is not True
        owners = [np.searchsorted([5, 20], batch["length"]) for batch in found]
        assert all(len(set(owner)) == 1 for owner in owners)
    full = load(text, "train", 8, bucket_by_length=bucket_by_length, drop_remainder=True)
    assert {len(batch["label"]) for batch in full} == {8}
    assert len(list(full)) == full.cardinality()


@pytest.mark.parametrize("options", [{}, {"bucket_by_length": True}])
def test_each_epoch_has_another_order_and_a_seed_repeats_it(text, wanted, options):
    batches = load(text, "train", 8, shuffle_buffer=100, seed=1, **options)
    epochs = [unpadded(batches) for _ in range(2)]
    assert epochs[0] != epochs[1]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(wanted)
    again = load(text, "train", 8, shuffle_buffer=100, seed=1, **options)
    assert unpadded(again) == epochs[0]
    endless = load(text, "train", 8, repeat=True, **options)
    assert endless.cardinality() == tf.data.INFINITE_CARDINALITY
    assert len(list(endless.take(40))) == 40


def test_workers_share_the_records_and_memory_holds_the_same(text, wanted):
    parts = [
        unpadded(load(text, "train", 8, cache=True, input_context=context))
        for context in (tf.distribute.InputContext(2, part, 2) for part in range(2))
    ]
    assert parts[0] + parts[1] == wanted


def test_frames_are_padded_in_time_only(tmp_path):
    frames = np.arange(5 * 4 * 3 * 2).reshape(5, 4, 3, 2).astype(np.uint8)
    folder = samples.write_columns(
        tmp_path / "raw", {"frames": frames}, '[features.frames]\nkind = "sequence"'
    )
    made = pipeline.convert(input=str(folder), output=str(tmp_path / "out"), shuffle="none")
    batch = next(iter(load(made.folder, "train", 5)))
    assert (batch["frames"].numpy() == frames).all()


@given(buckets=st.lists(st.integers(0, 4), max_size=50), batch_size=st.integers(1, 6))
def test_batches_are_of_one_bucket_and_hold_all_records(buckets, batch_size):
    places, counts = bucket_batches(np.array(buckets, np.int64), batch_size)
    assert sorted(places) == list(range(len(buckets)))
    batches = np.split(places, np.cumsum(counts)[:-1]) if len(counts) else []
    assert all(len({buckets[place] for place in batch}) == 1 for batch in batches)
    assert all(list(batch) == sorted(batch) for batch in batches)
    full = [len(batch) == batch_size for batch in batches]
    assert full == sorted(full, reverse=True)
    last = [batch[-1] for batch, whole in zip(batches, full, strict=True) if whole]
    assert all(a < b for a, b in itertools.pairwise(last))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lists": "sparse"}, "lists 'sparse': wanted padded or ragged"),
        ({"bucket_by_length": [5, 5]}, r"bucket_by_length \(5, 5\): wanted lengths .* ascending"),
        ({"bucket_by_length": []}, r"bucket_by_length \(\): wanted lengths"),
    ],
)
def test_wrong_options_are_explained(text, options, message):
    with pytest.raises(UsageError, match=message):
        load(text, "train", 8, **options)


def test_images_have_no_lists(dataset):
    with pytest.raises(UsageError, match="has no lists of varying length; leave out"):
        load(str(dataset), "train", 8, bucket_by_length=True)
