"""Text files to IDX files of tokens and lengths, with the vocabulary that Beam counted.

After the words are counted, each part of each file becomes IDX files of its own. All is made in a
folder beside the one asked for, which takes its name when complete.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt

from . import engine, files, idx
from .errors import InputError, OutputError, UsageError
from .source import DATASET_FILE, default_name
from .text import Batch, Part, cut_parts, find_texts, place_of_line
from .tokenizer import TOKENIZER_JSON, VOCABULARY, Tokenizer, word_ids
from .vocabulary import (
    COUNTED,
    LABEL,
    WORDS,
    WRITTEN,
    TokenOptions,
    bad_line,
    count_words,
    good_batches,
    mark_path,
)

TRAIN, LENGTHS = "train", "lengths"
# Tokens of a part that are held before they are written; a file in gzip is one part.
BLOCK_TOKENS = 1 << 23
# Bad lines of a part that are named.
MAX_NAMED = 10


@dataclass(frozen=True)
class Written:
    """What came of some lines of a part.

    Attributes:
      records: Texts.
      tokens: Words of them.
      unknown: Words among those that are not in the vocabulary.
      bad: Lines that were set aside.
      named: The places of the first of them, and why.
    """

    split: str
    records: int
    tokens: int = 0
    unknown: int = 0
    bad: int = 0
    named: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tokens:
    """What came of all texts.

    Attributes:
      folder: Where the files are.
      vocabulary: Number of words.
      splits: By split, sums over its files.
    """

    folder: str
    vocabulary: int
    splits: dict[str, Written]


# Given the number of parts and a function that counts those that are done: shows progress.
Watch = Callable[[int, Callable[[], int]], AbstractContextManager[None]]


def _unwatched(_parts: int, _done: Callable[[], int]) -> AbstractContextManager[None]:
    return contextlib.nullcontext()


def _smallest(classes: int) -> npt.DTypeLike:
    """IDX has no unsigned integers but bytes."""
    return "uint8" if classes <= 1 << 8 else "int16" if classes <= 1 << 15 else "int32"


@functools.lru_cache(maxsize=1)
def _word_ids(tokenizer: Tokenizer, vocabulary: str, _version: str) -> tuple[Any, Any]:
    import tensorflow as tf

    module = word_ids(tokenizer, vocabulary)
    spec = tf.TensorSpec((None,), tf.string)
    # The module is kept as well: the graph holds its table by a weak reference.
    return module, tf.function(module.__call__, input_signature=(spec,))


@dataclass
class _Held:
    """Tokens that wait to be written."""

    words: list[npt.NDArray[np.int64]] = field(default_factory=list)
    lengths: list[npt.NDArray[np.int64]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    tokens: int = 0


def _write_part(
    options: TokenOptions, folder: str, words: int, labels: dict[bytes, int], part: Part
) -> None:
    """Writes the files of a part, and then what came of it."""
    import tensorflow as tf

    classes = words + options.tokenizer.oov_buckets + 1
    vocabulary = files.join(folder, VOCABULARY)
    _, convert = _word_ids(options.tokenizer, vocabulary, files.version(vocabulary))
    held, block = _Held(), 0
    records = tokens = unknown = 0
    bad: list[tuple[int, str]] = []
    bad_count = 0
    for batch in good_batches(part, options):
        batch = _with_known_labels(part, options, labels, batch)
        bad_count += len(batch.bad)
        bad += batch.bad[: MAX_NAMED - len(bad)]
        if not batch.texts:
            continue
        found = convert(tf.constant(batch.texts))
        held.words.append(found.flat_values.numpy())
        held.lengths.append(found.row_lengths().numpy())
        held.labels += [labels[label] for label in batch.labels]
        count = len(held.words[-1])
        held.tokens += count
        records += len(batch.texts)
        tokens += count
        unknown += int((held.words[-1] > words).sum())
        if held.tokens >= BLOCK_TOKENS:
            _write_block(folder, part, block, held, classes, labels)
            held, block = _Held(), block + 1
    if held.lengths:
        _write_block(folder, part, block, held, classes, labels)
    named = tuple(f"{place_of_line(part, line)}: {reason}" for line, reason in bad)
    written = Written(part.split, records, tokens, unknown, bad_count, named)
    receipt = json.dumps(dataclasses.asdict(written))
    files.write_bytes(mark_path(folder, WRITTEN, part), receipt.encode())


def _with_known_labels(
    part: Part, options: TokenOptions, labels: dict[bytes, int], batch: Batch
) -> Batch:
    """A batch without the lines of labels that train does not have."""
    strange = [row for row, label in enumerate(batch.labels) if label not in labels]
    if not strange:
        return batch
    told = [
        (batch.lines[row], f"label {batch.labels[row].decode()!r} does not stand in train")
        for row in strange
    ]
    if not options.skip_bad:
        raise bad_line(part, *told[0])
    known = [row for row in range(len(batch.texts)) if batch.labels[row] in labels]
    return Batch(
        [batch.texts[row] for row in known],
        [batch.labels[row] for row in known],
        [batch.lines[row] for row in known],
        sorted(batch.bad + told),
    )


def _write_block(
    folder: str, part: Part, block: int, held: _Held, classes: int, labels: dict[bytes, int]
) -> None:
    columns = {
        WORDS: np.concatenate(held.words).astype(_smallest(classes)),
        LENGTHS: np.concatenate(held.lengths).astype(np.int32),
    }
    if labels:
        columns[LABEL] = np.array(held.labels, _smallest(len(labels)))
    for column, values in columns.items():
        name = f"{part.split}-{column}-{part.number:05d}-{block:05d}.idx"
        idx.write_idx(files.join(folder, name), values)


def _description(
    options: TokenOptions, splits: Sequence[str], words: int, labels: list[str]
) -> str:
    """The `dataset.toml` of what was written."""
    # JSON's strings are among those of TOML.
    lines = [
        f'name = "{options.name or default_name(options.to)}"',
        f'carry = ["{TOKENIZER_JSON}", "{VOCABULARY}"]',
        f"[features.{WORDS}]",
        f"num_classes = {words + options.tokenizer.oov_buckets + 1}",
    ]
    if labels:
        lines += [f"[features.{LABEL}]", f"names = {json.dumps(labels, ensure_ascii=False)}"]
    for split in splits:
        lines.append(f"[splits.{split}]")
        if labels:
            lines.append(f'{LABEL} = "{split}-{LABEL}-*.idx"')
        lines.append(
            f'{WORDS} = {{ values = "{split}-{WORDS}-*.idx", lengths = "{split}-{LENGTHS}-*.idx" }}'
        )
    return "\n".join(lines) + "\n"


def _summed(splits: Sequence[str], written: Sequence[Written]) -> dict[str, Written]:
    sums = {}
    for split in splits:
        own = [one for one in written if one.split == split]
        sums[split] = Written(
            split,
            records=sum(one.records for one in own),
            tokens=sum(one.tokens for one in own),
            unknown=sum(one.unknown for one in own),
            bad=sum(one.bad for one in own),
            named=tuple([place for one in own for place in one.named][:MAX_NAMED]),
        )
        if not sums[split].records:
            raise InputError(f"split {split!r}: its files hold no good line; give others")
    return sums


def make_tokens(
    options: TokenOptions, *, beam_args: Sequence[str] = (), watch: Watch = _unwatched
) -> Tokens:
    """Makes IDX files, a vocabulary and a `dataset.toml` of text files.

    Raises:
      InputError: A file that is not there, or a bad line; names file and line.
      OutputError: The folder holds something already, or cannot be written.
      UsageError: No train split, or options that do not fit.
    """
    texts = find_texts(options.texts)
    if TRAIN not in texts:
        raise UsageError(
            f"the splits are {', '.join(texts)}; wanted {TRAIN} among them: the vocabulary is "
            "that of train"
        )
    _check_target(options)
    parts = cut_parts(texts)
    size_bytes = sum(files.match(path)[0][1] for paths in texts.values() for path in paths)
    beam_options = engine.make_options(beam_args, size_bytes, len(parts))
    train_parts = [part for part in parts if part.split == TRAIN]
    partial = f"{os.path.abspath(options.to)}.partial"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        os.makedirs(partial)
        done = functools.partial(_marks, partial)
        with watch(len(train_parts) + len(parts), done):
            words, labels = count_words(options, train_parts, partial, beam_options)
            text = "".join(f"{word}\n" for word in words)
            files.write_bytes(files.join(partial, VOCABULARY), text.encode())
            written = _write_all(options, parts, partial, len(words), labels, beam_options)
        splits = _summed(list(texts), written)
        for name in os.listdir(partial):
            if name.startswith("."):
                os.unlink(files.join(partial, name))
        tokenizer = options.tokenizer.to_json()
        files.write_bytes(files.join(partial, TOKENIZER_JSON), tokenizer.encode())
        described = _description(options, list(texts), len(words), labels)
        files.write_bytes(files.join(partial, DATASET_FILE), described.encode())
        if options.overwrite:
            shutil.rmtree(options.to, ignore_errors=True)
        os.replace(partial, options.to)
    except OSError as error:
        raise files.unwritable(options.to, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Tokens(options.to, len(words), splits)


def _write_all(
    options: TokenOptions,
    parts: list[Part],
    folder: str,
    words: int,
    labels: list[str],
    beam_options: Any,
) -> list[Written]:
    numbers = {label.encode(): number for number, label in enumerate(labels)}

    def build(root: Any) -> None:
        (
            root
            | "Parts" >> beam.Create(parts)
            | "Spread" >> beam.Reshuffle()
            | "WriteParts"
            >> beam.Map(functools.partial(_write_part, options, folder, words, numbers))
        )

    engine.run(build, beam_options)
    receipts = [json.loads(files.read_bytes(mark_path(folder, WRITTEN, part))) for part in parts]
    return [Written(**{**receipt, "named": tuple(receipt["named"])}) for receipt in receipts]


def _check_target(options: TokenOptions) -> None:
    folder = options.to
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise OutputError(f"{folder}: is a file; wanted a folder")
    if not os.path.isdir(folder) or not os.listdir(folder):
        return
    ours = os.path.exists(os.path.join(folder, TOKENIZER_JSON))
    if not (options.overwrite and ours):
        advice = "--overwrite replaces it" if ours else "give another folder"
        raise OutputError(f"{folder}: holds something already; {advice}")


def _marks(folder: str) -> int:
    steps = (COUNTED, WRITTEN)
    return sum(len(files.match(files.join(folder, f".{step}-*"))) for step in steps)
