"""Whether a dataset is what was written, and what the source makes: nothing is believed.

A shard is checked by one process at a time, from front to end, in one pass: digest, checksums,
layout, values and, where asked, its source.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import multiprocessing
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from . import checks, files, idx
from .carry import rebind_carried
from .checks import Finding, Findings
from .checks_varying import check_blocks
from .content import MODULUS, content_sum
from .dataset import open_shard
from .errors import DatasetError, InputError
from .example import Rows
from .inspection import open_records
from .manifest import (
    MANIFEST,
    MANIFEST_COPY,
    Manifest,
    ShardEntry,
    metadata_files,
    parse_manifest,
)
from .plan import Plan, Shard
from .source import SourceFile
from .tfrecord import Framed
from .varying import load_offsets

# Worker processes start in a third of a second; below this, threads are done before.
PROCESSES_FROM_BYTES = 1 << 30
SHARD_NAME = re.compile(r"-\w+\.tfrecord-\d{5,}-of-\d{5,}(\.tmp-.*)?$")

CHANGED = "is not the file that was converted: its SHA-256 differs"
Seen = Callable[[int], object]


@dataclass(frozen=True)
class Report:
    """What `verify` found.

    Attributes:
      path: The dataset's folder, or what was given of foreign files.
      files: Files that were checked.
      records: Records that were checked.
      num_bytes: Bytes that were read.
    """

    path: str
    files: int
    records: int
    num_bytes: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Checked:
    """What one shard came to."""

    records: int
    num_bytes: int
    findings: tuple[Finding, ...]


def find_manifest(folder: str) -> tuple[Manifest, list[Finding]]:
    """The manifest of a dataset, or its copy where that alone is whole.

    Raises:
      DatasetError: Neither can be read.
    """
    whole: dict[str, bytes] = {}
    problems: dict[str, str] = {}
    for name in (MANIFEST, MANIFEST_COPY):
        path = files.join(folder, name)
        try:
            content = files.read_bytes(path)
            parse_manifest(content, path)
            whole[name] = content
        except FileNotFoundError:
            problems[name] = "is missing"
        except (DatasetError, OSError) as error:
            problems[name] = checks.damage(error)
    if not whole:
        raise DatasetError(
            f"{folder}: {MANIFEST} {problems[MANIFEST]}, and {MANIFEST_COPY} "
            f"{problems[MANIFEST_COPY]}: nothing is left that says what this dataset was; convert "
            "its source again, with the same options, into another --output"
        )
    if len(set(whole.values())) > 1:
        problems[MANIFEST_COPY] = f"is not the copy of {MANIFEST}"
    name = MANIFEST if MANIFEST in whole else MANIFEST_COPY
    manifest = parse_manifest(whole[name], files.join(folder, name))
    return manifest, [Finding(name, problem) for name, problem in problems.items()]


def check_metadata(folder: str, manifest: Manifest) -> list[Finding]:
    """Compares the files beside the shards with what the manifest makes or says of them."""
    found = []
    made = {name: data for name, data in metadata_files(manifest).items() if name != MANIFEST_COPY}
    for name in [*made, *manifest.files]:
        try:
            content = files.read_bytes(files.join(folder, name))
        except FileNotFoundError:
            found.append(Finding(name, "is missing"))
            continue
        except OSError as error:
            found.append(Finding(name, checks.damage(error)))
            continue
        if name not in made:
            if hashlib.sha256(content).hexdigest() != manifest.files[name]:
                found.append(Finding(name, "is not the file that was written: its SHA-256 differs"))
        elif content != made[name]:
            same = os.path.commonprefix([content, made[name]])
            found.append(Finding(name, "is not what follows from the manifest", None, len(same)))
    return found


def stray_files(folder: str, manifest: Manifest) -> list[str]:
    """Files that a reader's pattern would take for shards of this dataset, but are none."""
    shards = {shard.file for entries in manifest.splits.values() for shard in entries}
    names = (path.rpartition("/")[2] for path, _ in files.match(files.join(folder, "*")))
    return [
        name
        for name in names
        if name.startswith(manifest.plan.name)
        and SHARD_NAME.match(name, len(manifest.plan.name))
        and name not in shards
    ]


def _check_shard(
    folder: str,
    plan: Plan,
    entry: ShardEntry,
    wanted: Any,
    deep: bool,
) -> Checked:
    """Checks one shard; `wanted` are its blocks, encoded from the source anew, or None."""
    path = files.join(folder, entry.file)
    found = Findings(entry.file)
    try:
        size = dict(files.match(path)).get(path)
        if size is None:
            found.add("is missing")
            return Checked(0, 0, found.finish())
        if size != entry.num_bytes:
            found.add(f"has {size} bytes, the manifest says {entry.num_bytes}")
        check = _check_content if plan.fixed else _check_varying
        records = check(path, plan, entry, wanted, deep, found)
    except (DatasetError, OSError) as error:
        found.add(checks.damage(error))
        records = 0
    return Checked(records, size or 0, found.finish())


