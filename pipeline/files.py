"""Files, local or in an object store, opened for reading at any offset.

A path with a scheme (`gs://…`, `s3://…`) goes through Beam's FileSystems, which is imported
only then; a local path is read with `pread`. Reads through a memory map are faster for a
shuffled gather, but the mapped pages count as resident memory (940 MB for a 940 MB file,
whatever is given back with madvise: faults map whole folios), and a file that is cut short
kills the process with SIGBUS instead of raising.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import itertools
import os
from collections.abc import Iterator
from typing import IO, Any, Protocol

from .errors import InputError, OutputError


def is_local(path: str) -> bool:
    """Whether a path has no scheme.

    >>> is_local("data/train-images-idx3-ubyte"), is_local("gs://bucket/train")
    (True, False)
    """
    return "://" not in path


def _filesystems() -> Any:
    from apache_beam.io.filesystems import FileSystems

    if FileSystems._pipeline_options is None:
        # Beam's S3 insists on options, though all of them have defaults.
        from apache_beam.options.pipeline_options import PipelineOptions

        FileSystems.set_options(PipelineOptions([]))
    return FileSystems


def join(folder: str, *parts: str) -> str:
    """Joins a folder and relative parts; a part that is absolute stands for itself.

    >>> join("gs://bucket/raw", "train", "a.idx"), join("raw", "/data/a.idx")
    ('gs://bucket/raw/train/a.idx', '/data/a.idx')
    """
    for part in parts:
        if os.path.isabs(part) or not is_local(part):
            folder = part
        elif is_local(folder):
            folder = os.path.join(folder, part)
        else:
            folder = f"{folder.rstrip('/')}/{part}"
    return folder


def match(pattern: str) -> list[tuple[str, int]]:
    """Lists `(path, size_bytes)` of the files that match a glob pattern, sorted by path."""
    if is_local(pattern):
        paths = glob.glob(pattern, recursive=True) if glob.has_magic(pattern) else [pattern]
        return sorted((p, os.path.getsize(p)) for p in paths if os.path.isfile(p))
    found = _filesystems().match([pattern])[0].metadata_list
    return sorted((m.path, m.size_in_bytes) for m in found)


def exists(path: str) -> bool:
    """Whether a file or folder is there."""
    return os.path.exists(path) if is_local(path) else bool(_filesystems().exists(path))


def open_read(path: str) -> IO[bytes]:
    """Opens a file for sequential reading of its bytes as they are, never decompressed."""
    if is_local(path):
        return open(path, "rb")
    from apache_beam.io.filesystem import CompressionTypes

    stream: IO[bytes] = _filesystems().open(path, compression_type=CompressionTypes.UNCOMPRESSED)
    return stream


def open_write(path: str) -> IO[bytes]:
    """Creates (or replaces) a file; its folder is made when missing."""
    if is_local(path):
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        return open(path, "wb")
    from apache_beam.io.filesystem import CompressionTypes

    stream: IO[bytes] = _filesystems().create(path, compression_type=CompressionTypes.UNCOMPRESSED)
    return stream


def unwritable(path: str, error: OSError) -> OutputError:
    """What the system says of a file that cannot be written, and what to do."""
    return OutputError(
        f"{path}: cannot be written: {error.strerror or error}; mend that and start the same "
        "command again: what is finished is kept"
    )


def unreadable(path: str, error: OSError) -> InputError:
    """What the system says of a file that cannot be read, and what to do."""
    return InputError(
        f"{path}: cannot be read: {error.strerror or error}; mend that and start the same command "
        "again: what is finished is kept"
    )


@contextlib.contextmanager
def replacing(path: str) -> Iterator[IO[bytes]]:
    """Opens a temporary neighbour of `path` that takes its name when the block ends well.

    Raises:
      OutputError: It cannot be written; nothing of it is left behind.
    """
    temporary = f"{path}.tmp-{os.getpid()}"
    try:
        with open_write(temporary) as stream:
            yield stream
        rename(temporary, path)
    except BaseException as error:
        with contextlib.suppress(Exception):
            delete([temporary])
        # Broken gzip in what is read is an OSError, too, but none of the system's.
        if isinstance(error, OSError) and error.errno is not None:
            raise unwritable(path, error) from error
        raise


def read_bytes(path: str) -> bytes:
    """The whole content of a (small) file."""
    with open_read(path) as stream:
        return stream.read()


def write_bytes(path: str, content: bytes) -> None:
    """Replaces a (small) file in one step: a reader sees the old content or the new one."""
    with replacing(path) as stream:
        stream.write(content)


def rename(source: str, target: str) -> None:
    """Renames a file; what stood at `target` is replaced."""
    if is_local(source):
        os.replace(source, target)
    else:
        _filesystems().rename([source], [target])


def move(source: str, target: str) -> None:
    """Renames a file into a folder, which is made when missing.

    Raises:
      OutputError: It cannot be.
    """
    try:
        if is_local(target):
            os.makedirs(os.path.dirname(target), exist_ok=True)
        rename(source, target)
    except OSError as error:
        raise unwritable(target, error) from error


def delete(paths: list[str]) -> None:
    """Deletes files; one that is not there is no error."""
    for path in paths:
        if is_local(path):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        elif exists(path):
            _filesystems().delete([path])


def delete_tree(folder: str) -> None:
    """Deletes a folder and all that it holds; one that is not there is no error."""
    if is_local(folder):
        import shutil

        if os.path.isdir(folder):
            shutil.rmtree(folder)
    elif exists(folder):
        _filesystems().delete([folder])


def version(path: str) -> str:
    """What changes when a file is replaced: its modification time, or the store's own tag."""
    if is_local(path):
        return str(os.stat(path).st_mtime_ns)
    metadata = _filesystems().match([path])[0].metadata_list[0]
    return str(metadata.last_updated_in_seconds)


