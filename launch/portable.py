"""What the portable engines have in common: a job server, and an environment for Python workers."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from pipeline.errors import UsageError

from . import jars
from .checks import Check, check_java, check_packages, check_reachable
from .settings import Settings

POOL, PROCESS = "pool:", "process"
POOL_PORT = 50000
WANTED = "wanted loopback, process, process:PROGRAM, docker or pool:HOST:PORT"


def boot_path() -> str:
    """Where our boot program stands on this machine: beside Python."""
    return os.path.join(os.path.dirname(sys.executable), "recordmill-worker")


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
    kind, _, what = environment.partition(":")
    if kind == PROCESS and (what or environment == PROCESS):
        config = json.dumps({"command": what or boot_path()})
        return ["--environment_type=PROCESS", f"--environment_config={config}"]
    if environment.startswith(POOL) and what:
        return ["--environment_type=EXTERNAL", f"--environment_config={what}"]
    raise UsageError(f"--environment {environment!r}: {WANTED}")


def environment_checks(settings: Settings) -> list[Check]:
    """Whether a worker pool answers, where one is named; whether a boot program is there."""
    kind, _, what = (settings.environment or "").partition(":")
    if kind == PROCESS:
        path = what or boot_path()
        remedy = "install recordmill again (make install); it must be there on each machine"
        found = os.access(path, os.X_OK)
        return [Check("boot program", path if found else f"no {path}", "" if found else remedy)]
    if f"{kind}:" != POOL:
        return []
    remedy = (
        "start one on each worker's machine: python -m apache_beam.runners.worker.worker_pool_main "
        f"--service_port={POOL_PORT} --container_executable={boot_path()}"
    )
    return [check_reachable("worker pool", what, POOL_PORT, remedy)]


def job_server_args(settings: Settings, engine: str, version: str, master: str) -> list[str]:
    """Beam's flags of an engine that has a job server of Beam's.

    Args:
      settings: Of the run.
      engine: "flink" or "spark".
      version: Of the engine, as its job server is named.
      master: The flag that names the cluster.

    >>> job_server_args(Settings(runner="spark"), "spark", "3", "--spark_master_url=yarn")[:2]
    ['--runner=SparkRunner', '--spark_version=3']
    """
    chosen = [f"--runner={engine.capitalize()}Runner", f"--{engine}_version={version}", master]
    jar = jars.jar_path(f"{engine}-{version}")
    if os.path.exists(jar):
        chosen.append(f"--{engine}_job_server_jar={jar}")
    return [*chosen, *environment_args(settings)]


def job_server_checks(
    settings: Settings,
    options: Mapping[str, Any],
    engine: str,
    java: tuple[int, int],
    address: tuple[str, int] | None,
) -> list[Check]:
    """What an engine with a job server needs: our packages, Java, the jar, the cluster, workers.

    Args:
      settings: Of the run.
      options: All of Beam's.
      engine: "flink" or "spark".
      java: The lowest and the highest version that it runs on.
      address: Of the cluster, and its usual port; None where Beam starts one by itself.
    """
    found = [
        check_packages(),
        check_java(*java),
        jars.check_jar(
            f"{engine}-{options[f'{engine}_version']}", options[f"{engine}_job_server_jar"]
        ),
    ]
    if address:
        remedy = f"start it, such as with: python -m launch.cluster {engine} up"
        found.append(check_reachable(engine, *address, remedy))
    return found + environment_checks(settings)
