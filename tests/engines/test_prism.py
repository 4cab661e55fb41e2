"""Conversion on Prism, an engine in a process of its own: same bytes, also when a worker dies.

Workers in processes of their own now and then fail to reach Prism within its minute, so the tests
that need them are `shaky`: run them by `pytest -m shaky`; neither `make test` nor CI does.
"""

import shutil
import subprocess

import psutil
import pytest
from engine_runs import SHARDS, Killer, convert, shards
from idx_input import write_input

from launch import prism, runners
from launch.settings import Settings
from pipeline import output
from pipeline.errors import OutputError

BUILD_SECONDS = 900


@pytest.fixture(scope="module", autouse=True)
def program():
    """Prism, built where it is missing."""
    check = prism.check_program(prism.prism_path())
    if not check.ok:
        if shutil.which("go") is None:
            pytest.skip(check.remedy)
        command = prism.go_command()
        built = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_SECONDS)
        if built.returncode:
            pytest.skip(f"{' '.join(command)}: {built.stderr.strip()[-300:]}")


@pytest.fixture(
    params=[
        pytest.param("loopback", marks=pytest.mark.slow),
        pytest.param("process", marks=pytest.mark.shaky),
        pytest.param("pool", marks=pytest.mark.shaky),
    ]
)
def environment(request):
    return request.getfixturevalue("pool") if request.param == "pool" else request.param


def beam_args(environment):
    return runners.beam_args(Settings(runner="prism", environment=environment), [])


def test_same_bytes_as_in_memory(environment, source, wanted, tmp_path, closing):
    found, line = convert(source, str(tmp_path), beam_args(environment))
    assert found.digest == wanted.digest
    closing(f"prism ({environment}): {line}")


def workers():
    """The processes in which Python runs for an engine that this one started."""
    found = []
    for process in psutil.Process().children(recursive=True):
        if "apache_beam.runners.worker.sdk_worker_main" in process.cmdline():
            found.append(process.pid)
    return found


@pytest.mark.shaky
def test_worker_killed_in_mid_conversion(source, wanted, tmp_path, closing):
    """Prism gives up when a worker is gone; what is finished is kept, and the same bytes come."""
    killer = Killer(workers)
    args = beam_args("process")
    with pytest.raises(OutputError, match="lost a worker .*start the same command again"):
        convert(source, str(tmp_path), args, watch=killer.watch)
    assert killer.killed
    [folder] = (tmp_path / "idx").iterdir()
    kept = output.count_receipts(str(folder))
    assert 2 <= kept < 2 * SHARDS
    found, line = convert(source, str(tmp_path), args)
    assert found.digest == wanted.digest
    assert len(shards(str(folder))) == 2 * SHARDS
    closing(f"prism: a worker killed, refused; again, {kept} of {2 * SHARDS} shards kept: {line}")


@pytest.mark.slow
def test_preprocessing(tmp_path, closing):
    """tensorflow-transform's analysis, and its graph in the workers."""
    source = write_input(str(tmp_path / "raw"), 5_000)
    more = {"preprocess": "default", "materialize": "transformed"}
    memory, _ = convert(source, str(tmp_path / "a"), ["--direct_running_mode=in_memory"], **more)
    found, line = convert(source, str(tmp_path / "b"), beam_args("loopback"), **more)
    assert found.digest == memory.digest
    closing(f"prism, preprocessed: {line}")