def _check_content(
    path: str,
    plan: Plan,
    entry: ShardEntry,
    wanted: Any,
    deep: bool,
    found: Findings,
) -> int:
    first, before, content = 0, found.total, 0
    with files.open_read(path) as stored:
        hashing = checks.HashingReader(stored)
        with contextlib.ExitStack() as stack:
            stream: Any = hashing
            if plan.compression != "none":
                hashing.finish()
                stored.seek(0)
                stream = stack.enter_context(idx.inflating(stored, path, DatasetError))
            anew: list[Rows] = []
            counts = _counts(entry.records, plan.stride) if wanted is None else _take(wanted, anew)
            for rows in checks.read_rows(stream, plan.stride, counts, found):
                numbers = np.arange(first, first + len(rows))
                good = checks.check_frames(rows, numbers, found)
                checks.check_values(plan.features, rows[good], numbers[good], found)
                if deep:
                    content += content_sum(Framed.of_rows(rows))
                    checks.check_parses(plan.features, rows[good], numbers[good], found)
                if wanted is not None:
                    checks.check_source(rows, anew[0][: len(rows)], numbers, found)
                first += len(rows)
        sha256, crc = hashing.finish()
    if deep and f"{content % MODULUS:032x}" != entry.content and found.total == before:
        found.add("its records are not those that were written: their digest differs")
    if (sha256, crc) != (entry.sha256, entry.crc32c) and found.total == before:
        found.add(
            "is not the file that was written, though each record fits its own checksums: its "
            "SHA-256 differs from the manifest's"
        )
    return first


def _check_varying(
    path: str,
    plan: Plan,
    entry: ShardEntry,
    wanted: Iterable[Framed] | None,
    deep: bool,
    found: Findings,
) -> int:
    """As `_check_content`, for records that differ in length."""
    content: int | None = None
    with open_shard(path, plan.compression) as stream:
        try:
            size = entry.num_bytes if plan.compression == "none" else None
            offsets = load_offsets(path, entry.records, size)
        except DatasetError:
            # What is wrong with the index is told of the index itself.
            records = checks.check_records(stream, found, deep=deep, seen=lambda num_bytes: None)
        else:
            records, content = check_blocks(stream, plan, offsets, wanted, found, deep=deep)
    if records != entry.records and not found.total:
        found.add(f"holds {records} records, the manifest says {entry.records}")
    digest = entry.content if content is None else f"{content % MODULUS:032x}"
    if deep and digest != entry.content and not found.total:
        found.add("its records are not those that were written: their digest differs")
    if not found.total and checks.sha256_of(path) != entry.sha256:
        found.add(
            "is not the file that was written, though each record fits its own checksums: its "
            "SHA-256 differs from the manifest's"
        )
    return records


