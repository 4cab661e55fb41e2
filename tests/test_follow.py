"""Following a job: states, counters, Ctrl-C, and Google's messages in plain words."""

import io
from types import SimpleNamespace

import pytest

from launch import follow
from launch.cli import main
from launch.estimate import estimate
from pipeline.errors import OutputError, UsageError
from pipeline.options import PlanOptions
from pipeline.planning import make_plan


class Job:
    """What Beam gives for a submission, with the states that the service will tell."""

    def __init__(self, *states, messages=()):
        self.states, self.cancelled = list(states), False
        self.messages = [SimpleNamespace(message_text=text) for text in messages]
        self._runner = SimpleNamespace(dataflow_client=self)

    def job_id(self):
        return "j"

    @property
    def state(self):
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if state is KeyboardInterrupt:
            raise KeyboardInterrupt
        return state

    def cancel(self):
        self.cancelled = True

    def get_job_metrics(self, _):
        name = SimpleNamespace(name="records_written", context={"namespace": "recordmill"})
        return SimpleNamespace(metrics=[SimpleNamespace(name=name, scalar=7.0)] * 2)

    def list_messages(self, _, page_token=None, minimum_importance=None):
        return self.messages, None


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(follow, "POLL_SECONDS", 0)


def run(job, **more):
    out = io.StringIO()
    given = {"project": "p", "region": "r", "no_wait": False, "out": out, **more}
    return follow.follow(job, **given), out.getvalue()


def test_states_and_counters_are_told_once():
    state, told = run(Job("PENDING", "RUNNING", "RUNNING", "DONE"))
    assert state == "DONE"
    assert told.startswith("Dataflow job j\nhttps://console.cloud.google.com/dataflow/jobs/r/j")
    assert told.count("RUNNING 14 records_written") == 1


@pytest.mark.parametrize(("answer", "cancelled"), [("y", True), ("", False)])
def test_interrupted_on_a_terminal(monkeypatch, answer, cancelled):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    job = Job("RUNNING", KeyboardInterrupt, "CANCELLED")
    wanted = "was cancelled" if cancelled else "goes on"
    with pytest.raises((OutputError, follow.LetGo), match=wanted):
        run(job, ask=lambda _: answer)
    assert job.cancelled is cancelled


def test_interrupted_in_a_script_lets_go(monkeypatch):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: False))
    with pytest.raises(follow.LetGo, match="goes on; the same command, started later"):
        run(Job(KeyboardInterrupt))


def test_no_wait():
    with pytest.raises(follow.LetGo, match="is submitted"):
        run(Job("RUNNING"), no_wait=True)


def test_failure_of_ours_is_told_as_ours():
    said = ["work item failed", "Traceback …\npipeline.errors.InputError: a.idx: not IDX"]
    with pytest.raises(OutputError, match=r"ended FAILED: a.idx: not IDX; see https"):
        run(Job("FAILED", messages=said))


def test_failure_without_a_reason():
    with pytest.raises(OutputError, match="the service gives no reason"):
        run(Job("FAILED"))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("RefreshError: invalid_grant", "gcloud auth application-default login"),
        ("SERVICE_DISABLED: Dataflow API", "gcloud services enable"),
        ("503 ServiceUnavailable", "could not be reached"),
        ("PERMISSION_DENIED: bucket", "roles/dataflow.worker"),
    ],
)
def test_explained(said, told):
    error = follow.submission_error(RuntimeError(said))
    assert isinstance(error, UsageError)
    assert told in str(error)
    assert said in str(error)


def test_not_explained():
    error = RuntimeError("something else")
    assert follow.submission_error(error) is error


@pytest.fixture
def plan(mnist):
    return make_plan(PlanOptions(input=str(mnist), num_shards=4))


def test_estimate_follows_machines_and_workers(plan):
    one = estimate(plan, [])
    assert one.workers == 1
    assert one.bytes_written == plan.num_records * plan.stride
    assert one.bytes_read == 2 * sum(part.size_bytes for part in plan.source_files())
    assert estimate(plan, ["--worker_machine_type=n2-standard-4"]).cores == 4


def test_estimate_of_much_work_takes_many_workers(plan, monkeypatch):
    monkeypatch.setattr("launch.estimate.NETWORK_BYTES_PER_SECOND", 1.0)
    assert estimate(plan, []).workers == 8  # as many as there are shards
    assert estimate(plan, ["--max_num_workers=3"]).workers == 3
    assert estimate(plan, ["--max_num_workers=3"]).seconds > estimate(plan, []).seconds


def test_estimate_on_the_command_line(mnist, tmp_path, capsys):
    line = ["convert", f"--input={mnist}", f"--output={tmp_path / 'o'}", "--estimate"]
    assert main(line) == 0
    told = capsys.readouterr().out
    assert told.startswith("workers  1 of 1 vCPU\ntime     about 5 minutes")
    assert not (tmp_path / "o").exists()
