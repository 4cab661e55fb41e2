import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest
from memorystore import MemoryFileSystem
from samples import idx_bytes, images, labels, write, write_columns, write_mnist

from pipeline.errors import InputError, UsageError
from pipeline.features import ColumnSpec, FeatureOptions
from pipeline.source import check_name, check_version, find_source


def test_the_mnist_family(mnist: Path) -> None:
    source = find_source(str(mnist))
    assert (source.name, source.version) == ("raw", "1.0.0")
    assert list(source.splits) == ["train", "test"]
    assert (source.count("train"), source.count("test")) == (50, 20)
    assert source.columns == {
        "image": ColumnSpec("uint8", (5, 4)),
        "label": ColumnSpec("uint8", ()),
    }
    image = source.splits["train"]["image"][0]
    assert (image.name, image.size_bytes, image.gzip) == ("train-images-idx3-ubyte", 1016, False)


@pytest.mark.parametrize(
    "pattern",
    [
        "{split}-{kind}-idx{rank}-ubyte",
        "{split}-{kind}-idx{rank}-ubyte.gz",
        "{split}-{kind}.idx{rank}-ubyte",
        "emnist-letters-{split}-{kind}-idx{rank}-ubyte.gz",
        "emnist-balanced-{split}-{kind}-idx{rank}-byte",
    ],
)
@pytest.mark.parametrize("test", ["t10k", "test"])
def test_names_of_the_family(tmp_path: Path, pattern: str, test: str) -> None:
    for split in ("train", test):
        write(tmp_path / pattern.format(split=split, kind="images", rank=3), images(3))
        write(tmp_path / pattern.format(split=split, kind="labels", rank=1), labels(3))
    (tmp_path / "README.txt").write_text("another file")
    source = find_source(str(tmp_path))
    assert [source.count(split) for split in ("train", "test")] == [3, 3]
    part = source.splits["test"]["label"][0]
    assert part.gzip == pattern.endswith(".gz")


@pytest.mark.parametrize(
    ("folder", "name"), [("Fashion-MNIST", "fashion_mnist"), ("---", "dataset")]
)
def test_the_folder_names_the_dataset(tmp_path: Path, folder: str, name: str) -> None:
    assert find_source(str(write_mnist(tmp_path / folder))).name == name


TOML = """
name = "digits"
version = "2.3.4"
description = "By hand."
[features.label]
names = ["zero", "one"]
[features.image]
encoding = "bytes"
dtype = "float32"
scale = 0.5
[splits.train]
image = "part-*.idx"
label = ["label.idx", "more-label.gz"]
"""


def write_parts(folder: Path) -> Path:
    for index in range(3):
        write(folder / f"part-{index}.idx", images(4, first=4 * index))
    write(folder / "label.idx", labels(5))
    write(folder / "more-label.gz", labels(7))
    (folder / "dataset.toml").write_text(TOML)
    return folder


@pytest.mark.parametrize("file", ["", "dataset.toml"])
def test_a_description(tmp_path: Path, file: str) -> None:
    source = find_source(str(write_parts(tmp_path) / file))
    assert (source.name, source.version, source.description) == ("digits", "2.3.4", "By hand.")
    assert source.options == {
        "label": FeatureOptions(names=("zero", "one")),
        "image": FeatureOptions(encoding="bytes", dtype="float32", scale=0.5),
    }
    assert source.count("train") == 12
    found = {
        column: [part.name for part in parts] for column, parts in source.splits["train"].items()
    }
    assert found == {
        "image": ["part-0.idx", "part-1.idx", "part-2.idx"],
        "label": ["label.idx", "more-label.gz"],
    }


