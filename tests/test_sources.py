import gzip
import hashlib
import os
import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fileserver import FileServer, Served, serving

from launch import download
from launch.download import SourceError
from launch.sources import Archive, DebianPackage, Mirror, SourceFile
from pipeline import idx

IDX = idx.encode_header("uint8", (5, 2)) + np.arange(10, dtype=np.uint8).tobytes()
GZ = gzip.compress(IDX, mtime=1)
OTHER_GZ = gzip.compress(IDX, mtime=2)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


KNOWN = SourceFile("a.gz", sha256(GZ), member="gzip/x-a.gz")
UNKNOWN = SourceFile("a.gz", member="gzip/x-a.gz")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.0)
    with serving() as server:
        yield server


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        (KNOWN, GZ, ""),
        (KNOWN, OTHER_GZ, f"SHA-256 is {sha256(OTHER_GZ)}, wanted {sha256(GZ)}"),
        (SourceFile("a.gz", sha256(GZ), sha256(IDX)), OTHER_GZ, ""),
        (SourceFile("a.gz", sha256(GZ), sha256(IDX)), b"<html>", "SHA-256 is"),
        (UNKNOWN, OTHER_GZ, ""),
        (UNKNOWN, GZ[:-9], "broken gzip"),
        (UNKNOWN, GZ[:20] + b"\xff" * 9 + GZ[29:], "broken gzip"),
        (UNKNOWN, IDX, "broken gzip"),
        (UNKNOWN, gzip.compress(b"text", mtime=0), "not IDX"),
        (UNKNOWN, gzip.compress(IDX + b"?", mtime=0), "1 trail behind"),
        (UNKNOWN, gzip.compress(IDX[:-2], mtime=0), "2 are missing"),
        (UNKNOWN, b"", "0 bytes, too short"),
    ],
)
def test_problem(tmp_path: Path, file: SourceFile, content: bytes, problem: str) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(content)
    if problem:
        assert problem in file.problem(path)
    else:
        assert file.problem(path) == ""


def test_mirror(server: FileServer, tmp_path: Path) -> None:
    server.files["/m/a.gz"] = Served(GZ)
    mirror = Mirror(server.url + "m/")
    with pytest.raises(SourceError, match=r"^b\.gz: HTTP 404 Not Found$"):
        mirror.deliver([KNOWN, SourceFile("b.gz")], tmp_path, quiet=True)
    assert str(mirror) == server.url + "m/"
    assert names(tmp_path) == ["a.gz"]


@pytest.fixture
def zipped(tmp_path: Path) -> bytes:
    path = tmp_path.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("gzip/x-a.gz", GZ)
        opened.writestr("gzip/x-bad.gz", GZ[:-9])
    return path.read_bytes()


def test_archive_leaves_only_the_members(server: FileServer, tmp_path: Path, zipped: bytes) -> None:
    server.files["/all.zip"] = Served(zipped)
    archive = Archive(server.url + "all.zip", sha256(zipped))
    archive.deliver([UNKNOWN], tmp_path, quiet=True)
    assert (tmp_path / "a.gz").read_bytes() == GZ
    assert names(tmp_path) == ["a.gz"]


def test_archive_that_is_there_is_used_and_kept(tmp_path: Path, zipped: bytes) -> None:
    archive = Archive("https://nowhere.invalid/all.zip", sha256(zipped))
    (tmp_path / "all.zip").write_bytes(zipped)
    archive.deliver([KNOWN], tmp_path, quiet=True)
    assert names(tmp_path) == ["a.gz", "all.zip"]
    (tmp_path / "all.zip").write_bytes(b"changed")
    with pytest.raises(SourceError, match=r"all\.zip: SHA-256 is .*, wanted .*; remove it"):
        archive.deliver([KNOWN], tmp_path, quiet=True)


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ("gzip/none.gz", "There is no item named 'gzip/none.gz'"),
        ("gzip/x-bad.gz", r"a\.gz: .*broken gzip"),
    ],
)
def test_archive_without_a_sound_member(
    tmp_path: Path, zipped: bytes, member: str, message: str
) -> None:
    archive = Archive("https://nowhere.invalid/all.zip", sha256(zipped))
    (tmp_path / "all.zip").write_bytes(zipped)
    with pytest.raises(SourceError, match=message):
        archive.deliver([SourceFile("a.gz", member=member)], tmp_path, quiet=True)
    assert names(tmp_path) == ["all.zip"]


