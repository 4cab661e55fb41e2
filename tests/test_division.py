import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import write, write_columns, write_mnist

import pipeline
from launch.plan import describe
from pipeline import idx, open_dataset
from pipeline.division import Division, choose, hash_numbers
from pipeline.errors import UsageError
from pipeline.options import PlanOptions
from pipeline.plan import Plan
from pipeline.planning import make_plan
from pipeline.splits import fold_counts, parse_split


def converted(folder, source, **options):
    made = pipeline.convert(input=str(source), output=str(folder), index_feature=True, **options)
    return open_dataset(made.folder)


def sides(dataset):
    return {split: dataset[split][:]["index"] for split in ("train", "validation")}


def test_hash_pinned():
    # Every dataset that was divided by hash depends on these.
    assert hash_numbers(np.arange(3), 0, "hash").tolist() == PINNED


PINNED = [3315194364, 3570782457, 2941928165]


@given(st.integers(1, 500), st.floats(0.01, 0.99), st.integers(0, 9))
def test_stratified_shares_are_exact(count, share, seed):
    values = np.random.default_rng(seed).integers(0, 4, count)
    chosen = choose(Division("stratify", "label", share, seed), count, values)
    for value in np.unique(values):
        assert chosen[values == value].sum() == round(share * (values == value).sum())


def test_hash_keeps_records_on_their_side_when_others_are_appended(tmp_path):
    small = converted(
        tmp_path / "a", write_mnist(tmp_path / "small", train=200), validation=0.2, split_by="hash"
    )
    large = converted(
        tmp_path / "b", write_mnist(tmp_path / "large", train=300), validation=0.2, split_by="hash"
    )
    one, two = sides(small), sides(large)
    assert 20 < len(one["validation"]) < 60
    for split in ("train", "validation"):
        assert set(one[split]) == {number for number in two[split] if number < 200}


def test_stratify(tmp_path):
    source = write_mnist(tmp_path / "raw", train=400)
    idx.write_idx(
        str(source / "train-labels-idx1-ubyte"), np.repeat([0, 1], [300, 100]).astype("u1")
    )
    options = {"validation": 0.1, "stratify": "label"}
    made = converted(tmp_path / "a", source, num_shards=3, **options)
    labels = made["validation"][:]["label"]
    assert np.bincount(labels).tolist() == [30, 10]
    both = sides(made)
    assert sorted([*both["train"], *both["validation"]]) == list(range(400))
    # Shards are ranges of one order, however many they are.
    again = converted(tmp_path / "b", source, num_shards=1, **options)
    assert np.array_equal(sides(again)["train"], both["train"])
    text = describe(made.manifest.plan)
    assert "validation: 40 records" in text
    assert "the same share of each label" in text
    assert Plan.from_json(made.manifest.plan.to_json()) == made.manifest.plan


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_group_stands_on_one_side_only(tmp_path, ending):
    people = (np.arange(600) % 40).astype(np.int32)
    columns = {"image": np.zeros((600, 2, 2), np.uint8), "person": people}
    source = write_columns(tmp_path / "raw", columns)
    if ending:
        (source / "person.idx").unlink()
        write(source / "person.idx.gz", people)
        described = source / "dataset.toml"
        described.write_text(described.read_text().replace("person.idx", "person.idx.gz"))
    made = converted(tmp_path / "a", source, validation=0.3, group="person")
    found = {split: set(made[split][:]["person"]) for split in ("train", "validation")}
    assert not found["train"] & found["validation"]
    assert found["train"] | found["validation"] == set(range(40))
    assert made.splits["train"] + made.splits["validation"] == 600


def test_folds_are_views_of_one_set_of_shards(tmp_path):
    made = converted(tmp_path, write_mnist(tmp_path / "raw", train=50), folds=3)
    whole = made["train"][:]["index"].tolist()
    seen = []
    for number in range(3):
        train = made[f"fold{number}/train"][:]["index"].tolist()
        validation = made[f"fold{number}/validation"][:]["index"].tolist()
        assert sorted(train + validation) == sorted(whole)
        seen += validation
    assert seen == whole
    from train import load

    batches = load(made.path, "fold1/train", 8)
    counts = fold_counts(3, {"train": 50})
    assert sum(len(batch["label"]) for batch in batches) == counts["fold1/train"]
    assert "fold1/train: 33 records" in describe(made.manifest.plan)
    for name, message in (
        ("fold3/train", "is not there"),
        ("fold0/train[:5]", "taken whole"),
        ("fold0/test", "is not there"),
    ):
        with pytest.raises(UsageError, match=message):
            parse_split(name, {"train": 50}, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stratify": "label"}, "stratify: chooses who goes to validation; give --validation"),
        ({"split_by": "hash", "validation": 5}, "split_by hash: chooses who goes to validation"),
        ({"stratify": "a", "group": "b", "validation": 0.1}, "stratify and group exclude"),
        ({"split_by": "name"}, "split_by 'name': wanted order or hash"),
        ({"folds": 1}, "folds 1: wanted 2 or more"),
        ({"folds": 3, "validation": 0.1}, "no --validation beside them"),
        ({"stratify": "colour", "validation": 0.1}, "'colour': is no column; there is"),
        ({"group": "image", "validation": 0.1}, "want a column of one integer a record"),
    ],
)
def test_options_that_cannot_be(tmp_path, options, message):
    source = write_mnist(tmp_path / "raw")
    with pytest.raises(UsageError, match=message):
        make_plan(PlanOptions(input=str(source), **options))
