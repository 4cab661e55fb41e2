import os
from pathlib import Path

import pytest
from memorystore import MemoryFileSystem

from pipeline import files
from pipeline.errors import InputError


@pytest.mark.parametrize(
    ("parts", "path"),
    [
        (("a",), "a"),
        (("a", "b", "c"), "a/b/c"),
        (("gs://x/", "b", "c"), "gs://x/b/c"),
        (("a", "/b"), "/b"),
        (("a", "s3://b", "c"), "s3://b/c"),
    ],
)
def test_join(parts: tuple[str, ...], path: str) -> None:
    assert files.join(*parts) == path


def test_match_lists_files_with_sizes_sorted(tmp_path: Path) -> None:
    for name, content in (("b.idx", b"12"), ("a.idx", b"1"), ("a.txt", b"")):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "c.idx").mkdir()
    found = files.match(str(tmp_path / "*.idx"))
    assert found == [(str(tmp_path / "a.idx"), 1), (str(tmp_path / "b.idx"), 2)]
    assert files.match(str(tmp_path / "a.txt")) == [(str(tmp_path / "a.txt"), 0)]
    assert files.match(str(tmp_path / "none")) == files.match(str(tmp_path / "none*")) == []


def write_half(path: str) -> None:
    with files.replacing(path) as stream:
        stream.write(b"half")
        raise ZeroDivisionError


def test_replacing_keeps_the_old_content_when_the_block_fails(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a"
    files.write_bytes(str(path), b"old")
    with pytest.raises(ZeroDivisionError):
        write_half(str(path))
    assert path.read_bytes() == b"old"
    files.write_bytes(str(path), b"new")
    assert files.read_bytes(str(path)) == b"new"
    assert [p.name for p in path.parent.iterdir()] == ["a"]


def test_delete_what_is_and_what_is_not_there(tmp_path: Path) -> None:
    path, folder = tmp_path / "a", tmp_path / "folder"
    path.touch()
    (folder / "in").mkdir(parents=True)
    files.delete([str(path), str(tmp_path / "none")])
    files.delete_tree(str(folder))
    files.delete_tree(str(folder))
    assert not files.exists(str(path))
    assert not files.exists(str(folder))


def test_version_changes_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"1")
    before = files.version(str(path))
    os.utime(path, ns=(1, 1))
    assert files.version(str(path)) != before


def test_read_at(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(range(100)))
    opened = files.open_at(str(path), files.version(str(path)))
    assert opened.read_at(10, 3) == bytes([10, 11, 12])
    assert opened.read_at(0, 100) == bytes(range(100))
    with pytest.raises(InputError, match=r"a: 10 bytes at offset 90, wanted 11: the file is sh"):
        opened.read_at(90, 11)


def test_read_at_goes_on_where_a_read_was_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(range(100)))
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, offset: pread(fd, min(size, 7), offset))
    assert files.open_at(str(path)).read_at(5, 90) == bytes(range(5, 95))


def test_a_replaced_file_is_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for content in (b"old", b"new"):
        files.write_bytes(str(path), content)
        opened = files.open_at(str(path), content.decode())
        assert opened.read_at(0, 3) == content
        assert files.open_at(str(path), content.decode()) is opened


def test_everything_also_works_in_an_object_store() -> None:
    MemoryFileSystem.content.clear()
    files.write_bytes("store://raw/a.idx", bytes(range(100)))
    files.write_bytes("store://raw/b.idx", b"12")
    assert files.match("store://raw/*.idx") == [
        ("store://raw/a.idx", 100),
        ("store://raw/b.idx", 2),
    ]
    assert files.exists("store://raw/b.idx")
    assert not files.exists("store://raw/c.idx")
    assert files.read_bytes("store://raw/b.idx") == b"12"
    opened = files.open_at("store://raw/a.idx", files.version("store://raw/a.idx"))
    assert opened.read_at(10, 3) == bytes([10, 11, 12])
    with pytest.raises(InputError, match=r"store://raw/a\.idx: 10 bytes at offset 90, wanted 11"):
        opened.read_at(90, 11)
    with pytest.raises(ZeroDivisionError):
        write_half("store://raw/b.idx")
    assert files.read_bytes("store://raw/b.idx") == b"12"
    files.delete(["store://raw/b.idx", "store://raw/none"])
    assert files.match("store://raw/*") == [("store://raw/a.idx", 100)]
    files.delete_tree("store://raw")
    assert files.match("store://raw/*") == []
