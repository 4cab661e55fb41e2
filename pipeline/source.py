"""What is to be converted: a folder of the MNIST family, or a `dataset.toml`.

    name = "fashion_mnist"            # optional; else the folder's name
    version = "1.0.0"                 # optional
    record_type = "example"           # optional, for lists; else they make a SequenceExample
    carry = ["vocabulary.txt"]        # optional: files that travel with the dataset as they are
    [features.label]                  # optional: names, num_classes, encoding, dtype, scale
    names = ["T-shirt/top", "Trouser"]
    [splits.train]                    # a file, a glob pattern, or a list of them per column,
    image = "train-images-*"          # relative to this file's folder, or with a scheme
    label = "train-labels-*"
    words = { values = "tokens.idx", lengths = "lengths.idx" }  # a list in each record

Several files of a column are taken in sorted order, and all columns of a split must have the same
number of records. Only headers are read.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import files, idx
from .carry import Carried, find_carried
from .errors import InputError, UsageError
from .features import ColumnSpec, FeatureOptions

DATASET_FILE = "dataset.toml"
# A column of lists lies in two columns of files. No other column's name has a dot.
LENGTHS, VALUES = ".lengths", ".values"
# train-images-idx3-ubyte, train-images.idx3-ubyte, with .gz or without, and the letters that
# EMNIST puts in front.
MNIST_NAME = re.compile(r"^(?:.*-)?(train|t10k|test)-(images|labels)[-.]idx(\d)-u?byte(\.gz)?$")
MNIST_SPLITS = {"train": "train", "t10k": "test", "test": "test"}
MNIST_COLUMNS = {"images": "image", "labels": "label"}
NAME = re.compile(r"[A-Za-z0-9_]+")
VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")
TOML_KEYS = ("name", "version", "description", "record_type", "carry", "features", "splits")
# Reading a header from an object store takes tens of milliseconds, nearly all of it waiting.
HEADER_THREADS = 16


@dataclass(frozen=True)
class SourceFile:
    """One IDX file of a column.

    Attributes:
      path: Where it is.
      name: Its name relative to the input, by which it is known wherever the input lies.
      size_bytes: As it is stored, in gzip or not.
      version: As `files.version`.
      gzip: Whether it is wrapped in gzip.
      header: Its IDX header.
    """

    path: str
    name: str
    size_bytes: int
    version: str
    gzip: bool
    header: idx.IdxHeader


def place_of(parts: tuple[SourceFile, ...], number: int) -> tuple[SourceFile, int]:
    """The file, and the record in it, that a source split's record number stands for."""
    for part in parts:
        if number < part.header.count:
            return part, number
        number -= part.header.count
    raise IndexError(number)


@dataclass(frozen=True)
class Source:
    """All that is known of the input before any data moves.

    Attributes:
      name: Of the dataset.
      version: As in TFDS, three numbers.
      options: The feature options of `dataset.toml`.
      record_type: As `dataset.toml` says; "" where it says nothing.
      splits: split -> column -> files.
      carried: Files that travel with the dataset.
    """

    name: str
    version: str
    description: str
    options: dict[str, FeatureOptions]
    splits: dict[str, dict[str, tuple[SourceFile, ...]]]
    record_type: str = ""
    carried: tuple[Carried, ...] = ()

    @property
    def columns(self) -> dict[str, ColumnSpec]:
        """Dtype and record shape of each column, the same in all splits."""
        first = next(iter(self.splits.values()))
        return {
            (column := name.removesuffix(VALUES)): ColumnSpec(
                parts[0].header.dtype, parts[0].header.record_shape, ragged=column != name
            )
            for name, parts in first.items()
            if not name.endswith(LENGTHS)
        }

    def count(self, split: str) -> int:
        """Number of records of a split."""
        return sum(part.header.count for part in next(iter(self.splits[split].values())))


def check_name(kind: str, value: str) -> str:
    """Checks a name that becomes part of a path.

    Raises:
      UsageError: It holds anything but letters, digits and underscores.
    """
    if not NAME.fullmatch(value):
        raise UsageError(
            f"{kind} {value!r}: wanted letters, digits and underscores only, for it becomes part "
            "of file names"
        )
    return value


def check_version(value: str) -> str:
    """Checks a dataset's version.

    Raises:
      UsageError: It is not three numbers with dots between.
    """
    if not VERSION.fullmatch(value):
        raise UsageError(f"version {value!r}: wanted three numbers such as 1.0.0")
    return value


