"""Where the files of a known dataset come from: web servers, archives, Debian's packages."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from pipeline.errors import InputError

from .download import SourceError, download, part_of, settle

CHUNK_BYTES = 1 << 20
APT_SECONDS = 300


@dataclass(frozen=True)
class SourceFile:
    """A gzipped IDX file of a known dataset.

    Attributes:
      name: Its name in the folder that `fetch` fills.
      sha256: Of the file as its publisher packed it; "" when that is not known.
      idx_sha256: Of the IDX file inside, the same whoever packed it; "" when not known.
      member: Its name in the publisher's archive, where it is published in one.
    """

    name: str
    sha256: str = ""
    idx_sha256: str = ""
    member: str = ""

    def problem(self, path: Path) -> str:
        """What is wrong with a file that should be this one; "" when nothing is.

        Without a known digest, the file must inflate to the size that its IDX header promises.
        """
        if not self.sha256:
            try:
                _idx_sha256(path)
            except InputError as error:
                return str(error)
            return ""
        found = sha256_of(path)
        if found == self.sha256:
            return ""
        if self.idx_sha256:
            with contextlib.suppress(InputError):
                if _idx_sha256(path) == self.idx_sha256:
                    return ""
        return f"SHA-256 is {found}, wanted {self.sha256}"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _idx_sha256(path: Path) -> str:
    """SHA-256 of the IDX file inside a gzip file.

    Raises:
      InputError: It does not inflate, or not to an IDX file of the size that its header promises.
    """
    from isal import igzip, isal_zlib

    from pipeline import idx

    digest = hashlib.sha256()
    size_bytes = 0
    try:
        with igzip.open(path) as stream:  # type: ignore[no-untyped-call]  # it has none
            chunk = stream.read(CHUNK_BYTES)
            header = idx.parse_header(chunk[: idx.MAX_HEADER_BYTES], str(path))
            while chunk:
                digest.update(chunk)
                size_bytes += len(chunk)
                chunk = stream.read(CHUNK_BYTES)
    # The ignore: isal's stub declares the exception's class as an instance.
    except (igzip.BadGzipFile, EOFError, isal_zlib.error) as error:  # type: ignore[misc]
        raise InputError(f"{path}: broken gzip ({error}); fetch it again") from error
    idx.check_size(header, size_bytes, str(path))
    return digest.hexdigest()


class Source(Protocol):
    """A place that may have the files of a dataset. `str()` names it in messages."""

    def deliver(self, files: Sequence[SourceFile], folder: Path, *, quiet: bool) -> None:
        """Puts checked files into a folder, one by one.

        Raises:
          SourceError: It could not deliver all; those that it did are there.
        """


def _adopt(stream: IO[bytes], file: SourceFile, folder: Path) -> None:
    """Writes a stream to a folder under a file's name, once it is known to be sound."""
    part = part_of(folder / file.name)
    with open(part, "wb") as out:
        shutil.copyfileobj(stream, out, CHUNK_BYTES)
    if problem := file.problem(part):
        part.unlink()
        raise SourceError(f"{file.name}: {problem}")
    settle(part, folder / file.name)


@dataclass(frozen=True)
class Mirror:
    """A web server's folder that holds the files under their names."""

    url: str

    def __str__(self) -> str:
        """The address."""
        return self.url

    def deliver(self, files: Sequence[SourceFile], folder: Path, *, quiet: bool) -> None:
        """Downloads the files one after the other."""
        for file in files:
            try:
                download(self.url + file.name, folder / file.name, file.problem, quiet=quiet)
            except SourceError as error:
                raise SourceError(f"{file.name}: {error}") from error


@dataclass(frozen=True)
class Archive:
    """A zip file on a web server, of which some members are wanted.

    One that already lies in the folder under its own name is used, and left there.
    """

    url: str
    sha256: str

    def __str__(self) -> str:
        """The address."""
        return self.url

    def deliver(self, files: Sequence[SourceFile], folder: Path, *, quiet: bool) -> None:
        """Downloads the archive, takes the members, and deletes the archive."""
        archive = folder / self.url.rpartition("/")[2]
        ours = not archive.exists()
        if ours:
            download(self.url, archive, self._problem, quiet=quiet)
        elif problem := self._problem(archive):
            raise SourceError(f"{archive}: {problem}; remove it")
        try:
            with zipfile.ZipFile(archive) as opened:
                for file in files:
                    with opened.open(file.member) as stream:
                        _adopt(stream, file, folder)
        except (zipfile.BadZipFile, KeyError, EOFError, zlib.error) as error:
            raise SourceError(f"{archive}: {error}") from error
        if ours:
            archive.unlink()

    def _problem(self, path: Path) -> str:
        found = sha256_of(path)
        return "" if found == self.sha256 else f"SHA-256 is {found}, wanted {self.sha256}"


@dataclass(frozen=True)
class DebianPackage:
    """A package of Debian or a derivative, taken apart without installing it, and without root.

    Attributes:
      package: Its name.
      directory: Where it would install the files, relative to the root.
    """

    package: str
    directory: str

    def __str__(self) -> str:
        """Whose package it is, and which."""
        return f"Debian's package {self.package}"

    def deliver(self, files: Sequence[SourceFile], folder: Path, *, quiet: bool) -> None:
        """Has apt download the package, and copies the files out of it."""
        with tempfile.TemporaryDirectory(prefix="recordmill-") as name:
            root = Path(name)
            self._download(root)
            _call("dpkg-deb", "-x", *map(str, root.glob("*.deb")), "unpacked", cwd=root)
            for file in files:
                path = root / "unpacked" / self.directory / file.name
                if not path.exists():
                    raise SourceError(f"it holds no {self.directory}/{file.name}")
                with open(path, "rb") as stream:
                    _adopt(stream, file, folder)

    def _download(self, root: Path) -> None:
        try:
            _call(*_apt(), "download", self.package, cwd=root)
        except SourceError as error:
            if not re.search(r"Unable to locate|find a source|404", str(error)):
                raise
        else:
            return
        # The machine's package lists are missing or old, and may only be renewed by root.
        (root / "lists" / "partial").mkdir(parents=True)
        apt = _apt(f"Dir::State::Lists={root}/lists", f"Dir::Cache={root}/cache")
        _call(*apt, "update", cwd=root)
        _call(*apt, "download", self.package, cwd=root)


def _apt(*options: str) -> list[str]:
    """An apt-get that gives up soon and reads no more than package lists."""
    every = [
        "Acquire::http::Timeout=5",
        "Acquire::https::Timeout=5",
        "Acquire::Retries=0",
        "Acquire::Languages=none",
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
        # As root, apt drops to a user that may not write into a private temporary folder.
        *(["APT::Sandbox::User=root"] if os.geteuid() == 0 else []),
        *options,
    ]
    return ["apt-get", *(word for option in every for word in ("-o", option))]


def _call(*command: str, cwd: Path) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=APT_SECONDS,
        )
    except FileNotFoundError as error:
        raise SourceError(f"{command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise SourceError(f"{command[0]} took more than {APT_SECONDS} s") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise SourceError(f"{command[0]} exited with {done.returncode}: {lines[-1]}")
