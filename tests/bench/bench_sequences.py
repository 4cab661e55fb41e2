"""SequenceExamples of 20 to 200 tokens: written and read, each way in a process of its own.

python tests/bench/bench_sequences.py [--records 1000000] [--repeats 3]

The peers that write take minutes, and are timed once.
"""

from __future__ import annotations

import argparse
import glob
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from common import DATA, ROOT, finish, machine, median_run, median_seconds, recordmill, table, timed

from pipeline.idx import write_idx

VOCABULARY, BATCH = 20_000, 64
FOLDER = DATA / "sequences"
BOUNDS = [40, 60, 80, 100, 120, 140, 160, 180]


def made(records: int) -> Path:
    """Token and length files with their `dataset.toml`."""
    folder = FOLDER / f"raw-{records}"
    if not (folder / "dataset.toml").exists():
        folder.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(0)
        lengths = random.integers(20, 201, records).astype(np.int16)
        tokens = random.integers(0, VOCABULARY, int(lengths.sum())).astype(np.int32)
        write_idx(str(folder / "lengths.idx"), lengths)
        write_idx(str(folder / "tokens.idx"), tokens)
        write_idx(str(folder / "label.idx"), (np.arange(records) % 4).astype(np.uint8))
        (folder / "dataset.toml").write_text(
            f'name = "text"\n[features.words]\nnum_classes = {VOCABULARY}\n'
            "[features.label]\nnum_classes = 4\n"
            '[splits.train]\nlabel = "label.idx"\n'
            'words = { values = "tokens.idx", lengths = "lengths.idx" }\n'
        )
    return folder


