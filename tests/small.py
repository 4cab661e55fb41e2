"""A small dataset to break: 40 records of 4x3 pixels, two splits, five shards."""

import numpy as np

from launch.cli import main
from pipeline.idx import write_idx

CLASSES = 10
COUNTS = {"train": 30, "t10k": 10}


def write_source(folder, *, seed=0, counts=COUNTS, gzip=False):
    """IDX files with the MNIST family's names; one label of each class at least."""
    import gzip as gz

    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in counts.items():
        images = random.integers(0, 256, (count, 4, 3), dtype=np.uint8)
        labels = (np.arange(count) % CLASSES).astype(np.uint8)
        for name, values in (("images-idx3", images), ("labels-idx1", labels)):
            path = folder / f"{split}-{name}-ubyte"
            write_idx(str(path), values)
            if gzip:
                path.with_name(path.name + ".gz").write_bytes(
                    gz.compress(path.read_bytes(), 1, mtime=0)
                )
                path.unlink()
    names = ", ".join(f'"class {number}"' for number in range(CLASSES))
    (folder / "dataset.toml").write_text(
        f'name = "small"\n[features.label]\nnames = [{names}]\n'
        '[splits.train]\nimage = "train-images*"\nlabel = "train-labels*"\n'
        '[splits.test]\nimage = "t10k-images*"\nlabel = "t10k-labels*"\n'
    )
    return folder


def convert(source, output, *flags):
    """Converts with two shards for test and three for train; returns the dataset's folder."""
    code = main(
        ["convert", "--input", str(source), "--output", str(output), "--quiet"]
        + ["--num_shards", "train=3,test=2", *flags]
    )
    assert code == 0
    return output / "small" / "1.0.0"


def content(folder):
    """All files of a dataset: {name: bytes}."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
