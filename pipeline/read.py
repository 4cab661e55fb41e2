"""ReadFromIdx: shards of a plan to `(Shard, blocks of records)`.

`blocks` is lazy, re-iterable and picklable, as the values of a GroupByKey are: it carries file
names and functions, not data. So it does not matter whether a runner fuses the stages, and no
record crosses a shuffle.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import apache_beam as beam
import numpy as np
import numpy.typing as npt
from apache_beam.metrics import Metrics

from . import files, idx
from .division import DividedOrder
from .errors import InputError, UsageError
from .options import PlanOptions
from .order import Order
from .plan import Plan, Shard
from .planning import make_plan
from .ragged import RaggedColumn
from .source import LENGTHS, VALUES, SourceFile, place_of

T = TypeVar("T", covariant=True)
U = TypeVar("U")
METRICS = "recordmill"


@dataclass(frozen=True)
class Block:
    """Consecutive records of a shard.

    Attributes:
      columns: By column, `[n, *record_shape]`, big-endian; a `Ragged` where each record is a list.
      numbers: int64[n], the number of each record in its source split.
      files: The files behind each column, for error messages.
    """

    columns: dict[str, Any]
    numbers: npt.NDArray[np.int64]
    files: dict[str, tuple[SourceFile, ...]] = field(repr=False)

    def place(self, column: str, row: int) -> str:
        """The file and number, in that file, of a row's record."""
        part, record = place_of(self.files[column], int(self.numbers[row]))
        return f"{part.path}: record {record}"

    def keep(self, rows: npt.NDArray[np.bool_]) -> Block:
        """The block without the rows that are False, of bool[n]."""
        columns = {name: values[rows] for name, values in self.columns.items()}
        return Block(columns, self.numbers[rows], self.files)


class Blocks(Generic[T]):
    """A lazy sequence: each range of a shard's positions, sent through functions.

    >>> blocks = Blocks(0, 5, 2, lambda start, stop: list(range(start, stop)))
    >>> list(blocks), list(blocks.map(sum)), len(blocks)
    ([[0, 1], [2, 3], [4]], [1, 5, 4], 3)
    """

    def __init__(self, start: int, stop: int, step: int, read: Callable[[int, int], T]) -> None:
        """Covers positions `[start, stop)`, `step` at a time."""
        self._range = range(start, stop, step)
        self._read = read

    def __len__(self) -> int:
        """Number of blocks."""
        return len(self._range)

    def __iter__(self) -> Iterator[T]:
        """Reads and maps block by block; nothing is kept."""
        for start in self._range:
            yield self._read(start, min(start + self._range.step, self._range.stop))

    def map(self, function: Callable[[T], U]) -> Blocks[U]:
        """The same sequence with a function applied to each block when it is reached."""
        read = functools.partial(_then, self._read, function)
        return Blocks(self._range.start, self._range.stop, self._range.step, read)

    def every(self, step: int) -> Blocks[T]:
        """The same positions, `step` at a time.

        >>> list(Blocks(0, 5, 2, range).every(4))
        [range(0, 4), range(4, 5)]
        """
        return Blocks(self._range.start, self._range.stop, step, self._read)


def _then(read: Callable[[int, int], T], function: Callable[[T], U], start: int, stop: int) -> U:
    return function(read(start, stop))


@dataclass(frozen=True)
class SplitReader:
    """Reads a source split by position in its order."""

    order: Order | DividedOrder
    columns: dict[str, idx.Column | RaggedColumn]
    files: dict[str, tuple[SourceFile, ...]]

    def __call__(self, start: int, stop: int) -> Block:
        """The records at positions `[start, stop)`."""
        return self.take(self.order(np.arange(start, stop, dtype=np.int64)))

    def take(self, numbers: npt.ArrayLike) -> Block:
        """The records of these numbers in the source split, int64[n]."""
        numbers = np.asarray(numbers, np.int64)
        columns = {name: column.gather(numbers) for name, column in self.columns.items()}
        return Block(columns, numbers, self.files)


def check_unchanged(part: SourceFile) -> None:
    """Compares a source file with what it was when the plan was made.

    Raises:
      InputError: It is gone or was changed.
    """
    found = files.match(part.path)
    if not found:
        raise InputError(f"{part.path}: was there when the conversion was planned, and is gone")
    size = found[0][1]
    if size != part.size_bytes or files.version(part.path) != part.version:
        raise InputError(
            f"{part.path}: was changed after the conversion was planned (planned {part.size_bytes} "
            f"bytes, found {size}); leave the input alone during a run, and start again"
        )


