"""Files that travel with a dataset: named, copied, checked, mended."""

from pathlib import Path

import pytest
import samples
from commands import Command

from pipeline import carry
from pipeline.carry import Carried, copy_carried, find_carried
from pipeline.errors import InputError, UsageError


def write_source(folder: Path) -> Path:
    made = samples.write_columns(folder, {"label": samples.labels(20)}, 'carry = ["notes.txt"]')
    (made / "notes.txt").write_text("as they are\n")
    return made


def test_they_come_along_and_are_mended(tmp_path: Path, recordmill: Command) -> None:
    source = write_source(tmp_path / "raw")
    assert recordmill("convert", "--input", source, "--output", tmp_path / "out").code == 0
    folder = tmp_path / "out" / "made" / "1.0.0"
    assert (folder / "notes.txt").read_text() == "as they are\n"
    assert recordmill("verify", folder, "--source", source).code == 0
    (folder / "notes.txt").write_text("changed")
    done = recordmill("verify", folder)
    assert done.code == 1
    assert "notes.txt: is not the file that was written" in done.out
    assert recordmill("repair", folder, "--source", source).code == 0
    assert (folder / "notes.txt").read_text() == "as they are\n"
    (source / "notes.txt").write_text("another")
    done = recordmill("verify", folder, "--source", source)
    assert done.code == 1
    assert f"{source}/notes.txt: is not the file that was converted" in done.out


def test_another_content_is_another_plan(tmp_path: Path) -> None:
    source = write_source(tmp_path / "raw")
    first = samples.planned(source)
    assert type(first).from_json(first.to_json()) == first
    (source / "notes.txt").write_text("another")
    assert samples.planned(source).digest() != first.digest()
    with pytest.raises(InputError, match="was changed after the conversion was planned"):
        copy_carried(first.carried, str(tmp_path))


@pytest.mark.parametrize(
    "name", ["../a", "a/b", ".a", "", "manifest.json", "stats.pb", "label.labels.txt", 3]
)
def test_names_that_cannot_be_carried(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be carried; wanted the name of a file beside it"):
        find_carried("carry", str(tmp_path), [name])


def test_missing_and_twice(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a.txt: is to be carried, but is missing"):
        find_carried("carry", str(tmp_path), ["a.txt"])
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(UsageError, match="'a.txt' stands twice"):
        find_carried("carry", str(tmp_path), ["a.txt", "a.txt"])
    assert [one.name for one in find_carried("carry", str(tmp_path), ["a.txt"])] == ["a.txt"]
    assert carry.carried_from_json([{"name": "a", "sha256": "b"}]) == (Carried("a", "b"),)
