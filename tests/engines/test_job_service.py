"""What Flink and Spark are sent, run by Beam's own job service in Python: all but the engine."""

import subprocess
import sys
import time

import pytest
from engine_runs import convert

from launch.checks import check_reachable
from launch.cluster import free_port
from launch.portable import environment_args
from launch.settings import Settings

pytestmark = pytest.mark.slow
START_SECONDS = 60


@pytest.fixture
def endpoint():
    """A job service in a process of its own."""
    port = free_port()
    service = [sys.executable, "-m", "apache_beam.runners.portability.local_job_service_main"]
    process = subprocess.Popen([*service, f"--port={port}"])
    ending = time.monotonic() + START_SECONDS
    while not check_reachable("job service", f"localhost:{port}", 0, "-").ok:
        assert process.poll() is None
        assert time.monotonic() < ending
        time.sleep(0.1)
    yield f"localhost:{port}"
    process.terminate()
    process.wait()


@pytest.mark.parametrize("environment", ["loopback", "pool"])
def test_same_bytes_as_in_memory(environment, endpoint, request, source, wanted, tmp_path, closing):
    where = request.getfixturevalue("pool") if environment == "pool" else environment
    flags = environment_args(Settings(runner="flink", environment=where))
    args = ["--runner=PortableRunner", f"--job_endpoint={endpoint}", *flags]
    found, line = convert(source, str(tmp_path), args)
    assert found.digest == wanted.digest
    closing(f"job service ({environment}): {line}")
