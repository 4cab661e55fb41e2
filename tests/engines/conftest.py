"""What the engines' tests share, and one closing line for each engine."""

import contextlib
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

LINES: list[str] = []
RECORDS = 300_000


@pytest.fixture
def closing():
    """Notes an engine's closing line."""
    return LINES.append


def pytest_terminal_summary(terminalreporter):
    for line in LINES:
        terminalreporter.write_line(f"engine {line}")


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    """Input that takes long enough for something to be killed in the middle."""
    from idx_input import write_input

    return write_input(str(tmp_path_factory.mktemp("raw")), RECORDS)


@pytest.fixture(scope="session")
def wanted(source, tmp_path_factory):
    """The manifest of the conversion in memory."""
    from engine_runs import convert

    folder = str(tmp_path_factory.mktemp("memory"))
    manifest, line = convert(source, folder, ["--direct_running_mode=in_memory"])
    LINES.append(f"in memory: {line}")
    return manifest


@pytest.fixture
def pool():
    """A worker pool of its own; what to give as --environment."""
    from launch.checks import check_reachable
    from launch.cluster import free_port
    from launch.portable import boot_path

    port = free_port()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main"),
            *(f"--service_port={port}", f"--container_executable={boot_path()}"),
        ]
    )
    ending = time.monotonic() + 60
    while not check_reachable("pool", f"localhost:{port}", 0, "-").ok:
        assert process.poll() is None
        assert time.monotonic() < ending
        time.sleep(0.1)
    yield f"pool:localhost:{port}"
    # It ends its workers when it is interrupted, and not when it is terminated.
    import signal

    process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(20)
    process.kill()
    process.wait()
