"""Apache Spark: a job server of Beam's (a jar) translates the pipeline and is its driver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .checks import Check
from .portable import job_server_args, job_server_checks
from .settings import Settings

VERSION = "3"
PORT = 7077
JAVA = (8, 17)
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
    master = f"--spark_master_url={master_url(settings.master)}"
    return [*job_server_args(settings, "spark", VERSION, master), *given]


def checks(settings: Settings, options: Mapping[str, Any]) -> list[Check]:
    """Java, the job server, our packages, the cluster."""
    url = master_url(settings.master)
    address = (url, PORT) if url.startswith("spark://") else None
    return job_server_checks(settings, options, "spark", JAVA, address)
