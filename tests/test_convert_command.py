"""`recordmill convert` and `run`: what each flag changes on disk, and what bad input leads to."""

import gzip
import resource
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Command
from laws import contents, messages
from samples import idx_bytes, images, labels, write, write_columns, write_mnist

import pipeline
from pipeline import engine
from pipeline.manifest import load_manifest


def convert(recordmill: Command, folder: Path, output: Path, *argv: object) -> Path:
    ran = recordmill("convert", "--input", folder, "--output", output, *argv)
    assert ran.code == 0, ran.err
    manifests = list(output.rglob("manifest.json"))
    assert len(manifests) == 1
    return manifests[0].parent


def test_a_conversion_tells_what_it_did(recordmill: Command, mnist: Path, tmp_path: Path) -> None:
    ran = recordmill("convert", "--input", mnist, "--output", tmp_path / "out", "--num_shards=2")
    assert ran.code == 0
    folder = tmp_path / "out" / "raw" / "1.0.0"
    assert "train: 50 records in 2 shards" in ran.out
    assert f"{folder}: 70 records, 4.8 KiB in " in ran.out
    assert f"digest {load_manifest(str(folder)).digest}" in ran.out
    again = recordmill("convert", "--input", mnist, "--output", tmp_path / "out", "--num_shards=2")
    assert "4 of 4 shards kept" in again.out


def test_quiet(recordmill: Command, mnist: Path, tmp_path: Path) -> None:
    ran = recordmill("convert", "--input", mnist, "--output", tmp_path / "out", "--quiet")
    assert (ran.code, ran.out, ran.err) == (0, "", "")


def test_a_dry_run_writes_nothing(recordmill: Command, mnist: Path, tmp_path: Path) -> None:
    ran = recordmill("convert", "--input", mnist, "--output", tmp_path / "out", "--dry_run")
    assert ran.code == 0
    assert "train: 50 records in 8 shards" in ran.out
    assert not (tmp_path / "out").exists()


def test_many_flags_at_once(recordmill: Command, mnist: Path, tmp_path: Path) -> None:
    """Each of these is seen alone in test_plan_command.py; here, that they reach the disk."""
    folder = convert(
        recordmill, mnist, tmp_path / "out", "--name=digits", "--version=2.0.0", "--validation=0.2",
        "--num_shards=train=2,validation=1,test=1", "--seed=3", "--index_feature",
        "--shape_features", "--max_records_per_split=15", "--feature=image=float_list",
        "--feature=label=one_hot,num_classes=10",
    )  # fmt: skip
    assert folder == tmp_path / "out" / "digits" / "2.0.0"
    names = {path.name for path in folder.glob("*tfrecord*")}
    assert names == {
        "digits-train.tfrecord-00000-of-00002",
        "digits-train.tfrecord-00001-of-00002",
        "digits-validation.tfrecord-00000-of-00001",
        "digits-test.tfrecord-00000-of-00001",
    }
    opened = pipeline.open_dataset(str(folder))
    assert opened.splits == {"train": 15, "validation": 10, "test": 15}
    found = opened["train"][:]
    numbers = found["index"]
    order = pipeline.make_plan(pipeline.PlanOptions(input=str(mnist), seed=3)).order("train")
    np.testing.assert_array_equal(numbers, order(np.arange(15)))
    np.testing.assert_array_equal(found["image"], images(50)[numbers].astype(np.float32))
    np.testing.assert_array_equal(found["label"].argmax(1), labels(50)[numbers])
    assert (found["height"][0], found["width"][0], found["depth"][0]) == (5, 4, 1)


def test_flags_of_the_order_format_and_compression(
    recordmill: Command, mnist: Path, tmp_path: Path
) -> None:
    folder = convert(
        recordmill, mnist, tmp_path / "out", "--shuffle=none", "--example_format=article",
        "--compression=gzip", "--max_shard_size=8KiB", "--feature=image=bytes,scale=2",
    )  # fmt: skip
    shards = sorted(folder.glob("*-train.tfrecord-*"))
    assert len(shards) == 2
    content = b"".join(gzip.decompress(shard.read_bytes()) for shard in shards)
    assert len(messages(content)) == 50
    blocks = list(pipeline.open_dataset(str(folder)).blocks("train"))
    found = np.concatenate([block["image"] for block in blocks])
    np.testing.assert_array_equal(found, (images(50) / 255).astype(np.float32))


