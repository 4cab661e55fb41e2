"""Apache Flink: a job server of Beam's (a jar) translates the pipeline and submits it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .checks import Check
from .portable import job_server_args, job_server_checks
from .settings import Settings, beam_options

VERSION = "2.2"
PORT = 8081
JAVA = (11, 21)
# Beam starts a Flink of its own inside the job server for these.
INSIDE = ("[auto]", "[local]")


def beam_args(settings: Settings, given: Sequence[str]) -> list[str]:
    """Beam's flags; what was given stands last, and wins."""
    version = beam_options([f"--flink_version={VERSION}", *given])["flink_version"]
    master = f"--flink_master={settings.master or INSIDE[0]}"
    return [*job_server_args(settings, "flink", version, master), *given]


def checks(settings: Settings, options: Mapping[str, Any]) -> list[Check]:
    """Java, the job server, our packages, the cluster."""
    outside = settings.master and settings.master not in INSIDE
    address = (str(settings.master), PORT) if outside else None
    return job_server_checks(settings, options, "flink", JAVA, address)