def columns(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokens, lengths and labels, whole."""
    return (
        np.fromfile(folder / "tokens.idx", ">i4", offset=8),
        np.fromfile(folder / "lengths.idx", ">i2", offset=8),
        np.fromfile(folder / "label.idx", np.uint8, offset=8),
    )


def to_message(words: list[int], label: int) -> bytes:
    """A record as the article makes it."""
    import tensorflow as tf

    message = tf.train.SequenceExample()
    message.context.feature["length"].int64_list.value.append(len(words))
    message.context.feature["label"].int64_list.value.append(label)
    steps = message.feature_lists.feature_list["words"].feature
    for word in words:
        steps.add().int64_list.value.append(word)
    return message.SerializeToString()


def lists_of(folder: Path, start: int, stop: int) -> Iterator[tuple[list[int], int]]:
    """Records `[start, stop)` as Python values."""
    tokens, lengths, labels = columns(folder)
    ends = np.cumsum(lengths, dtype=np.int64)
    for i in range(start, stop):
        yield tokens[ends[i] - lengths[i] : ends[i]].tolist(), int(labels[i])


def tf_loop(folder: Path, output: Path) -> None:
    """tf.train.SequenceExample and TFRecordWriter in a loop."""
    import tensorflow as tf

    count = len(columns(folder)[2])
    with tf.io.TFRecordWriter(str(output / "train.tfrecord")) as writer:
        for words, label in lists_of(folder, 0, count):
            writer.write(to_message(words, label))


def beam_idiom(folder: Path, output: Path) -> None:
    """Create(ranges) | FlatMap(read) | Map(tf.train.SequenceExample) | WriteToTFRecord."""
    import apache_beam as beam

    bounds = np.linspace(0, len(columns(folder)[2]), 9, dtype=int).tolist()
    with beam.Pipeline(runner="FnApiRunner") as p:
        (
            p
            | beam.Create(list(itertools.pairwise(bounds)))
            | "Read" >> beam.FlatMap(lambda part: lists_of(folder, *part))
            | "Encode" >> beam.MapTuple(to_message)
            | beam.io.WriteToTFRecord(str(output / "train"), num_shards=8)
        )


def writing(records: int, repeats: int) -> list[dict[str, Any]]:
    """Whole processes, from start to end."""
    folder = made(records)

    def converted(*flags: str) -> list[str | Path]:
        arguments = ("--input", folder, "--output", FOLDER / "out", "--quiet", "--overwrite")
        return recordmill("convert", *arguments, *flags)

    def peer(way: str) -> list[str | Path]:
        shutil.rmtree(FOLDER / way, ignore_errors=True)
        (FOLDER / way).mkdir(parents=True)
        return [sys.executable, __file__, "--way", way, "--records", str(records)]

    ways: dict[str, Callable[[], list[str | Path]]] = {
        "tf.train.SequenceExample in a loop": lambda: peer("tf_loop"),
        "the Beam idiom": lambda: peer("beam_idiom"),
        "recordmill convert": lambda: converted(),
        "recordmill convert, --shuffle none": lambda: converted("--shuffle", "none"),
    }
    rows: list[dict[str, Any]] = []
    for name, command in ways.items():
        times = repeats if name.startswith("recordmill") else 1
        run = median_run(lambda command=command: timed(command()), times)  # type: ignore[misc]
        rows.append({"way": name, "records/s": round(records / run.seconds)})
    loop, idiom = rows[0]["records/s"], rows[1]["records/s"]
    return [
        {**row, "times the loop": row["records/s"] / loop, "times Beam": row["records/s"] / idiom}
        for row in rows
    ]


def reading_ways() -> dict[str, Callable[[], Iterable[Any]]]:
    """Batches of 64, bucketed by length."""
    import tensorflow as tf

    import train

    folder = str(FOLDER / "out" / "text" / "1.0.0")
    files = sorted(glob.glob(f"{folder}/*.tfrecord*"))
    context = {name: tf.io.FixedLenFeature([], tf.int64) for name in ("label", "length")}
    lists = {"words": tf.io.FixedLenSequenceFeature([], tf.int64)}

    def parse(record: Any) -> Any:
        one, steps = tf.io.parse_single_sequence_example(record, context, lists)
        return {**one, **steps}

    auto = tf.data.AUTOTUNE
    return {
        "map(parse_single_sequence_example) | bucket": lambda: (
            tf.data.TFRecordDataset(files)
            .map(parse, auto)
            .bucket_by_sequence_length(
                lambda record: tf.cast(record["length"], tf.int32),
                [bound + 1 for bound in BOUNDS],
                [BATCH] * (len(BOUNDS) + 1),
            )
            .prefetch(auto)
        ),
        "train.load, bucket_by_length": lambda: train.load(
            folder, "train", BATCH, bucket_by_length=BOUNDS
        ),
        "train.load, bucketed and shuffled": lambda: train.load(
            folder, "train", BATCH, bucket_by_length=BOUNDS, shuffle_buffer=10_000
        ),
        "train.load, ragged": lambda: train.load(folder, "train", BATCH, lists="ragged"),
    }


def reading(records: int, repeats: int) -> list[dict[str, Any]]:
    """One epoch each, the graph built before."""
    rows: list[dict[str, Any]] = []
    for way in reading_ways():
        done = subprocess.run(
            [sys.executable, __file__, "--way", way, "--repeats", str(repeats)],
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        seconds = json.loads(done.stdout.splitlines()[-1])
        rows.append({"way": way, "records/s": round(records / seconds)})
    first = rows[0]["records/s"]
    return [{**row, "times the first": row["records/s"] / first} for row in rows]


def main() -> None:
    """Measures each way in a fresh process, in turn, and prints two tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if peer := {"tf_loop": tf_loop, "beam_idiom": beam_idiom}.get(args.way or ""):
        peer(made(args.records), FOLDER / args.way)
        return
    if args.way:
        batches = reading_ways()[args.way]()
        print(json.dumps(median_seconds(lambda: sum(1 for _ in batches), args.repeats)))
        return
    print(machine())
    written = writing(args.records, args.repeats)
    table(f"{args.records:,} records of 20 to 200 tokens, whole processes", written)
    read = reading(args.records, args.repeats)
    table(f"One epoch of bucketed batches of {BATCH}", read)
    finish("bench_sequences", {"writing": written, "reading": read})


if __name__ == "__main__":
    main()