def test_overwrite(recordmill: Command, mnist: Path, tmp_path: Path) -> None:
    argv = ("convert", "--input", mnist, "--output", tmp_path / "out")
    assert recordmill(*argv).code == 0
    refused = recordmill(*argv, "--num_shards=2")
    assert refused.code == 1
    assert "of another plan (splits[train].num_shards was 8, is 2" in refused.err
    assert recordmill(*argv, "--num_shards=2", "--overwrite").code == 0
    assert len(list((tmp_path / "out").rglob("*.tfrecord-*"))) == 4


def test_beam_s_flags_pass_through(
    recordmill: Command, mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    make = engine.make_options
    monkeypatch.setattr(
        "pipeline.engine.make_options",
        lambda args, *more: seen.append(list(args)) or make(args, *more),
    )
    convert(recordmill, mnist, tmp_path / "out", "--direct_running_mode=in_memory")
    assert any("--direct_running_mode=in_memory" in args for args in seen)
    ran = recordmill(
        "convert", "--input", mnist, "--output", tmp_path / "b",
        "--direct-running-mode=multi_threading",
    )  # fmt: skip
    assert ran.code == 2
    assert "multi_threading loses records" in ran.err
    assert not (tmp_path / "b").exists()


def put(name: str, content: bytes) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes(content)


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
RAW = idx_bytes(images(50))
HUGE = struct.pack(">BBBB3I", 0, 0, 8, 3, 2**32 - 1, 2**16, 2**16) + RAW[16:]

BAD: dict[str, tuple[Callable[[Path], Any], int, str]] = {
    "not IDX": (put(IMAGES, b"<html>" * 99), 1, r"bytes 0-3 are 3c68746d, not IDX"),
    "cut off": (put(IMAGES, RAW[:-5]), 1, r"1016 bytes in all, the file has 1011; 5 are missing"),
    "trailing": (put(IMAGES, RAW + b"!"), 1, r"the file has 1017; 1 trail behind"),
    "huge": (put(IMAGES, HUGE), 1, r"4294967295x65536x65536 uint8 values"),
    "dtype": (put(IMAGES, RAW[:2] + b"\x07" + RAW[3:]), 1, r"dtype code 07 at byte 2 is unknown"),
    "counts": (put(LABELS, idx_bytes(labels(49))), 1, r"image 50, label 49; compare"),
    "no files": (lambda f: [path.unlink() for path in f.iterdir()], 1, r"no IDX files found"),
    "no gzip": (
        lambda f: (f / IMAGES).rename(f / f"{IMAGES}.gz").write_bytes(b"plain text"),
        1,
        r"named \.gz, but bytes 0-3 are 706c6169, neither gzip \(1f8b\) nor IDX",
    ),
    "gzip cut off": (put(IMAGES, gzip.compress(RAW)[:-40]), 1, r"broken gzip"),
    "gzip trailing": (put(IMAGES, gzip.compress(RAW + b"!")), 1, r"inflates to more than the 1016"),
    "gzip short": (put(IMAGES, gzip.compress(RAW[:-20])), 1, r"the file has 996; 20 are missing"),
    "gzip huge": (put(IMAGES, gzip.compress(HUGE)), 1, r"4294967295|differ in their number"),
}  # fmt: skip


def assert_one_clear_error(ran: Any, code: int, message: str) -> None:
    assert (ran.code, ran.out) == (code, "")
    with pytest.raises(RuntimeError, match=message):
        raise RuntimeError(ran.err)
    lines = [line for line in ran.err.splitlines() if "recordmill: error: " in line]
    assert len(lines) == 1
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("case", BAD)
def test_bad_input(recordmill: Command, mnist: Path, tmp_path: Path, case: str) -> None:
    spoil, code, message = BAD[case]
    spoil(mnist)
    ran = recordmill("convert", "--input", mnist, "--output", tmp_path / "out")
    assert_one_clear_error(ran, code, message)
    assert not list(tmp_path.rglob("manifest.json"))
    with pytest.raises(pipeline.RecordmillError):
        pipeline.open_dataset(str(tmp_path / "out"))


def test_the_other_way_round_gzip_is_known_by_its_bytes(
    recordmill: Command, mnist: Path, tmp_path: Path
) -> None:
    """Gzip under a name without .gz, and raw IDX under a name with it, are what they are."""
    (mnist / IMAGES).write_bytes(gzip.compress(RAW))
    (mnist / LABELS).rename(mnist / f"{LABELS}.gz")
    folder = convert(recordmill, mnist, tmp_path / "out")
    write_mnist(tmp_path / "plain" / "raw")
    plain = convert(recordmill, tmp_path / "plain" / "raw", tmp_path / "plain" / "out")
    assert load_manifest(str(folder)).digest == load_manifest(str(plain)).digest


def test_labels_outside_of_the_named_classes(recordmill: Command, tmp_path: Path) -> None:
    folder = write_columns(
        tmp_path / "raw", {"label": np.uint8([0, 1, 7])}, '[features.label]\nnames = ["a", "b"]'
    )
    ran = recordmill("convert", "--input", folder, "--output", tmp_path / "out")
    assert_one_clear_error(ran, 1, r"label\.idx: record 2: .*label is 7, outside of the 2 classes")
    assert not list(tmp_path.rglob("manifest.json"))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--num_shards=dev=2"], r"num_shards: no split 'dev'; there is train, test"),
        (["--validation=60"], r"validation 60 of 50 train records leaves -10"),
        (["--num_shrads=2"], r"--num_shrads is unknown; did you mean --num_shards\?"),
        (["--seed"], r"argument --seed: expected one argument"),
        (["--name=a/b"], r"name 'a/b': wanted letters, digits and underscores"),
        (["--feature=lable=one_hot"], r"feature 'lable' is no column; there is image, label"),
    ],
)
def test_used_wrongly(
    recordmill: Command, mnist: Path, tmp_path: Path, argv: list[str], message: str
) -> None:
    ran = recordmill("convert", "--input", mnist, "--output", tmp_path / "out", *argv)
    assert_one_clear_error(ran, 2, message)
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_not_empty(recordmill: Command, mnist: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out" / "raw" / "1.0.0"
    folder.mkdir(parents=True)
    (folder / "thesis.tex").write_text("years of work")
    for more in ([], ["--overwrite"]):
        ran = recordmill("convert", "--input", mnist, "--output", tmp_path / "out", *more)
        assert_one_clear_error(ran, 1, r"is not empty, and holds no dataset.*thesis\.tex")
        assert contents(tmp_path / "out") == {"raw/1.0.0/thesis.tex": b"years of work"}


def test_an_output_that_is_a_file(recordmill: Command, mnist: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    ran = recordmill("convert", "--input", mnist, "--output", tmp_path / "out")
    assert_one_clear_error(ran, 1, r"cannot be written: Not a directory; give --output a folder")


@contextmanager
def tiny_disk(folder: Path, size_bytes: int) -> Iterator[str]:
    """A file system that is soon full; what the system says then."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode == 0:
        try:
            yield "No space left on device"
        finally:
            subprocess.run(["umount", str(folder)], check=True)
        return
    # Without root: a limit for each file takes the place of one for all.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes // 8, hard))
    try:
        yield "File too large"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


Disk = Callable[[Path, int], AbstractContextManager[str]]


@pytest.mark.parametrize("zipped", [False, True], ids=["shards", "inflated"])
def test_a_disk_that_is_full(recordmill: Command, tmp_path: Path, zipped: bool) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    ending = ".gz" if zipped else ""
    write(raw / f"train-images-idx3-ubyte{ending}", np.zeros((2000, 28, 28), np.uint8))
    write(raw / f"train-labels-idx1-ubyte{ending}", labels(2000))
    output = tmp_path / "out"
    output.mkdir()
    with tiny_disk(output, 1 << 20) as told:
        ran = recordmill("convert", "--input", raw, "--output", output, "--num_shards=2")
        assert_one_clear_error(ran, 1, rf"cannot be written: {told}; mend that and start the same")
        left = {name for name in contents(output) if "tfrecord" in name and "receipts" not in name}
        assert not [name for name in left if ".tmp" in name]
        assert not list(output.rglob("manifest.json"))
    # The disk has room again: the same command comes to its end.
    assert recordmill("convert", "--input", raw, "--output", output, "--num_shards=2").code == 0


def test_run_converts_and_then_trains(
    recordmill: Command, mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("train.trainer.train", lambda options, **_: seen.append(options))
    ran = recordmill(
        "run", "--input", mnist, "--output", tmp_path / "out", "--model_dir", tmp_path / "model",
        "--num_shards=2", "--seed=5", "--epochs=4", "--quiet",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    folder = tmp_path / "out" / "raw" / "1.0.0"
    assert load_manifest(str(folder)).plan.seed == 5
    (options,) = seen
    assert (options.data, options.model_dir) == (str(folder), str(tmp_path / "model"))
    assert (options.epochs, options.seed) == (4, 5)


def test_run_never_trains_on_what_could_not_be_converted(
    recordmill: Command, mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.trainer.train", None)
    (mnist / IMAGES).write_bytes(RAW[:-1])
    ran = recordmill(
        "run", "--input", mnist, "--output", tmp_path / "out", "--model_dir", tmp_path / "model"
    )
    assert_one_clear_error(ran, 1, r"1 are missing: it was cut off")
    assert not (tmp_path / "model").exists()
