"""Apache Flink: a job server of Beam's (a jar) translates the pipeline and submits it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from . import jars
from .checks import Check, check_java, check_packages, check_reachable
from .portable import environment_args, environment_checks
from .settings import Settings, beam_options

VERSION = "2.2"
PORT = 8081
# Beam starts a Flink of its own inside the job server for these.
INSIDE = ("[auto]", "[local]")


def beam_args(settings: Settings, given: Sequence[str]) -> list[str]:
    """Beam's flags; what was given stands last, and wins."""
    version = beam_options([f"--flink_version={VERSION}", *given])["flink_version"]
    chosen = [
        "--runner=FlinkRunner",
        f"--flink_version={version}",
        f"--flink_master={settings.master or '[auto]'}",
        *environment_args(settings),
    ]
    jar = jars.jar_path(f"flink-{version}")
    if os.path.exists(jar):
        chosen.append(f"--flink_job_server_jar={jar}")
    return [*chosen, *given]


def checks(settings: Settings, options: Mapping[str, Any]) -> list[Check]:
    """Java, the job server, our packages, the cluster."""
    found = [
        check_packages(),
        check_java(11, 21),
        jars.check_jar(f"flink-{options['flink_version']}", options["flink_job_server_jar"]),
    ]
    if settings.master and settings.master not in INSIDE:
        remedy = "start it, such as with: python -m launch.cluster flink up"
        found.append(check_reachable("flink", settings.master, PORT, remedy))
    return found + environment_checks(settings)
