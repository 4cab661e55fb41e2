"""`recordmill fetch`: the raw files of a well-known dataset, into a folder that `convert` reads."""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import InputError, OutputError, UsageError

from . import catalog
from .catalog import KnownDataset
from .download import SourceError
from .sources import SourceFile


class _List(argparse.Action):
    """Prints the known datasets and leaves, as --help does."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        for dataset in catalog.DATASETS:
            print(f"{dataset.name:18}{dataset.description}")
        parser.exit()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of `recordmill fetch`."""
    parser.add_argument("name", metavar="NAME", help="dataset to fetch, such as fashion-mnist")
    parser.add_argument("--to", metavar="DIR", required=True, help="folder for the files")
    parser.add_argument("--list", nargs=0, action=_List, help="show the known datasets and exit")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")


def run(args: argparse.Namespace, beam_args: list[str]) -> int:
    """Fetches a dataset; `beam_args` is always empty."""
    fetch(args.name, args.to, quiet=args.quiet)
    return 0


def fetch(name: str, to: str, *, quiet: bool = False) -> None:
    """Brings the files of a known dataset into a folder, with a dataset.toml that describes them.

    Files that are there and sound are kept. Each missing one is taken from the first source that
    has it.

    Args:
      name: A dataset of the catalog.
      to: A local folder, made when missing.
      quiet: Print nothing.

    Raises:
      UsageError: The name is not known, or the folder is not local.
      InputError: A file there is not the one wanted, or no source has a missing one.
      OutputError: The folder describes another dataset, or cannot be written.
    """
    dataset = catalog.find(name)
    if "://" in to:
        raise UsageError(f"--to {to}: fetch writes local folders only; copy the files from there")
    folder = Path(to)

    def say(message: str) -> None:
        if not quiet:
            print(message, file=sys.stderr)

    try:
        folder.mkdir(parents=True, exist_ok=True)
        missing = [file for file in dataset.files if not _is_there(file, folder)]
        _refuse_other(dataset, folder, missing)
        failures = []
        for source in dataset.sources if missing else ():
            say(f"fetching {dataset.name} from {source}")
            try:
                source.deliver(missing, folder, quiet=quiet)
            except SourceError as error:
                say(f"  {error}")
                failures.append(f"{source}: {error}")
            missing = [file for file in missing if not (folder / file.name).exists()]
            if not missing:
                break
        if missing:
            raise InputError(_nowhere(dataset, folder, missing, failures))
        _describe(dataset, folder)
    except OSError as error:
        raise OutputError(
            f"{error.filename or folder}: {error.strerror}; fetch writes into {folder}: free space "
            "there or name another folder with --to"
        ) from error
    checked = (
        "SHA-256 checked"
        if dataset.files[0].sha256
        else "digests unknown, sizes as in the IDX headers"
    )
    say(f"{dataset.name}: {len(dataset.files)} files in {folder}, {checked}")


def _is_there(file: SourceFile, folder: Path) -> bool:
    path = folder / file.name
    if not path.exists():
        return False
    if problem := file.problem(path):
        raise InputError(f"{path}: {problem}; remove it, or name another folder with --to")
    return True


def _refuse_other(dataset: KnownDataset, folder: Path, missing: Sequence[SourceFile]) -> None:
    """All datasets of the family have the same file names: don't mix them in one folder."""
    if not missing and all(file.sha256 for file in dataset.files):
        return
    path = folder / "dataset.toml"
    if not path.exists():
        return
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8")).get("name")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OutputError(f"{path}: not TOML ({error}); mend or remove it") from error
    if found != dataset.identifier:
        raise OutputError(
            f"{path}: describes {found!r}, wanted {dataset.identifier!r}; name another folder "
            "with --to"
        )


def _nowhere(
    dataset: KnownDataset, folder: Path, missing: Sequence[SourceFile], failures: Sequence[str]
) -> str:
    names = ", ".join(file.name for file in missing)
    tried = "".join(f"\n  {failure}" for failure in failures)
    return (
        f"{dataset.name}: no source delivered {names}. Tried:{tried}\n"
        f"Check the network (HTTPS_PROXY is heeded), or put the files into {folder} by hand"
    )


def _describe(dataset: KnownDataset, folder: Path) -> None:
    """Writes dataset.toml, unless there is one: that may have been edited."""
    path = folder / "dataset.toml"
    if not path.exists():
        path.write_text(_toml(dataset), encoding="utf-8")


def _toml(dataset: KnownDataset) -> str:
    # A JSON string of ASCII is a TOML string, too.
    return "\n".join(
        [
            f"name = {json.dumps(dataset.identifier)}",
            'version = "1.0.0"',
            f"description = {json.dumps(dataset.description)}",
            "",
            "[features.label]",
            f"names = {json.dumps(dataset.labels)}",
            "",
            "[splits.train]",
            f"image = {json.dumps(catalog.TRAIN_IMAGES)}",
            f"label = {json.dumps(catalog.TRAIN_LABELS)}",
            "",
            "[splits.test]",
            f"image = {json.dumps(catalog.TEST_IMAGES)}",
            f"label = {json.dumps(catalog.TEST_LABELS)}",
            "",
        ]
    )
