"""Checkpoints: everything that the next step depends on, in one file, whole or not there.

The arrays of `Learner.state` and a few facts as JSON in numpy's npz: the same file whatever the
backend, so a run that was begun on one can go on with another.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import OutputError

from .output import replacing

FOLDER = "checkpoint"
# The newest, and one before it for the case that the newest turns out damaged.
KEPT = 2


class Checkpoints:
    """The checkpoints of a run, the newest of which counts."""

    def __init__(self, model_dir: Path) -> None:
        """Names the folder; makes nothing."""
        self.folder = model_dir / FOLDER

    def _files(self) -> list[Path]:
        found = self.folder.glob("step-*.npz") if self.folder.is_dir() else []
        return sorted(path for path in found if re.fullmatch(r"step-\d+\.npz", path.name))

    @property
    def newest(self) -> Path | None:
        """The file that `load` would read."""
        return next(reversed(self._files()), None)

    def save(self, step: int, arrays: Sequence[npt.NDArray[Any]], facts: dict[str, Any]) -> Path:
        """Writes a checkpoint and drops those that are no longer wanted.

        Args:
          step: Steps taken so far.
          arrays: What `Learner.state` gives.
          facts: JSON values.

        Raises:
          OutputError: The disk is full or refuses; older checkpoints are still there.
        """
        self.folder.mkdir(exist_ok=True)
        path = self.folder / f"step-{step:010}.npz"
        with replacing(path) as partial, partial.open("wb") as file:
            named = {f"array_{number:05}": array for number, array in enumerate(arrays)}
            np.savez(file, allow_pickle=False, facts=np.array(json.dumps(facts)), **named)
            file.flush()
            os.fsync(file.fileno())
        for old in self._files()[:-KEPT]:
            old.unlink()
        return path

    def load(self) -> tuple[list[npt.NDArray[Any]], dict[str, Any]] | None:
        """Arrays and facts of the newest checkpoint; None where there is none.

        Raises:
          OutputError: It is damaged.
        """
        path = self.newest
        if path is None:
            return None
        try:
            with np.load(path, allow_pickle=False) as stored:
                arrays = [stored[key] for key in sorted(stored) if key != "facts"]
                return arrays, json.loads(str(stored["facts"]))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise OutputError(
                f"{path}: is damaged ({error}); delete it to go on from the one before, or pass "
                "--overwrite to start anew"
            ) from error

    def save_best(self, arrays: Sequence[npt.NDArray[Any]]) -> None:
        """Keeps the weights that were best on `validation`."""
        self.folder.mkdir(exist_ok=True)
        with replacing(self.folder / "best.npz") as partial, partial.open("wb") as file:
            named = {f"array_{number:05}": array for number, array in enumerate(arrays)}
            np.savez(file, allow_pickle=False, **named)

    def load_best(self) -> list[npt.NDArray[Any]]:
        """The weights that `save_best` kept."""
        with np.load(self.folder / "best.npz", allow_pickle=False) as stored:
            return [stored[key] for key in sorted(stored)]

    def clear(self) -> None:
        """Removes all checkpoints."""
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                path.unlink()
            self.folder.rmdir()