def _counts(records: int, stride: int) -> Iterator[int]:
    step = max(1, checks.READ_BYTES // stride)
    return (min(step, records - start) for start in range(0, records, step))


def _take(blocks: Iterable[Rows], current: list[Rows]) -> Iterator[int]:
    """The length of each block; the block itself is left in `current`."""
    for block in blocks:
        current[:] = [block]
        yield len(block)


def rebind(manifest: Manifest, source: str) -> tuple[Plan, list[Finding]]:
    """The plan of a dataset with its source files found in another folder, and how they differ.

    Args:
      manifest: Of the dataset.
      source: The folder that was converted, wherever it lies now, or its `dataset.toml`.

    Raises:
      InputError: A file is missing there, or is another one than was converted.
    """
    plan, folder, found = manifest.plan, source, []
    if source.endswith(".toml"):
        folder = source.rpartition("/")[0] or "."
    digests = {entry["name"]: entry["sha256"] for entry in manifest.sources}
    parts: dict[SourceFile, SourceFile] = {}
    for part in plan.source_files():
        if not files.is_local(part.name) or ".." in part.name.split("/") or part.name[:1] == "/":
            raise DatasetError(f"source file {part.name!r} leads outside of {source}")
        path = files.join(folder, part.name)
        size = dict(files.match(path)).get(path)
        if size is None:
            raise InputError(f"{path}: is missing; give --source the folder that was converted")
        header, zipped = idx.read_header(path, size)
        if (header, zipped) != (part.header, part.gzip):
            raise InputError(
                f"{path}: holds {header.shape} {header.dtype}, but {part.header.shape} "
                f"{part.header.dtype} was converted; give --source the folder that was converted"
            )
        if checks.sha256_of(path) != digests.get(part.name):
            found.append(Finding(path, CHANGED))
        parts[part] = replace(part, path=path, size_bytes=size, version=files.version(path))
    sources = {
        split: {column: tuple(parts[p] for p in own) for column, own in columns.items()}
        for split, columns in plan.sources.items()
    }
    carried, changed = rebind_carried(plan.carried, folder)
    found += [Finding(path, CHANGED) for path in changed]
    return replace(plan, sources=sources, carried=carried), found


def _encode(plan: Plan, folder: str, block: Any) -> Rows | Framed:
    """Rows where all records are of one length, else framed records."""
    from .encode import encode_block, transform_of

    transform = transform_of(plan, folder)
    framed = encode_block(plan.features, block, plan.rules, transform=transform)
    return framed.data.reshape(-1, plan.stride) if plan.fixed else framed


@contextlib.contextmanager
def source_blocks(plan: Plan, folder: str) -> Iterator[Callable[[Shard], Any]]:
    """Gives a function from a shard to its framed blocks, encoded anew from the source.

    A preprocessing is applied as it is stored in `folder`; it is not analysed again. What is in
    gzip is inflated into a temporary folder first.
    """
    from .read import Blocks, inflate_file, split_reader

    with tempfile.TemporaryDirectory(prefix="recordmill-") as scratch:
        inflated = dict(inflate_file(part, scratch) for part in plan.source_files() if part.gzip)
        readers = {split.name: split_reader(plan, split.source, inflated) for split in plan.splits}

        encode = functools.partial(_encode, plan, folder)

        def blocks(shard: Shard) -> Any:
            reader = readers[shard.split]
            return Blocks(shard.start, shard.stop, plan.block_records, reader).map(encode)

        yield blocks


def _executor(folder: str, num_bytes: int, workers: int) -> Executor:
    # A store's flags are this process's; and there, waiting takes the time.
    if num_bytes < PROCESSES_FROM_BYTES or workers == 1 or not files.is_local(folder):
        return ThreadPoolExecutor(workers)
    # Not fork: the caller may have threads, such as a progress bar's.
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


def check_shards_content(
    folder: str,
    manifest: Manifest,
    shards: Sequence[tuple[Shard, ShardEntry]],
    *,
    blocks: Callable[[Shard], Any] | None = None,
    deep: bool = False,
    workers: int | None = None,
    seen: Seen = lambda num_bytes: None,
) -> list[Checked]:
    """Checks shards side by side; what was found comes in the shards' order."""
    num_bytes = sum(entry.num_bytes for _, entry in shards)
    check = functools.partial(_check_shard, folder, manifest.plan, deep=deep)
    results: dict[int, Checked] = {}
    with _executor(folder, num_bytes, workers or os.cpu_count() or 1) as pool:
        pending = {
            pool.submit(check, entry=entry, wanted=blocks(shard) if blocks else None): number
            for number, (shard, entry) in enumerate(shards)
        }
        for future in as_completed(pending):
            results[pending[future]] = future.result()
            seen(shards[pending[future]][1].num_bytes)
    return [results[number] for number in range(len(shards))]


def all_shards(manifest: Manifest) -> list[tuple[Shard, ShardEntry]]:
    """Each shard of the plan with what the manifest says of it."""
    return [
        pair
        for split in manifest.plan.splits
        for pair in zip(split.shards(), manifest.splits[split.name], strict=True)
    ]


def verify_dataset(
    folder: str,
    *,
    source: str | None = None,
    rule: str | None = None,
    deep: bool = False,
    workers: int | None = None,
    seen: Seen = lambda num_bytes: None,
) -> Report:
    """Checks a whole dataset.

    Args:
      folder: The dataset's own.
      source: Where its source files lie; None checks the dataset by itself.
      rule: That the records were chosen by, if any: `path/to/module.py:function`.
      deep: Parses each record with protobuf, too.
      workers: Processes or threads; None takes as many as there are processors.
      seen: Told of bytes as they have been checked.

    Raises:
      DatasetError: No manifest and no copy of it can be read.
      InputError: The source is another one than was converted.
    """
    manifest, found = find_manifest(folder)
    found += check_metadata(folder, manifest)
    strays = stray_files(folder, manifest)
    found += [Finding(name, "is no shard of this dataset, but named like one") for name in strays]
    shards = all_shards(manifest)
    with contextlib.ExitStack() as stack:
        blocks = None
        if source is not None:
            plan, differences = rebind(manifest, source)
            found += differences
            blocks = stack.enter_context(source_blocks(plan.with_rule(rule), folder))
        checked = check_shards_content(
            folder, manifest, shards, blocks=blocks, deep=deep, workers=workers, seen=seen
        )
    for one in checked:
        found += one.findings
    return Report(
        folder,
        len(shards) + len(metadata_files(manifest)) + len(manifest.files) + 1,
        sum(one.records for one in checked),
        sum(one.num_bytes for one in checked),
        tuple(found),
    )


def verify_files(
    path: str, paths: Sequence[str], *, deep: bool = False, seen: Seen = lambda num_bytes: None
) -> Report:
    """Checks TFRecord files that somebody else wrote: framing and checksums, and parses them.

    Args:
      path: What was asked for.
      paths: The files, in gzip or not.
      deep: Parses each record with protobuf.
      seen: Told of bytes as they have been checked.
    """
    records, num_bytes = 0, 0
    all_found: list[Finding] = []
    for one in paths:
        found = Findings(one)
        try:
            with open_records(one) as stream:
                records += checks.check_records(stream, found, deep=deep, seen=seen)
            num_bytes += sum(size for _, size in files.match(one))
        except (DatasetError, OSError) as error:
            found.add(checks.damage(error))
        all_found += found.finish()
    return Report(path, len(paths), records, num_bytes, tuple(all_found))