def test_archive_that_is_no_zip(tmp_path: Path) -> None:
    (tmp_path / "all.zip").write_bytes(b"no zip")
    archive = Archive("https://nowhere.invalid/all.zip", sha256(b"no zip"))
    with pytest.raises(SourceError, match=r"all\.zip: File is not a zip file"):
        archive.deliver([UNKNOWN], tmp_path, quiet=True)


Programs = Callable[..., Path]


@pytest.fixture
def programs(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Programs:
    """Puts shell scripts in place of programs; they write their arguments to the returned log."""
    folder = tmp_path_factory.mktemp("bin")
    log = folder / "log"

    def install(**scripts: str) -> Path:
        for name, script in scripts.items():
            path = folder / name.replace("_", "-")
            path.write_text(f'#!/bin/sh\necho "{path.name} $*" >> {log}\n{script}\n')
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return log

    monkeypatch.setenv("PATH", str(folder), prepend=None)
    (folder / "cp").symlink_to("/bin/cp")
    (folder / "mkdir").symlink_to("/bin/mkdir")
    return install


DEBIAN = DebianPackage("dataset-a", "usr/share/a")
FOUND = ": > dataset-a_1_all.deb"


@pytest.fixture
def unpack(tmp_path_factory: pytest.TempPathFactory) -> str:
    content = tmp_path_factory.mktemp("deb") / "a.gz"
    content.write_bytes(GZ)
    return f'test -f "$2" && mkdir -p "$3/usr/share/a" && cp {content} "$3/usr/share/a"'


def test_debian_package(tmp_path: Path, programs: Programs, unpack: str) -> None:
    log = programs(apt_get=FOUND, dpkg_deb=unpack)
    DEBIAN.deliver([KNOWN], tmp_path, quiet=True)
    assert names(tmp_path) == ["a.gz"]
    download_call, unpack_call = log.read_text().splitlines()
    assert download_call.endswith(" download dataset-a")
    assert "Dir::State::Lists" not in download_call
    assert unpack_call.startswith("dpkg-deb -x ")


@pytest.mark.parametrize(
    "trouble", ["Unable to locate package dataset-a", "Failed to fetch http://x  404  Not Found"]
)
def test_debian_with_private_lists(
    tmp_path: Path, programs: Programs, unpack: str, trouble: str
) -> None:
    log = programs(
        apt_get=f"""case "$*" in
        *Dir::State::Lists=*update) ;;
        *Dir::State::Lists=*download*) {FOUND} ;;
        *) echo 'E: {trouble}' >&2; exit 100 ;;
        esac""",
        dpkg_deb=unpack,
    )
    DEBIAN.deliver([KNOWN], tmp_path, quiet=True)
    assert names(tmp_path) == ["a.gz"]
    assert [line.split()[-1] for line in log.read_text().splitlines()] == [
        "dataset-a",
        "update",
        "dataset-a",
        "unpacked",
    ]


@pytest.mark.parametrize(
    ("apt_get", "message"),
    [
        ("echo 'W: x' >&2; echo 'E: Temporary failure' >&2; exit 100", "with 100: E: Temporary fa"),
        ("exit 3", "apt-get exited with 3: no message"),
        ("", "dpkg-deb exited with 1"),
    ],
)
def test_debian_trouble(
    tmp_path: Path, programs: Programs, unpack: str, apt_get: str, message: str
) -> None:
    programs(apt_get=apt_get, dpkg_deb=unpack)
    with pytest.raises(SourceError, match=message):
        DEBIAN.deliver([KNOWN], tmp_path, quiet=True)


def test_debian_package_without_the_file(tmp_path: Path, programs: Programs, unpack: str) -> None:
    programs(apt_get=FOUND, dpkg_deb=unpack)
    with pytest.raises(SourceError, match=r"it holds no usr/share/a/b\.gz"):
        DEBIAN.deliver([SourceFile("b.gz")], tmp_path, quiet=True)


def test_no_debian(tmp_path: Path, programs: Programs) -> None:
    programs()
    with pytest.raises(SourceError, match="^apt-get is not installed$"):
        DEBIAN.deliver([KNOWN], tmp_path, quiet=True)


def test_debian_takes_too_long(
    tmp_path: Path, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launch.sources.APT_SECONDS", 0.1)
    programs(apt_get="while :; do :; done")
    with pytest.raises(SourceError, match=r"apt-get took more than 0\.1 s"):
        DEBIAN.deliver([KNOWN], tmp_path, quiet=True)
    assert os.listdir(tmp_path) == []
