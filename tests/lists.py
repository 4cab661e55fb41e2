"""Small inputs with lists of varying length."""

from pathlib import Path

import numpy as np
import samples

CLASSES = 300


def words(count: int, seed: int = 0, longest: int = 40) -> tuple[samples.Array, samples.Array]:
    """int32[total] tokens and int16[count] lengths, some of them 0."""
    random = np.random.default_rng(seed)
    lengths = random.integers(0, longest + 1, count).astype(np.int16)
    lengths[::7] = 0
    return random.integers(0, CLASSES, lengths.sum()).astype(np.int32), lengths


def write_words(
    folder: Path, train: int = 60, test: int = 15, ending: str = "", head: str = ""
) -> Path:
    """A dataset of words and labels."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ['name = "text"', head, f"[features.words]\nnum_classes = {CLASSES}"]
    lines.append("[features.label]\nnum_classes = 10")
    for seed, (split, count) in enumerate({"train": train, "test": test}.items()):
        tokens, lengths = words(count, seed)
        names = {name: f"{split}-{name}.idx{ending}" for name in ("words", "lengths", "label")}
        samples.write(folder / names["words"], tokens)
        samples.write(folder / names["lengths"], lengths)
        samples.write(folder / names["label"], samples.labels(count))
        lines += [
            f'[splits.{split}]\nlabel = "{names["label"]}"',
            f'words = {{ values = "{names["words"]}", lengths = "{names["lengths"]}" }}',
        ]
    (folder / "dataset.toml").write_text("\n".join(lines))
    return folder
