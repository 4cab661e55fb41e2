import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions
from samples import keep, run_beam

from pipeline import engine
from pipeline.errors import DatasetError, InputError, OutputError, UsageError


@pytest.mark.parametrize(
    ("args", "work_bytes", "parallel", "mode", "workers"),
    [
        ([], 1 << 20, 8, "in_memory", 1),
        ([], 1 << 40, 8, "multi_processing", 4),
        ([], 1 << 40, 3, "multi_processing", 3),
        ([], 1 << 40, 1, "in_memory", 1),
        (["--direct_running_mode=in_memory"], 1 << 40, 8, "in_memory", 1),
        (["--direct_running_mode", "multi_processing"], 1, 8, "multi_processing", 1),
        (["--direct_num_workers=2"], 1 << 40, 8, "in_memory", 2),
        (["--runner=FlinkRunner"], 1 << 40, 8, "in_memory", 1),
    ],
)
def test_large_work_gets_processes_by_itself(
    monkeypatch: pytest.MonkeyPatch,
    args: list[str],
    work_bytes: int,
    parallel: int,
    mode: str,
    workers: int,
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    options = engine.make_options(args, work_bytes, parallel).view_as(DirectOptions)
    assert (options.direct_running_mode, options.direct_num_workers) == (mode, workers)


def test_the_mode_that_loses_records_is_refused() -> None:
    with pytest.raises(UsageError, match=r"multi_threading loses records without a word in Beam"):
        engine.make_options(["--direct_running_mode=multi_threading"], 0, 1)


@pytest.mark.parametrize(
    ("args", "local"),
    [([], True), (["--runner=DirectRunner"], True), (["--runner=SparkRunner"], False)],
)
def test_which_runners_are_local(args: list[str], local: bool) -> None:
    assert engine.is_local(PipelineOptions(args)) == local


def fail(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("kind", [InputError, OutputError, DatasetError])
def test_an_error_of_ours_comes_out_of_a_stage_in_its_own_words(kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught:
        run_beam(lambda root: root | beam.Create([kind("a.idx: not IDX")]) | beam.Map(fail))
    assert str(caught.value) == "a.idx: not IDX"


def test_another_error_stays_what_it_is() -> None:
    with pytest.raises(ZeroDivisionError, match="by hand"):
        run_beam(lambda root: root | beam.Create([ZeroDivisionError("by hand")]) | beam.Map(fail))


REMOTE = """Traceback (most recent call last):
  File "sdk_worker.py", line 311, in _execute
pipeline.errors.InputError: a.idx: not IDX; give another [while running 'Read/Map']

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "b.py", line 1
{last}
"""


@pytest.mark.parametrize(
    ("last", "kind", "message"),
    [
        ("ValueError: x", InputError, "a.idx: not IDX; give another"),
        ("pipeline.errors.OutputError: b: full [while running 'W']", OutputError, "b: full"),
    ],
)
def test_errors_that_come_back_as_text(last: str, kind: type[Exception], message: str) -> None:
    found = engine.translate(RuntimeError(REMOTE.format(last=last)))
    assert (type(found), str(found)) == (kind, message)


@pytest.mark.parametrize(
    ("told", "cause"),
    [
        (
            "bundle failed:SDK worker disconnected: worker[job-1], 3 active, error: canceled",
            "SDK worker disconnected: worker[job-1]",
        ),
        ("split[i] error from SDK: worker stopped before receive", "worker stopped before receive"),
    ],
)
def test_a_worker_that_died(told: str, cause: str) -> None:
    error = engine.translate(RuntimeError(told))
    assert isinstance(error, OutputError)
    assert f"the engine lost a worker ({cause}); start the same" in str(error)


def test_text_without_an_error_of_ours() -> None:
    error = RuntimeError("worker lost")
    assert engine.translate(error) is error


def test_a_run_that_did_not_end_well() -> None:
    with pytest.raises(OutputError, match="the runner ended with state FAILED; see its log"):
        engine.run(
            lambda root: root | beam.Create([1]),
            engine.make_options([], 0, 1),
            lambda result: result.wait_until_finish() and "FAILED",
        )


def test_counters_are_sums_by_name() -> None:
    from apache_beam.metrics import Metrics

    def build(root: beam.Pipeline) -> None:
        numbers = root | beam.Create([1, 2, 3])
        for name in ("a", "b"):
            numbers | name >> beam.Map(
                lambda number, name=name: Metrics.counter("recordmill", name).inc(number)
            )
        numbers | "other" >> beam.Map(lambda _: Metrics.counter("other", "a").inc())

    result = engine.run(build, engine.make_options([], 0, 1))
    assert engine.counters(result) == {"a": 6, "b": 6}


def test_what_run_beam_keeps() -> None:
    assert sorted(run_beam(lambda root: root | beam.Create([3, 1]) | beam.Map(keep))) == [1, 3]
