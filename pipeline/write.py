"""WriteToTFRecord: a `beam.io.WriteToTFRecord` whose elements are shards of framed blocks.

Beam's own transform decides by chance which records make a shard, and pays 12 us for each of
them. Here the element is the shard, and what is written of it are blocks as they are.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
from apache_beam.io import tfrecordio
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.metrics import Metrics
from crc32c import crc32c

from . import files
from .accumulate import ColumnStatistics
from .content import MODULUS, content_sum
from .errors import OutputError
from .plan import Shard
from .read import METRICS, Blocks
from .statistics import merge_features
from .tfrecord import Framed, index_lines, index_path

TEMPORARY = ".tmp-"
READ_BYTES = 8 << 20


@dataclass(frozen=True)
class Receipt:
    """What is known of a written shard.

    Attributes:
      path: Where it is.
      num_bytes: Its size as stored.
      sha256: Of the file, in hexadecimal.
      crc32c: Of the file, in hexadecimal.
      content: Digest of its records, whatever their order; see `content`.
      statistics: Of its records, by feature; {} where none were taken.
      bad: Number in the source split, and reason, of each record that was set aside.
      index_sha256: Of the index beside it, in hexadecimal; "" where it has none.
    """

    split: str
    index: int
    path: str
    records: int
    num_bytes: int
    sha256: str
    crc32c: str
    content: str
    statistics: dict[str, ColumnStatistics] = field(default_factory=dict, repr=False)
    bad: tuple[tuple[int, str], ...] = ()
    index_sha256: str = ""


def without_statistics(receipt: Receipt) -> Receipt:
    """The receipt alone, small whatever the records are."""
    return dataclasses.replace(receipt, statistics={})


class FileDigest:
    """SHA-256 and CRC32C of bytes that come in pieces.

    hashlib lets go of the interpreter's lock: on a second core the SHA-256 costs next to nothing.
    """

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        """Hashes in a pool of one thread."""
        self._pool = pool
        self._pending: Future[Any] = pool.submit(int)
        self._sha256 = hashlib.sha256()
        self._crc32c = 0
        self._num_bytes = 0

    def update(self, data: Any) -> None:
        """Adds a piece; it must not be changed afterwards."""
        self._pending.result()
        self._pending = self._pool.submit(self._sha256.update, data)
        self._crc32c = crc32c(data, self._crc32c)
        self._num_bytes += len(data)

    def finish(self) -> tuple[int, str, str]:
        """`(number of bytes, sha256, crc32c)`, the digests in hexadecimal."""
        self._pending.result()
        return self._num_bytes, self._sha256.hexdigest(), f"{self._crc32c:08x}"


def digest_file(path: str) -> tuple[int, str, str]:
    """`(size in bytes, sha256, crc32c)` of a file as it is stored."""
    with ThreadPoolExecutor(1) as pool, files.open_read(path) as stream:
        digest = FileDigest(pool)
        while data := stream.read(READ_BYTES):
            digest.update(data)
        return digest.finish()


class _BlockSink(tfrecordio._TFRecordSink):  # type: ignore[misc]  # Beam has no types
    """Beam's TFRecord sink, given blocks that are framed already."""

    def write_encoded_record(self, file_handle: Any, value: Any) -> None:
        file_handle.write(value)

    def final_path(self, shard: Shard) -> str:
        path: str = self._get_final_name(shard.index, shard.num_shards)
        return path

    def compresses(self, path: str) -> bool:
        kind = self.compression_type
        if kind == CompressionTypes.AUTO:
            kind = CompressionTypes.detect_compression_type(path)
        return bool(kind != CompressionTypes.UNCOMPRESSED)


class _Index:
    """The index of a shard, written beside it; see `tfrecord.index_path`."""

    def __init__(self, path: str, stack: contextlib.ExitStack) -> None:
        """Takes its name when the stack is left without an error."""
        self._stream = stack.enter_context(files.replacing(path))
        self._sha256 = hashlib.sha256()
        self._end = 0

    def add(self, framed: Framed) -> None:
        """Adds the records of a block."""
        lines = index_lines(framed.offsets + self._end)
        self._end += int(framed.offsets[-1])
        self._stream.write(lines)
        self._sha256.update(lines)

    def finish(self) -> str:
        """SHA-256 in hexadecimal."""
        return self._sha256.hexdigest()


