"""`recordmill predict`: classes of images, from an exported model."""

from __future__ import annotations

import argparse
import glob
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import InputError, UsageError

BATCH_RECORDS = 500


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags."""
    add = parser.add_argument
    add("--model", required=True, metavar="DIR", help="folder of a trained model")
    add(
        "--images",
        required=True,
        nargs="+",
        metavar="FILE",
        help="IDX files of images, in gzip or not, PNG or JPEG files, or patterns of them",
    )
    add("--max_images", type=int, metavar="N", help="look at so many at most")
    add("--json", action="store_true", help="print a JSON object for each image")


def find_model(path: str) -> Path:
    """The SavedModel at or below a path.

    Raises:
      UsageError: None is there.
    """
    for folder in (Path(path), Path(path) / "saved_model"):
        if (folder / "saved_model.pb").is_file():
            return folder
    raise UsageError(
        f"--model {path}: no saved_model.pb there, nor in its saved_model/; give the --model_dir "
        "of a finished recordmill train on TensorFlow"
    )


def _read_idx(path: str, limit: int | None) -> Any:
    import tempfile

    from pipeline import idx

    header, zipped = idx.read_header(path, os.path.getsize(path))
    count = header.count if limit is None else min(limit, header.count)
    with tempfile.TemporaryDirectory() as scratch:
        plain = path
        if zipped:
            plain = os.path.join(scratch, "images.idx")
            idx.inflate(path, plain, header)
        return idx.IdxFile(plain, header).read(0, count).astype(header.dtype)


def _read_picture(path: str, shape: tuple[int, ...]) -> Any:
    import tensorflow as tf

    channels = shape[2] if len(shape) == 3 else 1
    try:
        image = tf.io.decode_image(Path(path).read_bytes(), channels, expand_animations=False)
    except tf.errors.OpError as error:
        raise InputError(
            f"{path}: neither IDX nor a PNG or JPEG picture that can be read; give one of these"
        ) from error
    return image.numpy().reshape(1, *image.shape[: len(shape)])


def read_images(path: str, shape: tuple[int, ...], dtype: str, limit: int | None) -> Any:
    """The images of a file, `[n, *shape]`.

    Raises:
      InputError: It cannot be read, or holds images of another shape or dtype.
    """
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such file; give --images files of images")
    with open(path, "rb") as stream:
        start = stream.read(2)
    is_idx = start in (b"\0\0", b"\x1f\x8b")
    images = _read_idx(path, limit) if is_idx else _read_picture(path, shape)
    if images.shape[1:] != shape or images.dtype != np.dtype(dtype):
        found = "x".join(map(str, images.shape[1:])) or "scalar"
        raise InputError(
            f"{path}: holds {images.dtype} {found}, but the model takes {dtype} "
            f"{'x'.join(map(str, shape))}; give images as those that it was trained on"
        )
    return images


def run(args: argparse.Namespace, beam_args: list[str]) -> int:
    """Predicts and prints."""
    folder = find_model(args.model)
    if args.max_images is not None and args.max_images < 1:
        raise UsageError(f"--max_images {args.max_images}: wanted 1 or more")
    # TensorFlow's start-up notices would stand between the user and the first line of ours.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    answer = tf.saved_model.load(str(folder)).signatures["images"]
    spec = answer.structured_input_signature[1]["images"]
    shape, dtype = tuple(spec.shape[1:]), spec.dtype.name
    if not args.json:
        print(f"{'image':<40}  {'class':>5}  {'label':<16}  probability")
    left = args.max_images
    for path in (p for pattern in args.images for p in sorted(glob.glob(pattern)) or [pattern]):
        images = read_images(path, shape, dtype, left)
        for start in range(0, len(images), BATCH_RECORDS):
            found = answer(images=tf.constant(images[start : start + BATCH_RECORDS]))
            _print({name: value.numpy() for name, value in found.items()}, path, start, args.json)
        if left is not None:
            left -= len(images)
            if left <= 0:
                break
    return 0


def _print(found: dict[str, Any], path: str, first: int, as_json: bool) -> None:
    for row, (number, label, shares) in enumerate(
        zip(found["class"], found["label"], found["probabilities"], strict=True)
    ):
        text, share = label.decode(), float(shares[number])
        if as_json:
            line = {
                "file": path,
                "record": first + row,
                "class": int(number),
                "label": text,
                "probability": share,
                "probabilities": [float(one) for one in shares],
            }
            sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
        else:
            where = f"{os.path.basename(path)}:{first + row}"
            sys.stdout.write(f"{where:<40}  {number:>5}  {text:<16}  {share:.4f}\n")
