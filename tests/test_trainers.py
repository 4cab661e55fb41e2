"""The hand-over to the trainer: argv of each place, what is refused, and what is not done twice."""

import argparse
import ast
import http.server
import json
import re
import threading
from pathlib import Path

import pytest

from launch import run, train, trainers, vertex
from launch.cli import main
from pipeline import files
from pipeline.errors import UsageError

ROOT = Path(__file__).parent.parent


def parse(*flags):
    parser = argparse.ArgumentParser()
    run.add_arguments(parser)
    defaults = ["--input=gs://b/raw", "--output=gs://b/out", "--model_dir=gs://b/model"]
    return parser.parse_args([*defaults, *flags])


def train_flags(line):
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    return vars(parser.parse_args(line))


def test_training_arguments_say_the_same_and_no_more():
    args = parse("--epochs=3", "--preset=quick", "--deterministic", "--num_shards=4")
    line = trainers.training_arguments(args, "D", "M")
    assert set(line) == {
        *("--data=D", "--model_dir=M", "--epochs=3", "--preset=quick", "--deterministic"),
        "--seed=0",
    }
    assert train_flags(line)["epochs"] == 3


def test_docker_command(tmp_path):
    flags = ["--trainer=docker", "--trainer_image=mill", f"--model_dir={tmp_path}/m"]
    args = parse(*flags, "--trainer_gpus=2", "--epochs=1")
    command = trainers.docker_command(args, f"{tmp_path}/d")
    assert command[:3] == ["docker", "run", "--rm"]
    assert "--gpus=2" in command
    assert f"--volume={tmp_path}/d:/mnt/data:ro" in command
    assert f"--volume={tmp_path}/m:/mnt/model" in command
    image = command.index("mill")
    assert train_flags(command[image + 1 :])["data"] == "/mnt/data"


def test_docker_without_gpu_and_with_a_bucket():
    args = parse("--trainer=docker", "--trainer_image=mill", "--trainer_gpus=0")
    command = trainers.docker_command(args, "gs://b/d")
    assert not any(part.startswith(("--gpus", "--volume")) for part in command)
    assert "--data=gs://b/d" in command


def test_shell_command_is_quoted():
    args = parse("--trainer=command", "--trainer_command=sbatch {data} -- {args}", "--epochs=2")
    command = trainers.shell_command(args, "a b")
    assert command.startswith("sbatch 'a b' -- '--data=a b' --model_dir=gs://b/model")
    assert "--epochs=2" in command


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        (["--trainer=docker"], "give --trainer_image"),
        (["--trainer=vertex"], "give --trainer_image"),
        (["--trainer=command"], "give --trainer_command, with {data}"),
        (["--trainer=command", "--trainer_command={x}"], "'x' is no field; there is {data}"),
        (["--trainer_command=true"], "goes with --trainer command"),
        (["--trainer_gpus=-1"], "--trainer_gpus -1: wanted 0 or more"),
        (
            ["--trainer=vertex", "--trainer_image=i", "--model_dir=data/model"],
            "--model_dir data/model: Vertex AI does not see",
        ),
    ],
)
def test_refused_before_the_pipeline_runs(flags, match):
    with pytest.raises(UsageError, match=re.escape(match)):
        trainers.check(parse(*flags))


def chain(mnist, tmp_path, *flags):
    line = [f"--input={mnist}", f"--output={tmp_path}/out", f"--model_dir={tmp_path}/model"]
    return main(["run", *line, "--quiet", "--num_shards=2", "--trainer=command", *flags])


def test_command_runs_after_the_pipeline_and_not_twice(mnist, tmp_path):
    note = tmp_path / "note"
    flags = [f"--trainer_command=test -f {{data}}/manifest.json && echo {{args}} >> {note}"]
    assert chain(mnist, tmp_path, *flags, "--skip_if_done") == 0
    assert chain(mnist, tmp_path, *flags, "--skip_if_done") == 0
    assert len(note.read_text().splitlines()) == 1
    assert chain(mnist, tmp_path, *flags, "--skip_if_done", "--epochs=2") == 0
    assert chain(mnist, tmp_path, *flags) == 0
    assert len(note.read_text().splitlines()) == 3


def test_failed_trainer_is_told_and_started_again_alone(mnist, tmp_path, capsys):
    flags = ["--trainer_command=exit 3", "--skip_if_done"]
    assert chain(mnist, tmp_path, *flags) == 1
    assert "ended with exit code 3; the dataset is complete" in capsys.readouterr().err
    [shard, *_] = (tmp_path / "out").rglob("*-train.tfrecord-*")
    made = shard.stat().st_mtime_ns
    assert chain(mnist, tmp_path, "--trainer_command=true", "--skip_if_done") == 0
    assert shard.stat().st_mtime_ns == made


def test_failed_pipeline_never_starts_a_trainer(mnist, tmp_path):
    images = next(mnist.glob("train-images*"))
    images.write_bytes(images.read_bytes()[:-1])
    note = tmp_path / "note"
    assert chain(mnist, tmp_path, f"--trainer_command=touch {note}") == 1
    assert not note.exists()


