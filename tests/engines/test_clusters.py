"""Conversion on a real Flink and a real Spark: same bytes, also when a worker is killed."""

import os

import psutil
import pytest
from engine_runs import SHARDS, Killer, convert, shards

from launch import cluster, jars, runners, settings
from pipeline.errors import UsageError

pytestmark = pytest.mark.slow


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
    found, line = convert(source, str(tmp_path / "out"), beam_args(engine))
    assert found.digest == wanted.digest
    closing(f"{engine.name}: {line}")


def executors(pid):
    """The processes in which a worker runs tasks: Flink's own, Spark's children."""
    worker = psutil.Process(pid)
    return worker.children(recursive=True) or [worker]


def test_worker_killed_in_mid_conversion(engine, job_server, source, wanted, tmp_path, closing):
    def again():
        if engine.name == "flink":
            engine.start_worker(1)

    killer = Killer(lambda: [p.pid for p in executors(engine.pids()["worker-1"])], again)
    out = str(tmp_path / "out")
    found, line = convert(source, out, beam_args(engine), watch=killer.watch)
    assert killer.killed
    assert found.digest == wanted.digest
    assert len(shards(os.path.join(out, "idx", "1.0.0"))) == 2 * SHARDS
    closing(f"{engine.name}: a worker killed, recovered: {line}")
