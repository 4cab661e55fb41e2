"""Prism: Beam's own portable runner, one Go program on this machine; no Java, no cluster."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

from .checks import Check, check_packages
from .portable import environment_args, environment_checks
from .settings import Settings


def go_command() -> list[str]:
    """The command that builds Prism of Beam's own version, in some minutes."""
    version = metadata.version("apache-beam")
    return ["go", "install", f"github.com/apache/beam/sdks/v2/go/cmd/prism@v{version}"]


def prism_path() -> str:
    """Where `go install` puts the program. PATH is not searched: others are called prism, too."""
    folder = os.environ.get("GOBIN") or os.path.join(
        os.environ.get("GOPATH") or os.path.expanduser("~/go"), "bin"
    )
    return os.path.join(folder, "prism")


def beam_args(settings: Settings, given: Sequence[str]) -> list[str]:
    """Beam's flags; what was given stands last, and wins."""
    # Always named: without it Beam downloads a program at every run.
    location = f"--prism_location={prism_path()}"
    # A server for each job: of one that had run others, 3 of some 14 jobs got no worker within
    # Prism's minute; why was not found.
    alone = "--experiments=disable_prism_server_singleton"
    return ["--runner=PrismRunner", location, alone, *environment_args(settings), *given]


def check_program(path: str) -> Check:
    """Whether Prism is there."""
    if "://" in path or os.path.exists(path):
        return Check("prism", path)
    if path != prism_path():
        return Check("prism", f"no {path}", "give --prism_location a file that exists")
    go = "" if shutil.which("go") else "install Go, such as: apt-get install golang-go; then "
    return Check("prism", f"no {path}", f"{go}run: {' '.join(go_command())}")


def checks(settings: Settings, options: Mapping[str, Any]) -> list[Check]:
    """Prism, our packages, the workers' environment."""
    return [
        check_packages(),
        check_program(options["prism_location"]),
        *environment_checks(settings),
    ]