def test_docker_that_is_not_installed(mnist, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    flags = ["--trainer=docker", "--trainer_image=i"]
    assert chain(mnist, tmp_path, *flags) == 1
    assert "container: docker is not installed" in capsys.readouterr().err


class Vertex:
    """Vertex AI's REST API: one custom job and its states."""

    def __init__(self, *states, error=None, refuse=None):
        self.states, self.error, self.refuse, self.asked = list(states), error, refuse, None
        self.server = http.server.ThreadingHTTPServer(("localhost", 0), self._handler())
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def _handler(fake):  # noqa: N805  # self is the handler's
        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *args):
                pass

            def _answer(self, value, status=200):
                body = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if fake.refuse:
                    error = {"code": fake.refuse, "message": "refused"}
                    self._answer({"error": error}, fake.refuse)
                    return
                fake.asked = self.path, body
                self._answer({"name": "projects/p/locations/r/customJobs/7"})

            def do_GET(self):
                state = fake.states.pop(0) if len(fake.states) > 1 else fake.states[0]
                told = {"name": "projects/p/locations/r/customJobs/7", "state": state}
                if fake.error:
                    told["error"] = {"code": 8, "message": fake.error}
                self._answer(told)

        return Handler


@pytest.fixture
def on_vertex(monkeypatch):
    import google.auth
    from google.auth.credentials import AnonymousCredentials

    monkeypatch.setattr(google.auth, "default", lambda **_: (AnonymousCredentials(), "p"))
    monkeypatch.setattr(vertex, "POLL_SECONDS", 0)
    services = []

    def start(*states, **more):
        service = Vertex(*states, **more)
        services.append(service)
        monkeypatch.setenv(vertex.ENDPOINT, f"http://localhost:{service.server.server_address[1]}")
        return service

    yield start
    for service in services:
        service.server.shutdown()
        service.server.server_close()


def vertex_args(*more):
    return parse("--trainer=vertex", "--trainer_image=eu.example/mill:1", "--epochs=2", *more)


def hand_over(args, monkeypatch):
    written = {}
    monkeypatch.setattr(files, "write_bytes", written.__setitem__)
    trainers.start(args, "gs://b/out/n/1.0.0", "d", ["--project=p", "--region=r"])
    return written


def test_vertex_job(on_vertex, monkeypatch, capsys):
    service = on_vertex("JOB_STATE_PENDING", "JOB_STATE_RUNNING", "JOB_STATE_SUCCEEDED")
    written = hand_over(vertex_args("--trainer_gpus=2"), monkeypatch)
    path, job = service.asked
    assert path.startswith("/v1/projects/p/locations/r/customJobs")
    [pool] = job["jobSpec"]["workerPoolSpecs"]
    assert pool["machineSpec"]["machineType"] == "n1-standard-8"
    assert pool["machineSpec"]["acceleratorCount"] == 2
    from google.cloud.aiplatform_v1 import AcceleratorType

    kind = AcceleratorType(pool["machineSpec"]["acceleratorType"])
    assert kind == AcceleratorType.NVIDIA_TESLA_T4
    assert pool["containerSpec"]["imageUri"] == "eu.example/mill:1"
    told = train_flags(pool["containerSpec"]["args"])
    assert (told["data"], told["model_dir"]) == ("/gcs/b/out/n/1.0.0", "/gcs/b/model")
    assert told["epochs"] == 2
    assert job["jobSpec"]["baseOutputDirectory"]["outputUriPrefix"] == "gs://b/model"
    assert list(written) == ["gs://b/model/trained.json"]
    err = capsys.readouterr().err
    assert re.search(r"Vertex AI job 7\nhttps://.*\n\S+ PENDING\n\S+ RUNNING\n\S+ SUCCEEDED", err)


def test_vertex_without_gpu(on_vertex, monkeypatch):
    service = on_vertex("JOB_STATE_SUCCEEDED")
    hand_over(vertex_args("--trainer_gpus=0"), monkeypatch)
    assert list(service.asked[1]["jobSpec"]["workerPoolSpecs"][0]["machineSpec"]) == ["machineType"]


def test_vertex_job_that_fails(on_vertex, monkeypatch):
    on_vertex("JOB_STATE_FAILED", error="quota exceeded: custom_model_training_nvidia_t4_gpus")
    with pytest.raises(trainers.TrainerError, match=r"ended FAILED: a quota .*custom_model"):
        hand_over(vertex_args(), monkeypatch)


def test_vertex_that_refuses(on_vertex, monkeypatch):
    on_vertex("JOB_STATE_FAILED", refuse=403)
    with pytest.raises(UsageError, match="you or the service account may not do this"):
        hand_over(vertex_args(), monkeypatch)


def test_vertex_wants_project_and_region(monkeypatch):
    with pytest.raises(UsageError, match="give --project"):
        trainers.start(vertex_args(), "gs://b/d", "d", [])


def test_examples():
    """The job against the real client's model; the DAG by its syntax: Airflow is not installed."""
    import yaml
    from kubernetes import client

    job = yaml.safe_load((ROOT / "launch/examples/train_job.yaml").read_text())
    parsed = client.ApiClient()._ApiClient__deserialize(job, "V1Job")
    [container] = parsed.spec.template.spec.containers
    assert train_flags(container.args)["data"] == "/mnt/data/fashion_mnist/1.0.0"
    assert container.resources.limits == {"nvidia.com/gpu": "1"}
    tree = ast.parse((ROOT / "launch/examples/airflow_dag.py").read_text())
    text = ast.unparse(tree)
    for flag in re.findall(r"--\w+", text):
        assert flag in known_flags(), flag


def known_flags():
    from launch.cli import _beam_flags

    parser = argparse.ArgumentParser()
    run.add_arguments(parser)
    return set(parser._option_string_actions) | _beam_flags()


@pytest.mark.parametrize("name", ["local", "dataflow", "train"])
def test_shell_scripts_are_three_lines(name, mnist, tmp_path):
    script = ROOT / f"launch/{name}.sh"
    assert len(script.read_text().splitlines()) == 3
    assert script.stat().st_mode & 0o111
