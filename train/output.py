"""The model's folder: found unwritable before training, and written so that no half file stays."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import OutputError


def prepare(model_dir: str) -> Path:
    """Makes the folder and tries to write in it.

    Raises:
      OutputError: It is a file, or cannot be made or written.
    """
    folder = Path(model_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as trial:
            trial.write(b"\0" * 4096)
            trial.flush()
            os.fsync(trial.fileno())
    except OSError as error:
        raise OutputError(
            f"--model_dir {model_dir}: cannot be written ({error.strerror}); "
            "name a folder on a disk with room and with permission to write"
        ) from error
    return folder


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary name beside a path, and the file its name when it is complete.

    Raises:
      OutputError: The disk is full or refuses.
    """
    partial = path.with_name(f".partial-{path.name}")
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error}); make room and run again"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON that people can read too."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
