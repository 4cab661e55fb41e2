"""`store://…`: an object store in memory. Beam finds a FileSystem by its scheme once it exists."""

import io
from collections.abc import Iterator
from typing import Any, ClassVar

from apache_beam.io.filesystem import BeamIOError, CompressionTypes, FileMetadata, FileSystem


class _Upload(io.BytesIO):
    """Becomes an object when it is closed, as in a real store."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def close(self) -> None:
        if not self.closed:
            MemoryFileSystem.content[self._path] = self.getvalue()
        super().close()


class MemoryFileSystem(FileSystem):
    """Objects by path; there are no folders."""

    content: ClassVar[dict[str, bytes]] = {}

    @classmethod
    def scheme(cls) -> str:
        return "store"

    def has_dirs(self) -> bool:
        return False

    def join(self, basepath: str, *paths: str) -> str:
        return "/".join((basepath.rstrip("/"), *paths))

    def split(self, path: str) -> tuple[str, str]:
        folder, _, name = path.rpartition("/")
        return folder, name

    def mkdirs(self, path: str) -> None:
        """Nothing to make."""

    def _list(self, prefix: str) -> Iterator[FileMetadata]:
        for path, content in sorted(self.content.items()):
            if path.startswith(prefix):
                yield FileMetadata(path, len(content), hash(content) % 1000)

    def create(
        self,
        path: str,
        mime_type: str = "application/octet-stream",
        compression_type: str = CompressionTypes.AUTO,
    ) -> Any:
        return _Upload(path)

    def open(
        self,
        path: str,
        mime_type: str = "application/octet-stream",
        compression_type: str = CompressionTypes.AUTO,
    ) -> Any:
        if path not in self.content:
            raise FileNotFoundError(path)
        return io.BytesIO(self.content[path])

    def copy(self, sources: list[str], targets: list[str]) -> None:
        for source, target in zip(sources, targets, strict=True):
            self.content[target] = self.content[source]

    def rename(self, sources: list[str], targets: list[str]) -> None:
        self.copy(sources, targets)
        self.delete(sources)

    def exists(self, path: str) -> bool:
        return path in self.content or any(key.startswith(path + "/") for key in self.content)

    def size(self, path: str) -> int:
        return len(self.content[path])

    def last_updated(self, path: str) -> float:
        return self.metadata(path).last_updated_in_seconds

    def metadata(self, path: str) -> FileMetadata:
        if path not in self.content:
            raise BeamIOError("no such object", {path: KeyError(path)})
        return next(found for found in self._list(path) if found.path == path)

    def delete(self, paths: list[str]) -> None:
        for path in paths:
            for key in [k for k in self.content if k == path or k.startswith(path + "/")]:
                del self.content[key]
