"""The ways that conversions are written as a rule, each as a whole process to be timed."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

IMAGE_BYTES = 784


def open_idx(folder: Path, split: str, kind: str) -> IO[bytes]:
    """One file of a split, in gzip or not."""
    path = folder / f"{split}-{kind}-ubyte"
    return open(path, "rb") if path.exists() else gzip.open(f"{path}.gz")


def read(folder: Path, split: str) -> tuple[bytes, bytes]:
    """Images and labels of a split, without their headers."""
    images, labels = open_idx(folder, split, "images-idx3"), open_idx(folder, split, "labels-idx1")
    with images, labels:
        return images.read()[16:], labels.read()[8:]


def tf_loop(folder: Path, output: Path) -> None:
    """tf.train.Example and TFRecordWriter in a loop."""
    import tensorflow as tf

    feature, train = tf.train.Feature, tf.train
    for split in ("train", "t10k"):
        if not list(folder.glob(f"{split}-*")):
            continue
        images, labels = read(folder, split)
        with tf.io.TFRecordWriter(str(output / f"{split}.tfrecord")) as writer:
            for i, label in enumerate(labels):
                image = images[i * IMAGE_BYTES : (i + 1) * IMAGE_BYTES]
                example = train.Example(
                    features=train.Features(
                        feature={
                            "image": feature(bytes_list=train.BytesList(value=[image])),
                            "label": feature(int64_list=train.Int64List(value=[label])),
                        }
                    )
                )
                writer.write(example.SerializeToString())


def beam_idiom(folder: Path, output: Path) -> None:
    """Create(ranges) | FlatMap(read) | Map(tf.train.Example) | WriteToTFRecord(num_shards=8)."""
    import apache_beam as beam
    import tensorflow as tf

    feature, train = tf.train.Feature, tf.train

    def records(part: tuple[str, int, int]) -> Iterator[tuple[bytes, int]]:
        split, start, stop = part
        images, labels = (
            open_idx(folder, split, "images-idx3"),
            open_idx(folder, split, "labels-idx1"),
        )
        with images, labels:
            images.seek(16 + start * IMAGE_BYTES)
            labels.seek(8 + start)
            for _ in range(start, stop):
                yield images.read(IMAGE_BYTES), labels.read(1)[0]

    def to_example(record: tuple[bytes, int]) -> bytes:
        image, label = record
        return train.Example(
            features=train.Features(
                feature={
                    "image": feature(bytes_list=train.BytesList(value=[image])),
                    "label": feature(int64_list=train.Int64List(value=[label])),
                }
            )
        ).SerializeToString()

    with beam.Pipeline(runner="FnApiRunner") as p:
        for split in ("train", "t10k"):
            if not list(folder.glob(f"{split}-*")):
                continue
            zipped = list(folder.glob(f"{split}-*.gz"))
            with open_idx(folder, split, "labels-idx1") as labels:
                count = len(labels.read()) - 8
            # A file in gzip is read from its start, so it makes one range.
            bounds = np.linspace(0, count, 2 if zipped else 9, dtype=int).tolist()
            parts = [(split, *bound) for bound in zip(bounds, bounds[1:], strict=False)]
            (
                p
                | f"Create-{split}" >> beam.Create(parts)
                | f"Read-{split}" >> beam.FlatMap(records)
                | f"Encode-{split}" >> beam.Map(to_example)
                | f"Write-{split}" >> beam.io.WriteToTFRecord(str(output / split), num_shards=8)
            )


def crc32c(folder: Path, _: Path) -> None:
    """Reads the input once and computes its CRC32C."""
    from crc32c import crc32c as checksum

    for path in sorted(folder.iterdir()):
        found = 0
        with open(path, "rb") as stream:
            while data := stream.read(8 << 20):
                found = checksum(data, found)


if __name__ == "__main__":
    way, folder, output = sys.argv[1:]
    Path(output).mkdir(parents=True, exist_ok=True)
    {"tf_loop": tf_loop, "beam_idiom": beam_idiom, "crc32c": crc32c}[way](
        Path(folder), Path(output)
    )
