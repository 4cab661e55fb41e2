"""What Flink and Spark have in common: a job server, and an environment for Python workers."""

from __future__ import annotations

from pipeline.errors import UsageError

from .checks import Check, check_reachable
from .settings import Settings

POOL = "pool:"
POOL_PORT = 50000


def environment_args(settings: Settings) -> list[str]:
    """Beam's flags for the environment of the Python workers.

    Raises:
      UsageError: An environment that is unknown, or docker without an image.
    """
    environment = settings.environment or ("docker" if settings.image else "loopback")
    if settings.image and environment != "docker":
        raise UsageError(f"--image goes with --environment docker, not with {environment}")
    if environment == "loopback":
        return ["--environment_type=LOOPBACK"]
    if environment == "docker":
        if not settings.image:
            raise UsageError(
                "--environment docker: give --image one that has recordmill in it, such as what "
                "launch/dataflow/Dockerfile makes; Beam's own image cannot import it"
            )
        return ["--environment_type=DOCKER", f"--environment_config={settings.image}"]
    if environment.startswith(POOL) and environment != POOL:
        return ["--environment_type=EXTERNAL", f"--environment_config={environment[len(POOL) :]}"]
    raise UsageError(f"--environment {environment!r}: wanted loopback, docker or pool:HOST:PORT")


def environment_checks(settings: Settings) -> list[Check]:
    """Whether a worker pool answers, where one is named."""
    address = (settings.environment or "").removeprefix(POOL)
    if not address or address == settings.environment:
        return []
    remedy = (
        "start one on each worker's machine, with the venv first on PATH: "
        f"python -m apache_beam.runners.worker.worker_pool_main --service_port={POOL_PORT}"
    )
    return [check_reachable("worker pool", address, POOL_PORT, remedy)]