def split_reader(plan: Plan, source: str, inflated: dict[str, str]) -> SplitReader:
    """Opens a source split.

    Args:
      plan: Names the files.
      source: The source split.
      inflated: Where the inflated bytes of each file in gzip are.
    """
    opened: dict[str, idx.Column] = {}
    for name, parts in plan.sources[source].items():
        for part in parts:
            check_unchanged(part)
        opened[name] = idx.Column(
            tuple(
                idx.IdxFile(inflated.get(part.path, part.path), part.header, part.version)
                for part in parts
            )
        )
    columns: dict[str, idx.Column | RaggedColumn] = {}
    parts_by_column = {}
    for name, column in opened.items():
        if name.endswith(LENGTHS):
            continue
        own = name.removesuffix(VALUES)
        # A list is known by its length's place: there is one length a record.
        counted = own + LENGTHS if own != name else name
        columns[own] = RaggedColumn(column, opened[counted]) if own != name else column
        parts_by_column[own] = plan.sources[source][counted]
    return SplitReader(plan.order(source), columns, parts_by_column)


class _ReadShard(beam.DoFn):  # type: ignore[misc]  # Beam has no types
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._readers: dict[str, SplitReader] = {}
        self._shards = Metrics.counter(METRICS, "shards_read")

    def process(
        self, shard: Shard, inflated: dict[str, str]
    ) -> Iterator[tuple[Shard, Blocks[Block]]]:
        source = self._plan.split(shard.split).source
        if source not in self._readers:
            self._readers[source] = split_reader(self._plan, source, inflated)
        self._shards.inc()
        blocks = Blocks(shard.start, shard.stop, self._plan.block_records, self._readers[source])
        yield shard, blocks


def inflate_file(part: SourceFile, folder: str) -> tuple[str, str]:
    """Inflates one file into a folder; `(path, where its bytes are now)`.

    A file of the right size that is there already is taken: it took its name when complete.
    """
    check_unchanged(part)
    target = files.join(folder, f"{part.name.replace('/', '_')}-{part.version}.idx")
    if not any(size == part.header.file_bytes for _, size in files.match(target)):
        idx.inflate(part.path, target, part.header)
    Metrics.counter(METRICS, "files_inflated").inc()
    return part.path, target


class ReadFromIdx(beam.PTransform):  # type: ignore[misc]  # Beam has no types
    """Reads IDX files: `(Shard, Blocks[Block])` for each shard.

    Applied to a pipeline it reads all shards of a split; applied to a PCollection of `Shard` it
    reads those.

    Args:
      plan: A plan, or a path from which one with default options is made.
      split: A split of the plan; None reads all.
      scratch: A folder that all workers reach, for inflated files; needed only when a file is in
        gzip. The caller removes it.
    """

    def __init__(
        self, plan: Plan | str, split: str | None = None, scratch: str | None = None
    ) -> None:
        """Makes the plan where a path is given."""
        super().__init__()
        self._plan = make_plan(PlanOptions(input=plan)) if isinstance(plan, str) else plan
        self._split, self._scratch = split, scratch

    def expand(self, pcoll: Any) -> Any:
        """Inflates what is in gzip, then reads."""
        root = pcoll.pipeline if isinstance(pcoll, beam.PCollection) else pcoll
        if not isinstance(pcoll, beam.PCollection):
            pcoll = root | "Shards" >> Shards(self._plan, self._split)
        zipped = [part for part in self._plan.source_files() if part.gzip]
        if self._split is not None:
            source = self._plan.split(self._split).source
            own = {part for parts in self._plan.sources[source].values() for part in parts}
            zipped = [part for part in zipped if part in own]
        if zipped and self._scratch is None:
            raise UsageError(
                f"{zipped[0].path} is in gzip: give ReadFromIdx a scratch folder to inflate it into"
            )
        inflated = root | "Zipped" >> beam.Create(zipped)
        if zipped:
            inflated = (
                inflated
                | "SpreadZipped" >> beam.Reshuffle()
                | "Inflate" >> beam.Map(inflate_file, self._scratch)  # (path, inflated path)
            )
        return pcoll | "Read" >> beam.ParDo(
            _ReadShard(self._plan), beam.pvalue.AsDict(inflated)
        )  # (Shard, blocks of records)


class Shards(beam.PTransform):  # type: ignore[misc]  # Beam has no types
    """The shards of a plan, spread out over the workers. The graph holds the splits alone."""

    def __init__(self, plan: Plan, split: str | None = None) -> None:
        """Takes one split of a plan, or all."""
        super().__init__()
        self._splits = list(plan.splits) if split is None else [plan.split(split)]

    def expand(self, pipeline: Any) -> Any:
        """One element a shard."""
        return (
            pipeline
            | "Splits" >> beam.Create(self._splits)
            | "Cut" >> beam.FlatMap(lambda split: split.shards())
            | "Spread" >> beam.Reshuffle()
        )  # Shard