class ReadableAt(Protocol):
    """An open file that is read at offsets."""

    path: str

    def read_at(self, offset: int, size_bytes: int) -> bytes:
        """Exactly `size_bytes` bytes at `offset`, or InputError where the file is shorter."""

    def read_ranges(self, offsets: list[int], sizes_bytes: list[int]) -> bytes:
        """As `read_at` of each range, joined."""


def _short(path: str, offset: int, found: int, wanted: int) -> InputError:
    return InputError(
        f"{path}: {found} bytes at offset {offset}, wanted {wanted}: the file is shorter than it "
        "was when the conversion was planned; do not change inputs during a run, and start again"
    )


class _LocalFile:
    def __init__(self, path: str) -> None:
        self.path = path
        self._stream = open(path, "rb", buffering=0)  # noqa: SIM115  # closes when collected
        self._descriptor = self._stream.fileno()

    def read_at(self, offset: int, size_bytes: int) -> bytes:
        try:
            data = os.pread(self._descriptor, size_bytes, offset)
            if len(data) == size_bytes:
                return data
            # One pread returns at most 2 GiB; only then, or at the end of the file, is it short.
            parts = [data]
            while data and sum(map(len, parts)) < size_bytes:
                done = sum(map(len, parts))
                data = os.pread(self._descriptor, size_bytes - done, offset + done)
                parts.append(data)
        except OSError as error:
            raise unreadable(self.path, error) from error
        data = b"".join(parts)
        if len(data) < size_bytes:
            raise _short(self.path, offset, len(data), size_bytes)
        return data

    def read_ranges(self, offsets: list[int], sizes_bytes: list[int]) -> bytes:
        # The ranges are short, and the interpreter's part of each is as long as the system's.
        parts = [*map(os.pread, itertools.repeat(self._descriptor), sizes_bytes, offsets)]
        if [*map(len, parts)] != sizes_bytes:
            parts = [*map(self.read_at, offsets, sizes_bytes)]
        return b"".join(parts)


class _RemoteFile:
    def __init__(self, path: str) -> None:
        self.path = path
        self._stream = open_read(path)

    def read_at(self, offset: int, size_bytes: int) -> bytes:
        try:
            self._stream.seek(offset)
            data = self._stream.read(size_bytes)
        except OSError as error:
            raise unreadable(self.path, error) from error
        if len(data) < size_bytes:
            raise _short(self.path, offset, len(data), size_bytes)
        return data

    def read_ranges(self, offsets: list[int], sizes_bytes: list[int]) -> bytes:
        return b"".join(map(self.read_at, offsets, sizes_bytes))


# Per process; a worker reads many blocks of few files.
@functools.lru_cache(maxsize=256)
def open_at(path: str, file_version: str = "") -> ReadableAt:
    """An open file for reading at offsets, kept open for the next caller of this process.

    Args:
      path: Local or remote.
      file_version: Part of the cache's key: a replaced file is opened anew.
    """
    return _LocalFile(path) if is_local(path) else _RemoteFile(path)
