"""Files that travel with a dataset as they are: a vocabulary, say, and how text was cut.

`carry = ["vocabulary.txt"]` in `dataset.toml` names files beside it. They are copied into the
dataset's folder, and their SHA-256 is part of the plan.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import files
from .errors import InputError, UsageError

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
# What a dataset's folder has by itself.
TAKEN = re.compile(
    r"(manifest|manifest\.copy|dataset_info|features|stats|duplicates)\.json|stats\.pb"
    r"|schema\.pbtxt|.*\.labels\.txt|.*\.tfrecord.*|.*-of-.*"
)


@dataclass(frozen=True)
class Carried:
    """A file that travels along.

    Attributes:
      name: Of the file, beside `dataset.toml` and in the dataset.
      sha256: Of its content, in hexadecimal.
      path: Where it is; "" where the plan comes from a manifest.
    """

    name: str
    sha256: str
    path: str = field(default="", repr=False, compare=False)


def find_carried(where: str, folder: str, names: Iterable[str]) -> tuple[Carried, ...]:
    """The files of these names in a folder, sorted.

    Raises:
      InputError: One is missing.
      UsageError: A name that leads elsewhere, stands twice, or is that of a file of ours.
    """
    found = {}
    for name in names:
        if not isinstance(name, str) or not NAME.fullmatch(name) or TAKEN.fullmatch(name):
            raise UsageError(
                f"{where}: {name!r} cannot be carried; wanted the name of a file beside it, other "
                "than those that a dataset has by itself"
            )
        if name in found:
            raise UsageError(f"{where}: {name!r} stands twice")
        found[name] = _described(folder, name)
    return tuple(found[name] for name in sorted(found))


def _described(folder: str, name: str) -> Carried:
    path = files.join(folder, name)
    if not files.match(path):
        raise InputError(f"{path}: is to be carried, but is missing")
    return Carried(name, hashlib.sha256(files.read_bytes(path)).hexdigest(), path)


def copy_carried(carried: Iterable[Carried], folder: str) -> dict[str, str]:
    """Copies the files into a dataset's folder; their SHA-256 by name.

    Raises:
      InputError: One is not what it was when the conversion was planned.
    """
    for one in carried:
        content = files.read_bytes(one.path) if files.match(one.path) else b""
        if hashlib.sha256(content).hexdigest() != one.sha256:
            raise InputError(
                f"{one.path}: was changed after the conversion was planned; leave the input alone "
                "during a run, and start again"
            )
        files.write_bytes(files.join(folder, one.name), content)
    return {one.name: one.sha256 for one in carried}


def rebind_carried(
    carried: Iterable[Carried], folder: str
) -> tuple[tuple[Carried, ...], list[str]]:
    """The same files, found in another folder, and the paths of those that differ there.

    Raises:
      InputError: One is missing there.
    """
    found = [(one, _described(folder, one.name)) for one in carried]
    differing = [there.path for one, there in found if there.sha256 != one.sha256]
    return tuple(dataclasses.replace(one, path=there.path) for one, there in found), differing


def carried_from_json(values: Iterable[Mapping[str, Any]]) -> tuple[Carried, ...]:
    """From the form that `dataclasses.asdict` gives them, the path left out."""
    return tuple(Carried(value["name"], value["sha256"]) for value in values)