def write_shard(
    sink: _BlockSink, shard: Shard, blocks: Iterable[Framed], *, index: bool = False
) -> Receipt:
    """Writes a shard under a temporary name, which it loses when complete.

    Args:
      sink: Of the split.
      shard: What is written.
      blocks: All its records.
      index: Whether to write an index of its records beside it.

    Raises:
      OutputError: It cannot be written; nothing of it is left behind.
    """
    path = sink.final_path(shard)
    # The suffix stays last: it decides on compression where that is left to the name.
    temporary = f"{path}{TEMPORARY}{uuid.uuid4().hex}{sink.file_name_suffix.get()}"
    compressed = sink.compresses(path)
    records = content = 0
    bad: list[tuple[int, str]] = []
    statistics: dict[str, ColumnStatistics] = {}
    try:
        with ThreadPoolExecutor(1) as pool, contextlib.ExitStack() as stack:
            digest = FileDigest(pool)
            listed = _Index(index_path(path), stack) if index else None
            handle = sink.open(temporary)
            try:
                for framed in blocks:
                    data = framed.data.data
                    sink.write_encoded_record(handle, data)
                    if not compressed:
                        digest.update(data)
                    records += len(framed)
                    bad += framed.bad
                    content += content_sum(framed)
                    if listed:
                        listed.add(framed)
                    statistics = merge_features(statistics, framed.statistics)
            finally:
                sink.close(handle)
            stored = digest_file(temporary) if compressed else digest.finish()
        index_sha256 = listed.finish() if listed else ""
        files.rename(temporary, path)
    except BaseException as error:
        with contextlib.suppress(Exception):
            files.delete([temporary])
        if isinstance(error, OSError):
            raise files.unwritable(path, error) from error
        raise
    if records + len(bad) != shard.count:
        raise OutputError(f"{path}: {records} records were written of {shard.count} planned")
    return Receipt(
        shard.split,
        shard.index,
        path,
        records,
        *stored,
        f"{content % MODULUS:032x}",
        statistics,
        tuple(bad),
        index_sha256,
    )


class _WriteShard(beam.DoFn):  # type: ignore[misc]  # Beam has no types
    def __init__(self, sink: _BlockSink, index: bool) -> None:
        self._sink, self._index = sink, index
        self._records = Metrics.counter(METRICS, "records_written")
        self._bad = Metrics.counter(METRICS, "bad_records")
        self._bytes = Metrics.counter(METRICS, "bytes_written")
        self._shards = Metrics.counter(METRICS, "shards_written")

    def process(self, element: tuple[Shard, Blocks[Framed]]) -> Iterator[Receipt]:
        receipt = write_shard(self._sink, *element, index=self._index)
        self._records.inc(receipt.records)
        self._bad.inc(len(receipt.bad))
        self._bytes.inc(receipt.num_bytes)
        self._shards.inc()
        yield receipt


class WriteToTFRecord(beam.io.WriteToTFRecord):  # type: ignore[misc]  # Beam has no types
    """Writes each `(Shard, blocks of framed records)` as one TFRecord file.

    The constructor, the names of the files and the compression are those of
    `beam.io.WriteToTFRecord`; `num_shards` is not needed, for each shard knows it. What comes out
    is a `Receipt` for each file.
    """

    def __init__(
        self,
        file_path_prefix: str,
        coder: Any = None,
        file_name_suffix: str = "",
        num_shards: int = 0,
        shard_name_template: str | None = None,
        compression_type: str = CompressionTypes.AUTO,
        triggering_frequency: int | None = None,
        *,
        index: bool = False,
    ) -> None:
        """Takes the arguments of `beam.io.WriteToTFRecord`; the blocks are encoded already.

        With `index`, a file of text beside each shard tells where its records stand.
        """
        arguments = (
            file_path_prefix,
            coder or beam.coders.BytesCoder(),
            file_name_suffix,
            num_shards,
            shard_name_template,
            compression_type,
            triggering_frequency,
        )
        super().__init__(*arguments)
        self._sink, self._index = _BlockSink(*arguments), index

    def expand(self, pcoll: Any) -> Any:
        """One file, one receipt, for each element."""
        return pcoll | "WriteShard" >> beam.ParDo(_WriteShard(self._sink, self._index))  # Receipt
