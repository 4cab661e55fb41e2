import json
from pathlib import Path

import pytest
from laws import contents
from samples import planned, write_shards

from pipeline.errors import OutputError
from pipeline.manifest import make_manifest, publish
from pipeline.output import (
    STATE,
    check_ours,
    clean,
    count_receipts,
    differences,
    kept_receipt,
    locked,
    prepare,
    save_receipt,
    state_path,
)


def started(mnist: Path, folder: Path, **options: object) -> None:
    """A conversion that was stopped when all shards were complete."""
    plan = planned(mnist, num_shards=2, **options)
    with locked(str(folder)):
        prepare(str(folder), plan, overwrite=False)
        for receipt in write_shards(plan, folder):
            save_receipt(str(folder), receipt)


def finished(mnist: Path, folder: Path, **options: object) -> None:
    plan = planned(mnist, num_shards=2, **options)
    publish(str(folder), make_manifest(plan, write_shards(plan, folder), []))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "out" / "raw" / "1.0.0"


def test_complete_shards_are_kept(mnist: Path, folder: Path) -> None:
    started(mnist, folder)
    plan = planned(mnist, num_shards=2)
    assert count_receipts(str(folder)) == 4
    assert prepare(str(folder), plan, overwrite=False) is None
    for split in plan.splits:
        for shard in split.shards():
            receipt = kept_receipt(str(folder), plan, shard)
            assert receipt is not None
            assert receipt.records == shard.count


@pytest.mark.parametrize("spoil", ["shard", "cut", "missing", "receipt", "no receipt"])
def test_shards_that_were_harmed_are_made_again(mnist: Path, folder: Path, spoil: str) -> None:
    started(mnist, folder)
    plan = planned(mnist, num_shards=2)
    first, second = plan.split("train").shards()
    path = folder / plan.shard_name(first)
    receipt = folder / STATE / "receipts" / f"{path.name}.json"
    content = path.read_bytes()
    if spoil == "shard":
        path.write_bytes(content[:99] + bytes([content[99] ^ 1]) + content[100:])
    elif spoil == "cut":
        path.write_bytes(content[:-1])
    elif spoil == "missing":
        path.unlink()
    elif spoil == "receipt":
        receipt.write_text("{}")
    else:
        receipt.unlink()
    assert kept_receipt(str(folder), plan, first) is None
    assert kept_receipt(str(folder), plan, second) is not None


def test_what_was_half_written_goes(mnist: Path, folder: Path) -> None:
    started(mnist, folder)
    half = folder / "raw-train.tfrecord-00000-of-00002.tmp-abc"
    half.touch()
    prepare(str(folder), planned(mnist, num_shards=2), overwrite=False)
    assert not half.exists()
    half.touch()
    clean(str(folder))
    assert not half.exists()
    assert not (folder / STATE).exists()


@pytest.mark.parametrize(
    ("state", "what"), [(started, "an unfinished conversion"), (finished, "a")]
)
def test_another_plan_is_refused(mnist: Path, folder: Path, state: object, what: str) -> None:
    state(mnist, folder)  # type: ignore[operator]
    before = contents(folder)
    with pytest.raises(OutputError, match=rf"holds {what}.* of another plan \(.*seed was 0, is 1"):
        prepare(str(folder), planned(mnist, num_shards=2, seed=1), overwrite=False)
    assert contents(folder) == before


@pytest.mark.parametrize("state", [started, finished])
def test_overwrite_leaves_nothing_behind(mnist: Path, folder: Path, state: object) -> None:
    state(mnist, folder)  # type: ignore[operator]
    (folder / "stray").mkdir()
    prepare(str(folder), planned(mnist, num_shards=3), overwrite=True)
    assert set(contents(folder)) - {f"{STATE}/lock"} == {f"{STATE}/plan.json"}


def test_a_finished_dataset_of_this_plan_is_known(mnist: Path, folder: Path) -> None:
    finished(mnist, folder)
    manifest = prepare(str(folder), planned(mnist, num_shards=2), overwrite=False)
    assert manifest is not None
    assert manifest.count("train") == 50


def test_an_input_that_was_changed_since(mnist: Path, folder: Path) -> None:
    started(mnist, folder)
    (mnist / "train-images-idx3-ubyte").touch()
    with pytest.raises(
        OutputError, match=r"input was changed since: train-images-idx3-ubyte; give --overwrite"
    ):
        prepare(str(folder), planned(mnist, num_shards=2), overwrite=False)


def test_what_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    check_ours(str(tmp_path / "none"))
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(OutputError, match=r"is not empty, and holds no dataset .*\(thesis\.tex\)"):
        check_ours(str(tmp_path))


@pytest.mark.parametrize("state", [started, finished])
def test_what_is_ours(mnist: Path, folder: Path, state: object) -> None:
    state(mnist, folder)  # type: ignore[operator]
    check_ours(str(folder))
    assert folder.exists()


def test_the_lock_keeps_a_second_conversion_out(folder: Path) -> None:
    with (
        locked(str(folder)),
        pytest.raises(OutputError, match="another conversion is writing there; wait for it"),
        locked(str(folder)),
    ):
        pass
    with locked(str(folder)):
        assert Path(state_path(str(folder), "lock")).exists()


def test_the_lock_leaves_no_folder_of_its_own(folder: Path) -> None:
    with locked(str(folder)):
        assert folder.exists()
    assert not folder.exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(
            OutputError, match=r"cannot be written: Not a directory; give --output a fol"
        ),
        locked(str(tmp_path / "file" / "in")),
    ):
        pass


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"b": 1}, ["a was 1, is null", "b was null, is 1"]),
        ([1, 2], [1, 3], ["[1] was 2, is 3"]),
        ([1], [1, 2], [" was [1], is [1, 2]"]),
        (
            {"splits": [{"name": "train", "num_shards": 2}]},
            {"splits": [{"name": "train", "num_shards": 3}]},
            ["splits[train].num_shards was 2, is 3"],
        ),
    ],
)
def test_differences(old: object, new: object, wanted: list[str]) -> None:
    assert differences(json.loads(json.dumps(old)), new) == wanted