def test_an_object_store() -> None:
    MemoryFileSystem.content.clear()
    for split in ("train", "t10k"):
        MemoryFileSystem.content[f"store://raw/kuzushiji/{split}-images-idx3-ubyte"] = idx_bytes(
            images(9)
        )
        MemoryFileSystem.content[f"store://raw/kuzushiji/{split}-labels-idx1-ubyte.gz"] = (
            gzip.compress(idx_bytes(labels(9)))
        )
    source = find_source("store://raw/kuzushiji")
    assert (source.name, source.count("test")) == ("kuzushiji", 9)
    part = source.splits["train"]["label"][0]
    assert (part.name, part.gzip) == ("train-labels-idx1-ubyte.gz", True)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: shutil.rmtree(f), r"raw: no such folder; give --input a folder of IDX files"),
        (lambda f: [p.unlink() for p in f.iterdir()], r"no IDX files found; wanted train-images"),
        (
            lambda f: write(f / "train-images.idx3-ubyte", images(50)),
            r"2 files for image of train \(train-images-idx3-ubyte, train-images\.idx3-ubyte\)",
        ),
        (
            lambda f: (f / "t10k-labels-idx1-ubyte").unlink(),
            r"split 'test' has the columns image, another split has image, label",
        ),
        (
            lambda f: write(f / "train-labels-idx1-ubyte", labels(49)),
            r"split 'train': the columns differ in their number of records: image 50, label 49; "
            r"compare .*train-images-idx3-ubyte and .*train-labels-idx1-ubyte",
        ),
        (
            lambda f: write(f / "t10k-images-idx3-ubyte", images(20).reshape(20, 4, 5)),
            r"t10k-images-idx3-ubyte: records of uint8\[4, 5\], but other files of 'image' hold "
            r"uint8\[5, 4\]",
        ),
        (
            lambda f: write(f / "t10k-images-idx3-ubyte", images(20).astype(np.int16)),
            r"records of int16\[5, 4\]",
        ),
    ],
)  # fmt: skip
def test_files_that_do_not_fit(mnist: Path, spoil: object, message: str) -> None:
    spoil(mnist)  # type: ignore[operator]
    with pytest.raises(InputError, match=message):
        find_source(str(mnist))


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("splits = [", UsageError, r"dataset\.toml: not TOML"),
        ("\xff", UsageError, r"not TOML"),
        ("", UsageError, r"no \[splits\.…\] table"),
        ("splits = 5", UsageError, r"splits: found 5, wanted a table"),
        ("[splits]\ntrain = 'a'", UsageError, r"\[splits\.train\]: found 'a', wanted a table of"),
        ("[splits.train]", UsageError, r"\[splits\.train\]: empty; name a file for each column"),
        ("[splits.'a b']\nx = 'a'", UsageError, r"split 'a b': wanted letters, digits and"),
        ("[splits.a]\n'x/y' = 'a'", UsageError, r"column 'x/y': wanted letters"),
        ("[splits.a]\nx = 5", UsageError, r"x: found 5, wanted a file name, a pattern"),
        ("[splits.a]\nx = 'none*'", InputError, r"x: no file matches '.*none\*'"),
        ("[splits.a]\nx = '../a'", UsageError, r"'\.\./a' leads outside of"),
        ("[splits.a]\nx = '/etc/passwd'", UsageError, r"'/etc/passwd' leads outside of"),
        ("nam = 'a'", UsageError, r"'nam' is unknown; there is name, .*; did you mean 'name'\?"),
        ("[features.x]\nscal = 2", UsageError, r"\[features\.x\]: 'scal' is unknown.*mean 'scale'"),
        ("[features.x]\nscale = '2'", UsageError, r"scale: found '2', wanted a number"),
        ("[features.x]\nscale = true", UsageError, r"scale: found True, wanted a number"),
        ("[features.x]\nnames = [1]", UsageError, r"names: found 1, wanted a list of strings"),
        ('[features.x]\nnames = ["a\\nb"]', UsageError, r"'a\\nb' has a line break"),
        ("[features.x]\nencoding = 'json'", UsageError, r"\[features\.x\]: encoding 'json' is unk"),
    ],
)
def test_descriptions_that_are_not_understood(
    tmp_path: Path, text: str, error: type[Exception], message: str
) -> None:
    splits = "" if "splits" in text or not text or text == "\xff" else "\n[splits.train]\nx = 'x'"
    (tmp_path / "dataset.toml").write_bytes((text + splits).encode("latin-1"))
    with pytest.raises(error, match=message):
        find_source(str(tmp_path))


def test_a_description_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml: no such file"):
        find_source(str(tmp_path / "none.toml"))


@pytest.mark.parametrize("version", ["1.0", "1.0.0.0", "1.0.x", "../..", "1.0.0\n"])
def test_a_version_is_three_numbers(version: str) -> None:
    with pytest.raises(UsageError, match=r"wanted three numbers such as 1\.0\.0"):
        check_version(version)
    assert check_version("10.0.2") == "10.0.2"


@pytest.mark.parametrize("name", ["", "a-b", "a/b", "..", "a b", "a\n"])
def test_a_name_becomes_part_of_a_path(name: str) -> None:
    with pytest.raises(UsageError, match=r"name .*: wanted letters, digits and underscores only"):
        check_name("name", name)
    assert check_name("name", "MNIST_1") == "MNIST_1"


def test_records_of_one_split_in_many_columns(tmp_path: Path) -> None:
    columns = {"a": np.arange(6, dtype=np.float64).reshape(3, 2), "b": np.arange(3, dtype=np.int32)}
    source = find_source(str(write_columns(tmp_path, columns)))
    assert source.columns == {"a": ColumnSpec("float64", (2,)), "b": ColumnSpec("int32", ())}
