"""Conversion on a real Flink and a real Spark: same bytes, also when a worker is killed."""

import contextlib
import os
import signal
import threading
import time

import psutil
import pytest
from idx_input import write_input

from launch import cluster, jars, runners, settings
from pipeline import conversion, files, output
from pipeline.errors import UsageError

RECORDS = 300_000
SHARDS = 24

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_input(str(tmp_path_factory.mktemp("raw")), RECORDS)


@pytest.fixture(scope="module")
def wanted(source, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("memory"))
    return convert(source, folder, ["--direct_running_mode=in_memory"]).manifest


def convert(source, folder, beam_args):
    return conversion.convert(
        input=source, name="idx", output=folder, num_shards=SHARDS, beam_args=beam_args
    )


@pytest.fixture(params=["flink", "spark"])
def engine(request, tmp_path):
    found = cluster.Cluster(request.param, str(tmp_path / "cluster"), cluster.free_port())
    found.up(2)
    yield found
    found.down()


@pytest.fixture
def job_server(engine, closing):
    """The jar that Beam needs; an engine without it is up, and that is all."""
    try:
        return jars.get_jar(cluster.ENGINES[engine.name].job_server)
    except UsageError as error:
        closing(f"{engine.name}: two workers came up; no job was run: {error}"[:300])
        pytest.skip(str(error))


def beam_args(engine):
    chosen = settings.Settings(runner=engine.name, master=engine.master)
    given = ["--parallelism=2"] if engine.name == "flink" else []
    return runners.beam_args(chosen, given)


def test_cluster_comes_up_with_two_workers_and_goes_down(engine):
    assert sorted(engine.pids()) == ["master", "worker-0", "worker-1"]
    with pytest.raises(UsageError, match="runs already"):
        engine.up(2)
    pids = list(engine.pids().values())
    engine.down()
    assert engine.pids() == {}
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_same_bytes_as_in_memory(engine, job_server, source, wanted, tmp_path, closing):
    started = time.monotonic()
    found = convert(source, str(tmp_path / "out"), beam_args(engine)).manifest
    assert found.digest == wanted.digest
    records, seconds = found.counters["records"], time.monotonic() - started
    closing(f"{engine.name}: {records:,} records in {seconds:.0f} s, digest {found.digest}")


def executors(pid):
    """The processes in which a worker runs tasks: Flink's own, Spark's children."""
    worker = psutil.Process(pid)
    return worker.children(recursive=True) or [worker]


def test_worker_killed_in_mid_conversion(engine, job_server, source, wanted, tmp_path, closing):
    killed = threading.Event()

    @contextlib.contextmanager
    def killing(plan, folder):
        def watch():
            while output.count_receipts(folder) < 2:
                time.sleep(0.02)
            for process in executors(engine.pids()["worker-1"]):
                os.kill(process.pid, signal.SIGKILL)
            killed.set()
            if engine.name == "flink":
                engine.start_worker(1)

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        yield
        thread.join()

    found = conversion.convert(
        input=source,
        name="idx",
        output=str(tmp_path / "out"),
        num_shards=SHARDS,
        beam_args=beam_args(engine),
        watch=killing,
    )
    assert killed.is_set()
    assert found.manifest.digest == wanted.digest
    names = [path for path, _ in files.match(os.path.join(found.folder, "*tfrecord*"))]
    assert len(names) == 2 * SHARDS
    closing(f"{engine.name}: a worker killed, recovered, digest {found.manifest.digest}")


def test_job_api_of_the_portable_runner(source, wanted, tmp_path, closing):
    """What Flink and Spark are sent, run by Beam's own job server in Python."""
    flags = ["--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=LOOPBACK"]
    found = convert(source, str(tmp_path), flags).manifest
    assert found.digest == wanted.digest
    closing(f"portable: {found.counters['records']:,} records, digest {found.digest}")
