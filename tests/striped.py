"""A small dataset that is quick to learn: one bright column on noise; its place is the class."""

import struct

import numpy as np

import pipeline

SHAPE, CLASSES = (6, 5), ("left", "middle", "right")
COUNTS = {"train": 200, "validation": 40, "test": 60}


def images(count, seed):
    """uint8[count, 6, 5] and int64[count]."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, len(CLASSES), count)
    values = random.integers(0, 100, (count, *SHAPE)).astype(np.uint8)
    values[np.arange(count), :, labels * 2] = 255
    return values, labels


def write_idx(path, values):
    """An IDX file of uint8."""
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    path.write_bytes(header + values.astype(np.uint8).tobytes())


def make_dataset(folder, counts=COUNTS, *, named=True, **options):
    """Converts; returns the dataset's folder."""
    lines = ['name = "striped"', 'version = "1.0.0"']
    if named:
        lines += ["[features.label]", f"names = {list(CLASSES)}"]
    for seed, (split, count) in enumerate(counts.items()):
        values, labels = images(count, seed)
        write_idx(folder / f"{split}-image.idx", values)
        write_idx(folder / f"{split}-label.idx", labels)
        lines += [
            f"[splits.{split}]",
            f'image = "{split}-image.idx"',
            f'label = "{split}-label.idx"',
        ]
    (folder / "dataset.toml").write_text("\n".join(lines).replace("'", '"'))
    made = pipeline.convert(
        input=str(folder / "dataset.toml"), output=str(folder / "out"), num_shards=3, **options
    )
    return made.folder
