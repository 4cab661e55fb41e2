"""Beam's job servers for Flink and Spark: which jar, where it is, how to get it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from importlib import metadata

from pipeline.errors import UsageError

from .checks import Check

DOWNLOAD_SECONDS = 900


def _artifact(name: str) -> str:
    return f"beam-runners-{name}-job-server"


def jar_path(name: str) -> str:
    """Where Maven keeps a job server's jar: `name` is such as "flink-2.2" or "spark-3"."""
    version = metadata.version("apache-beam")
    artifact = _artifact(name)
    home = os.path.expanduser("~/.m2/repository/org/apache/beam")
    return os.path.join(home, artifact, version, f"{artifact}-{version}.jar")


def maven_command(name: str) -> list[str]:
    """The command that downloads a job server's jar to `jar_path`."""
    version = metadata.version("apache-beam")
    artifact = f"org.apache.beam:{_artifact(name)}:{version}"
    # -U: a refusal of an hour ago is not taken for an answer.
    return [
        "mvn",
        "-q",
        "-B",
        "-U",
        "dependency:get",
        f"-Dartifact={artifact}",
        "-Dtransitive=false",
    ]


def check_jar(name: str, given: str | None = None) -> Check:
    """Whether the job server is there."""
    path = given or jar_path(name)
    if os.path.exists(path):
        return Check("job server", path)
    remedy = (
        "give --flink_job_server_jar or --spark_job_server_jar a file that exists"
        if given
        else f"run: {' '.join(maven_command(name))}"
    )
    return Check("job server", f"no {path}", remedy)


def get_jar(name: str) -> str:
    """The path of a job server's jar, downloaded where it is missing.

    Raises:
      UsageError: Maven is missing, or its repository has no such jar.
    """
    path = jar_path(name)
    if os.path.exists(path):
        return path
    if shutil.which("mvn") is None:
        raise UsageError(
            f"{path} is missing, and so is Maven, which could get it: install it, such as "
            f"apt-get install maven, and run: {' '.join(maven_command(name))}"
        )
    done = subprocess.run(
        maven_command(name),
        capture_output=True,
        text=True,
        timeout=DOWNLOAD_SECONDS,
        check=False,
    )
    if not os.path.exists(path):
        told = done.stdout + done.stderr
        reason = re.search(r"Could not (?:find|transfer) artifact \S+", told)
        raise UsageError(
            f"Maven could not get it: {reason[0] if reason else told.strip()[:300]}; see whether "
            f"its repository has it, or get the jar elsewhere and put it at {path}"
        )
    return path
