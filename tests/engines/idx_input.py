"""Made-up input for the engines' tests: big enough that something can be killed in the middle."""

import os

import numpy as np

from pipeline import idx


def write_input(folder: str, train: int, test: int = 100) -> str:
    """Images and labels of two splits, every pixel drawn."""
    os.makedirs(folder, exist_ok=True)
    generator = np.random.default_rng(0)
    for name, count in (("train", train), ("t10k", test)):
        images = generator.integers(0, 256, (count, 28, 28), np.uint8)
        labels = generator.integers(0, 10, count).astype(np.uint8)
        idx.write_idx(os.path.join(folder, f"{name}-images-idx3-ubyte"), images)
        idx.write_idx(os.path.join(folder, f"{name}-labels-idx1-ubyte"), labels)
    return folder
