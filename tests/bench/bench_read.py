"""Reading: one epoch of batches of 256 from 300,000 records, each way in a process of its own.

python tests/bench/bench_read.py [--repeats 5]
"""

from __future__ import annotations

import argparse
import glob
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from typing import Any

from common import DATA, ROOT, finish, machine, median_seconds, recordmill, repeated, table, timed

RECORDS, BATCH = 300_000, 256
DATASET = DATA / "read" / "fashion" / "1.0.0"
IDIOM = "interleave | map(parse_single_example) | batch"


def dataset() -> str:
    """Five times Fashion-MNIST's train split, converted once."""
    flags = ("--output", DATA / "read", "--name", "fashion", "--quiet")
    timed(recordmill("convert", "--input", repeated(5), *flags))
    return str(DATASET)


def tensorflow_ways() -> dict[str, Callable[[], Iterable[Any]]]:
    """tf.data, ours and the usual."""
    import tensorflow as tf

    import train

    files = sorted(glob.glob(str(DATASET / "*.tfrecord*")))
    spec = {
        "image": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
    }

    def decode(parsed: Any) -> Any:
        image = tf.io.decode_raw(parsed["image"], tf.uint8)
        return {"image": tf.reshape(image, (-1, 28, 28)), "label": parsed["label"]}

    def one(record: Any) -> Any:
        parsed = decode(tf.io.parse_single_example(record, spec))
        return {"image": parsed["image"][0], "label": parsed["label"]}

    def records() -> Any:
        return tf.data.Dataset.from_tensor_slices(files).interleave(
            tf.data.TFRecordDataset, num_parallel_calls=tf.data.AUTOTUNE
        )

    auto = tf.data.AUTOTUNE
    path = str(DATASET)
    return {
        IDIOM: lambda: records().map(one, auto).batch(BATCH).prefetch(auto),
        "TFRecordDataset | batch | parse_example": lambda: (
            tf.data.TFRecordDataset(files)
            .batch(BATCH)
            .map(lambda x: decode(tf.io.parse_example(x, spec)), auto)
            .prefetch(auto)
        ),
        "the idiom with shuffle(10000)": lambda: (
            records().shuffle(10_000).map(one, auto).batch(BATCH).prefetch(auto)
        ),
        "train.load": lambda: train.load(path, "train", BATCH),
        "train.load, check=False": lambda: train.load(path, "train", BATCH, check=False),
        "train.load, shuffle_buffer=10000": lambda: train.load(
            path, "train", BATCH, shuffle_buffer=10_000
        ),
        "train.load, cache=True": lambda: train.load(path, "train", BATCH, cache=True),
    }


def numpy_ways() -> dict[str, Callable[[], Iterable[Any]]]:
    """Batches by number through mmap, without TensorFlow."""
    import pipeline

    def batches(check: Any) -> Iterable[Any]:
        records = pipeline.open_dataset(str(DATASET), check=check)["train"]
        return (records[i : i + BATCH] for i in range(0, RECORDS, BATCH))

    return {
        f"open_dataset, check={check!r}": lambda check=check: batches(check)
        for check in ("record", "shard", "none")
    }


def measure(way: str, repeats: int) -> float:
    """Median seconds of an epoch; the graph is built once, as in a training."""
    if way.startswith("open_dataset"):
        make = numpy_ways()[way]
        return median_seconds(lambda: sum(1 for _ in make()), repeats)
    made = tensorflow_ways()[way]()
    return median_seconds(lambda: sum(1 for _ in made), repeats)


def main() -> None:
    """Measures each way in a fresh process, in turn, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        print(json.dumps(measure(args.way, args.repeats)))
        return
    print(machine())
    dataset()
    rows = []
    for way in (*tensorflow_ways(), *numpy_ways()):
        done = subprocess.run(
            [sys.executable, __file__, "--way", way, "--repeats", str(args.repeats)],
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        seconds = json.loads(done.stdout.splitlines()[-1])
        rows.append({"way": way, "records/s": round(RECORDS / seconds)})
    idiom = rows[0]["records/s"]
    rows = [{**row, "times the idiom": row["records/s"] / idiom} for row in rows]
    table(f"One epoch of batches of {BATCH} from {RECORDS:,} records", rows)
    finish("bench_read", {"rows": rows})


if __name__ == "__main__":
    main()