def find_source(path: str) -> Source:
    """Reads what lies at a path, from headers alone.

    Args:
      path: A folder with a `dataset.toml` or with the MNIST family's file names, or a TOML file.

    Raises:
      InputError: Nothing to convert is there, or files that don't fit together.
      UsageError: `dataset.toml` says something that is not understood.
    """
    if path.endswith(".toml"):
        return _from_toml(path)
    description = files.join(path, DATASET_FILE)
    if files.exists(description):
        return _from_toml(description)
    return _from_folder(path)


def default_name(folder: str) -> str:
    """A dataset's name, from that of its folder."""
    last = os.path.basename(
        os.path.abspath(folder) if files.is_local(folder) else folder.rstrip("/")
    )
    return re.sub(r"\W+", "_", last).strip("_").lower() or "dataset"


def _from_folder(folder: str) -> Source:
    if not files.exists(folder) and files.is_local(folder):
        raise InputError(f"{folder}: no such folder; give --input a folder of IDX files")
    found: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for path, size in files.match(files.join(folder, "*")):
        if name := MNIST_NAME.match(os.path.basename(path)):
            key = MNIST_SPLITS[name[1]], MNIST_COLUMNS[name[2]]
            found.setdefault(key, []).append((path, size))
    for (split, column), paths in found.items():
        if len(paths) > 1:
            names = ", ".join(os.path.basename(path) for path, _ in paths)
            raise InputError(
                f"{folder}: {len(paths)} files for {column} of {split} ({names}); keep one, or "
                f"name the files in {DATASET_FILE}"
            )
    if not found:
        raise InputError(
            f"{folder}: no IDX files found; wanted train-images-idx3-ubyte, "
            "train-labels-idx1-ubyte (and t10k-…), with .gz or without, or a "
            f"{DATASET_FILE} that names others"
        )
    splits: dict[str, dict[str, list[tuple[str, int]]]] = {}
    for split, column in sorted(found, key=lambda key: (key[0] != "train", key)):
        splits.setdefault(split, {})[column] = found[split, column]
    return _assemble(default_name(folder), "1.0.0", "", folder, {}, splits)


def _known_keys(where: str, table: Mapping[str, Any], known: Iterable[str]) -> None:
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, list(known), 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"{where}: {key!r} is unknown; there is {', '.join(known)}{hint}")


def _typed(where: str, value: Any, wanted: type | tuple[type, ...], what: str) -> Any:
    if not isinstance(value, wanted) or isinstance(value, bool):
        raise UsageError(f"{where}: found {value!r}, wanted {what}")
    return value


def _feature_options(where: str, table: Mapping[str, Any]) -> FeatureOptions:
    kinds: dict[str, tuple[type | tuple[type, ...], str]] = {
        "encoding": (str, "a string"),
        "dtype": (str, "a string"),
        "scale": ((int, float), "a number"),
        "names": (list, "a list of strings"),
        "num_classes": (int, "a whole number"),
        "kind": (str, "a string"),
    }
    _known_keys(where, table, kinds)
    values = {key: _typed(f"{where}: {key}", table[key], *kinds[key]) for key in table}
    for name in values.get("names", []):
        _typed(f"{where}: names", name, str, "a list of strings")
        if "\n" in name:
            raise UsageError(f"{where}: names: {name!r} has a line break")
    if "names" in values:
        values["names"] = tuple(values["names"])
    try:
        return FeatureOptions(**values)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error


def _match_inside(where: str, folder: str, pattern: Any) -> list[tuple[str, int]]:
    patterns = pattern if isinstance(pattern, list) else [pattern]
    found: list[tuple[str, int]] = []
    for one in patterns:
        _typed(where, one, str, "a file name, a pattern, or a list of them")
        if files.is_local(one) and (os.path.isabs(one) or ".." in one.split("/")):
            raise UsageError(
                f"{where}: {one!r} leads outside of {folder}; put {DATASET_FILE} beside the files"
            )
        matched = files.match(files.join(folder, one))
        if not matched:
            raise InputError(f"{where}: no file matches {files.join(folder, one)!r}")
        found += matched
    return found


def _match_ragged(
    where: str, folder: str, column: str, table: Mapping[str, Any]
) -> dict[str, list[tuple[str, int]]]:
    if table.keys() != {"values", "lengths"}:
        raise UsageError(
            f"{where}: found the keys {', '.join(table) or 'none'}; a list in each record needs "
            '{ values = "…", lengths = "…" }'
        )
    # The lengths come first: their number is the number of records.
    return {
        column + LENGTHS: _match_inside(f"{where}: lengths", folder, table["lengths"]),
        column + VALUES: _match_inside(f"{where}: values", folder, table["values"]),
    }


