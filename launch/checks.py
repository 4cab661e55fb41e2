"""What a runner needs, looked up before anything is submitted; `recordmill doctor` prints it."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata

from pipeline.errors import UsageError

OUR_PACKAGES = ("launch", "pipeline", "train")
CONNECT_SECONDS = 3.0


@dataclass(frozen=True)
class Check:
    """One thing that a runner needs.

    Attributes:
      what: Its name.
      found: What is there.
      remedy: What to do; empty where nothing is wrong.
    """

    what: str
    found: str
    remedy: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.remedy


def require(checks: Iterable[Check]) -> None:
    """Stops where something is missing.

    Raises:
      UsageError: Names all of it, and what to do about each.
    """
    wrong = [f"{check.what}: {check.found}; {check.remedy}" for check in checks if not check.ok]
    if wrong:
        raise UsageError("this cannot run yet: " + "; also ".join(wrong))


def check_packages() -> Check:
    """Whether `pipeline`, `launch` and `train` are ours: remote workers import them by name."""
    owners = metadata.packages_distributions()
    strangers = {
        name: sorted(set(owners.get(name, [])) - {"recordmill"})
        for name in OUR_PACKAGES
        if set(owners.get(name, [])) - {"recordmill"}
    }
    if strangers:
        told = ", ".join(f"{name} of {' and '.join(owner)}" for name, owner in strangers.items())
        guilty = " ".join(sorted({owner for names in strangers.values() for owner in names}))
        return Check(
            "packages",
            f"{told} stands where ours should",
            f"run: pip uninstall {guilty}, then install recordmill again",
        )
    if "recordmill" not in owners.get("pipeline", []):
        return Check("packages", "recordmill is not installed", "run: pip install -e .")
    return Check("packages", f"recordmill {metadata.version('recordmill')}")


def java_version(told: str) -> int | None:
    """The major version in what `java -version` prints.

    >>> java_version('openjdk version "17.0.15" 2025-04-15'), java_version('version "1.8.0_402"')
    (17, 8)
    """
    found = re.search(r'version "(?:1\.)?(\d+)', told)
    return int(found[1]) if found else None


def check_java(lowest: int, highest: int) -> Check:
    """Whether Java of a version that the engine knows is on PATH."""
    remedy = f"install Java {highest}, such as: apt-get install openjdk-{highest}-jre-headless"
    java = shutil.which("java")
    if java is None:
        return Check("java", "not on PATH", remedy)
    told = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    version = java_version(told)
    if version is None or not lowest <= version <= highest:
        return Check("java", f"{java} is {version or told.strip()!r}", remedy)
    return Check("java", f"{version} at {java}")


def split_address(address: str, default_port: int) -> tuple[str, int]:
    """Host and port of an address, with or without a scheme.

    >>> split_address("http://localhost:8081", 1), split_address("master", 7077)
    (('localhost', 8081), ('master', 7077))

    Raises:
      UsageError: The port is no number.
    """
    host, _, port = address.rpartition("://")[2].rstrip("/").partition(":")
    if port and not port.isdecimal():
        raise UsageError(f"address {address!r}: wanted host or host:port")
    return host, int(port) if port else default_port


def check_reachable(what: str, address: str, default_port: int, remedy: str) -> Check:
    """Whether something listens at an address."""
    host, port = split_address(address, default_port)
    try:
        socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        return Check(what, f"nothing answers at {host}:{port} ({error})", remedy)
    return Check(what, f"{host}:{port}")
