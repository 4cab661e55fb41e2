"""Apache Spark: a job server of Beam's (a jar) translates the pipeline and is its driver."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from . import jars
from .checks import Check, check_java, check_packages, check_reachable
from .portable import environment_args, environment_checks
from .settings import Settings

VERSION = "3"
PORT = 7077
INSIDE = "local"


def master_url(master: str | None) -> str:
    """Spark's way to write a master.

    >>> master_url("localhost:7077"), master_url(None), master_url("yarn")
    ('spark://localhost:7077', 'local[*]', 'yarn')
    """
    if master is None:
        return "local[*]"
    known = master.startswith(INSIDE + "[") or master in (INSIDE, "yarn") or "://" in master
    return master if known else f"spark://{master}"


def beam_args(settings: Settings, given: Sequence[str]) -> list[str]:
    """Beam's flags; what was given stands last, and wins."""
    chosen = [
        "--runner=SparkRunner",
        f"--spark_version={VERSION}",
        f"--spark_master_url={master_url(settings.master)}",
        *environment_args(settings),
    ]
    jar = jars.jar_path(f"spark-{VERSION}")
    if os.path.exists(jar):
        chosen.append(f"--spark_job_server_jar={jar}")
    return [*chosen, *given]


def checks(settings: Settings, options: Mapping[str, Any]) -> list[Check]:
    """Java, the job server, our packages, the cluster."""
    found = [
        check_packages(),
        check_java(8, 17),
        jars.check_jar(f"spark-{VERSION}", options["spark_job_server_jar"]),
    ]
    url = master_url(settings.master)
    if url.startswith("spark://"):
        remedy = "start it, such as with: python -m launch.cluster spark up"
        found.append(check_reachable("spark", url, PORT, remedy))
    return found + environment_checks(settings)