def _from_toml(path: str) -> Source:
    try:
        table = tomllib.loads(files.read_bytes(path).decode())
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not TOML: {error}") from error
    _known_keys(path, table, TOML_KEYS)
    folder = path.rpartition("/")[0] or "."
    for key in ("features", "splits"):
        _typed(f"{path}: {key}", table.get(key, {}), dict, "a table")
    if not table.get("splits"):
        raise UsageError(f"{path}: no [splits.…] table; name at least one split and its files")
    options = {
        column: _feature_options(f"{path}: [features.{column}]", fields)
        for column, fields in table.get("features", {}).items()
        if _typed(f"{path}: [features.{column}]", fields, dict, "a table") is fields
    }
    splits: dict[str, dict[str, list[tuple[str, int]]]] = {}
    for split, columns in table["splits"].items():
        where = f"{path}: [splits.{split}]"
        check_name(f"{where}: split", split)
        if not _typed(where, columns, dict, "a table of columns"):
            raise UsageError(f"{where}: empty; name a file for each column")
        for column, pattern in columns.items():
            check_name(f"{where}: column", column)
            one = splits.setdefault(split, {})
            if isinstance(pattern, dict):
                one |= _match_ragged(f"{where}: {column}", folder, column, pattern)
            else:
                one[column] = _match_inside(f"{where}: {column}", folder, pattern)
    name = _typed(f"{path}: name", table.get("name", default_name(folder)), str, "a string")
    version = _typed(f"{path}: version", table.get("version", "1.0.0"), str, "a string")
    about = _typed(f"{path}: description", table.get("description", ""), str, "a string")
    kind = _typed(f"{path}: record_type", table.get("record_type", ""), str, "a string")
    carry = _typed(f"{path}: carry", table.get("carry", []), list, "a list of file names")
    source = _assemble(name, version, about, folder, options, splits, kind)
    carried = find_carried(f"{path}: carry", folder, carry)
    return dataclasses.replace(source, carried=carried)


def _describe(folder: str, path: str, size_bytes: int) -> SourceFile:
    header, gzipped = idx.read_header(path, size_bytes)
    if files.is_local(path):
        name = os.path.relpath(path, folder)
    else:
        name = path.removeprefix(folder.rstrip("/") + "/")
    return SourceFile(path, name, size_bytes, files.version(path), gzipped, header)


def _assemble(
    name: str,
    version: str,
    description: str,
    folder: str,
    options: dict[str, FeatureOptions],
    splits: dict[str, dict[str, list[tuple[str, int]]]],
    record_type: str = "",
) -> Source:
    with ThreadPoolExecutor(HEADER_THREADS) as pool:
        described = {
            split: {
                column: tuple(pool.map(lambda found: _describe(folder, *found), paths))
                for column, paths in columns.items()
            }
            for split, columns in splits.items()
        }
    source = Source(name, version, description, options, described, record_type)
    _check_agreement(source)
    return source


def _check_agreement(source: Source) -> None:
    """Checks dtype, shape, columns and counts across files, columns and splits."""
    wanted = {
        name: ColumnSpec(parts[0].header.dtype, parts[0].header.record_shape)
        for name, parts in next(iter(source.splits.values())).items()
    }
    for split, columns in source.splits.items():
        if columns.keys() != wanted.keys():
            raise InputError(
                f"split {split!r} has the columns {', '.join(columns)}, another split has "
                f"{', '.join(wanted)}; each split needs a file for each column"
            )
        counts: dict[str, int] = {}
        for column, parts in columns.items():
            for part in parts:
                found = ColumnSpec(part.header.dtype, part.header.record_shape)
                if found != wanted[column]:
                    raise InputError(
                        f"{part.path}: records of {found.dtype}{list(found.shape)}, but other "
                        f"files of {column!r} hold {wanted[column].dtype}"
                        f"{list(wanted[column].shape)}; all must agree"
                    )
                if column.endswith(LENGTHS) and (found.shape or np.dtype(found.dtype).kind == "f"):
                    raise InputError(
                        f"{part.path}: records of {found.dtype}{list(found.shape)} cannot be "
                        "lengths; wanted a vector of whole numbers"
                    )
            if not column.endswith(VALUES):
                counts[column] = sum(part.header.count for part in parts)
        if len(set(counts.values())) > 1:
            told = ", ".join(f"{column} {count}" for column, count in counts.items())
            raise InputError(
                f"split {split!r}: the columns differ in their number of records: {told}; "
                f"compare {' and '.join(parts[0].path for parts in columns.values())}"
            )
