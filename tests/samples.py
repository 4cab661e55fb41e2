"""Small inputs with values that follow from a record's number, and their shards without Beam."""

import functools
import gzip
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline import engine, files, idx
from pipeline.encode import encode_block
from pipeline.options import PlanOptions
from pipeline.plan import Plan
from pipeline.planning import make_plan
from pipeline.read import Blocks, split_reader
from pipeline.write import Receipt, WriteToTFRecord, write_shard

SHAPE = (5, 4)
Array = npt.NDArray[Any]


def images(count: int, first: int = 0) -> Array:
    """uint8[count, 5, 4]; no two alike, for a number stands in the first two pixels."""
    numbers = np.arange(first, first + count)
    pixels = (numbers[:, None] * 7 + np.arange(20) * 13) % 251
    pixels[:, 0], pixels[:, 1] = numbers % 256, numbers // 256
    return pixels.astype(np.uint8).reshape(-1, *SHAPE)


def labels(count: int) -> Array:
    """uint8[count], each class equally often."""
    return (np.arange(count) % 10).astype(np.uint8)


def idx_bytes(array: Array) -> bytes:
    values = array.astype(array.dtype.newbyteorder(">"))
    return idx.encode_header(array.dtype, array.shape) + values.tobytes()


def write(path: Path, array: Array) -> Path:
    """An IDX file, in gzip where its name ends so."""
    content = idx_bytes(array)
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    return path


def write_mnist(folder: Path, train: int = 50, test: int = 20, ending: str = "") -> Path:
    """The four files of the MNIST family."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, count, first in (("train", train, 0), ("t10k", test, 10_000)):
        write(folder / f"{split}-images-idx3-ubyte{ending}", images(count, first))
        write(folder / f"{split}-labels-idx1-ubyte{ending}", labels(count))
    return folder


def write_columns(
    folder: Path, columns: Mapping[str, Array], features: str = "", split: str = "train"
) -> Path:
    """One split of any columns, with a `dataset.toml`."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ['name = "made"', features, f"[splits.{split}]"]
    for name, array in columns.items():
        write(folder / f"{name}.idx", array)
        lines.append(f'{name} = "{name}.idx"')
    (folder / "dataset.toml").write_text("\n".join(lines))
    return folder


def planned(folder: Path, **options: Any) -> Plan:
    return make_plan(PlanOptions(input=str(folder), **options))


def blocks_of(plan: Plan, split: str) -> list[tuple[Any, Blocks[Any]]]:
    reader = split_reader(plan, plan.split(split).source, {})
    return [
        (
            shard,
            Blocks(shard.start, shard.stop, plan.block_records, reader).map(
                functools.partial(encode_block, plan.features)
            ),
        )
        for shard in plan.split(split).shards()
    ]


def write_shards(plan: Plan, folder: Path) -> list[Receipt]:
    """All shards of a plan, as pure functions of it."""
    receipts = []
    for split in plan.splits:
        sink = WriteToTFRecord(files.join(str(folder), plan.prefix(split.name)))._sink
        receipts += [
            write_shard(sink, *element, index=not plan.fixed)
            for element in blocks_of(plan, split.name)
        ]
    return receipts


def joined(plan: Plan, folder: Path, split: str) -> bytes:
    """The concatenation of a split's shards."""
    names = [plan.shard_name(shard) for shard in plan.split(split).shards()]
    return b"".join((folder / name).read_bytes() for name in names)


_KEPT: list[Any] = []


def keep(element: Any) -> None:
    """For `beam.Map` at a pipeline's end; it travels by its name, so there is one list."""
    _KEPT.append(element)


def run_beam(build: Callable[[Any], None]) -> list[Any]:
    """Runs a pipeline in memory; returns what was given to `keep`."""
    _KEPT.clear()
    engine.run(build, engine.make_options([], 0, 1))
    return list(_KEPT)
