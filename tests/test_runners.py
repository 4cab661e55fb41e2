"""Each launcher's plain options as Beam's, and what it looks up beforehand."""

import argparse
import json
import os
import stat

import pytest
from apache_beam.portability.api import beam_provision_api_pb2

from launch import boot, checks, jars, portable, prism, runners
from launch.cli import main
from launch.settings import Settings, beam_options
from pipeline.errors import UsageError


def options(given=(), **settings):
    return beam_options(runners.beam_args(Settings(**settings), list(given)))


def test_direct_adds_nothing():
    assert runners.beam_args(Settings(), ["--job_name=a"]) == ["--job_name=a"]


def test_flink_options(monkeypatch, tmp_path):
    jar = tmp_path / "server.jar"
    jar.touch()
    monkeypatch.setattr(jars, "jar_path", lambda name: str(jar) if name == "flink-2.2" else "")
    found = options(runner="flink", master="localhost:8081")
    assert found["runner"] == "FlinkRunner"
    assert found["flink_master"] == "localhost:8081"
    assert found["flink_version"] == "2.2"
    assert found["flink_job_server_jar"] == str(jar)
    assert found["environment_type"] == "LOOPBACK"


def test_flink_of_another_version_takes_that_job_server(monkeypatch):
    asked = []
    monkeypatch.setattr(jars, "jar_path", lambda name: asked.append(name) or "")
    options(["--flink_version", "1.20"], runner="flink")
    assert asked == ["flink-1.20"]


def test_spark_options(monkeypatch):
    monkeypatch.setattr(jars, "jar_path", lambda name: "/nowhere.jar")
    found = options(runner="spark", master="localhost:7077")
    assert found["runner"] == "SparkRunner"
    assert found["spark_master_url"] == "spark://localhost:7077"
    assert found["spark_job_server_jar"] is None
    assert options(runner="spark")["spark_master_url"] == "local[*]"


def test_environments():
    found = options(runner="flink", master="a", environment="pool:localhost:50000")
    assert (found["environment_type"], found["environment_config"]) == (
        "EXTERNAL",
        "localhost:50000",
    )
    found = options(runner="spark", master="a", image="eu.example/recordmill:1")
    assert (found["environment_type"], found["environment_config"]) == (
        "DOCKER",
        "eu.example/recordmill:1",
    )


@pytest.mark.parametrize("runner", ["prism", "flink", "spark"])
def test_environment_process(runner):
    found = options(runner=runner, environment="process:/opt/boot it")
    assert found["environment_type"] == "PROCESS"
    assert json.loads(found["environment_config"]) == {"command": "/opt/boot it"}
    found = options(runner=runner, environment="process")
    assert json.loads(found["environment_config"]) == {"command": portable.boot_path()}


def test_boot_program_that_is_missing():
    with pytest.raises(UsageError, match=r"boot program: no /nowhere; install recordmill again"):
        prepared(runner="flink", environment="process:/nowhere")


def test_prism_options(monkeypatch):
    monkeypatch.setenv("GOBIN", "/go")
    found = options(runner="prism")
    assert found["runner"] == "PrismRunner"
    assert found["prism_location"] == "/go/prism"
    assert found["environment_type"] == "LOOPBACK"
    assert options(["--prism_location=/mine"], runner="prism")["prism_location"] == "/mine"


def test_prism_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("GOPATH", str(tmp_path))
    monkeypatch.delenv("GOBIN", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"prism: no .*install Go, .*run: go install .*@v2"):
        prepared(runner="PrismRunner")
    (tmp_path / "go").touch(mode=0o755)
    assert prism.check_program(prism.prism_path()).remedy.startswith("run: go install")
    assert "file that exists" in prism.check_program("/nowhere/prism").remedy
    assert prism.check_program("https://example.com/prism.zip").ok


def test_what_a_worker_is_told():
    info = beam_provision_api_pb2.ProvisionInfo(runner_capabilities=["a", "b"])
    info.control_endpoint.url = "there:1"
    info.pipeline_options["x"] = "y"
    found = boot.worker_environment(
        "w", info, {"control_endpoint": "here:2", "logging_endpoint": "log:3", "id": "w"}
    )
    assert found["WORKER_ID"] == "w"
    assert json.loads(found["PIPELINE_OPTIONS"]) == {"x": "y"}
    assert found["RUNNER_CAPABILITIES"] == "a b"
    assert "there:1" in found["CONTROL_API_SERVICE_DESCRIPTOR"]
    assert "log:3" in found["LOGGING_API_SERVICE_DESCRIPTOR"]
    assert "STATUS_API_SERVICE_DESCRIPTOR" not in found


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"runner": "flink", "environment": "process:"}, "'process:': wanted loopback, process"),
        ({"runner": "flink", "environment": "docker"}, "give --image one that has recordmill"),
        ({"runner": "flink", "environment": "moon"}, "'moon': wanted loopback, process"),
        ({"runner": "spark", "environment": "loopback", "image": "a"}, "goes with --environment d"),
        ({"runner": "dataflow", "staging": "/tmp/here"}, "wanted a folder of a bucket"),
        ({"runner": "direct", "master": "a"}, "--master means nothing to the direct runner"),
        ({"runner": "flink", "no_wait": True}, "only to dataflow"),
        ({"runner": "ray"}, "'ray': wanted direct, prism, flink, spark, dataflow"),
    ],
)
def test_refused(settings, match):
    with pytest.raises(UsageError, match=match):
        options(**settings)


def test_dataflow_with_setup_file():
    found = options(["--project=p"], runner="dataflow", staging="gs://b/tmp/", prime=True)
    assert found["staging_location"] == "gs://b/tmp/staging"
    assert found["temp_location"] == "gs://b/tmp/temp"
    assert os.path.isfile(found["setup_file"])
    assert found["sdk_container_image"] is None
    assert found["dataflow_service_options"] == ["enable_prime"]
    assert found["project"] == "p"


def test_dataflow_with_image():
    found = options(runner="dataflow", staging="gs://b/tmp", image="eu.example/recordmill:1")
    assert found["sdk_container_image"] == "eu.example/recordmill:1"
    assert found["sdk_location"] == "container"
    assert found["setup_file"] is None


def test_flags_of_beam_win():
    found = options(["--temp_location=gs://mine/x"], runner="dataflow", staging="gs://b")
    assert found["temp_location"] == "gs://mine/x"
    found = options(["--environment_type=PROCESS"], runner="flink", master="a")
    assert found["environment_type"] == "PROCESS"


def prepared(given=(), paths=(), **flags):
    names = ("master", "environment", "image", "staging", "prime", "no_wait")
    args = argparse.Namespace(**{**dict.fromkeys(names), **flags})
    return runners.prepare(args, list(given), **dict(paths))


def test_a_runner_without_preset_passes_through():
    wanted = ["--runner=PortableRunner", "--x=1"]
    assert prepared(["--x=1"], runner="PortableRunner").beam_args == wanted


def test_dataflow_names_all_that_is_missing():
    paths = {"input": "gs://b/raw", "output": "gs://b/out"}
    with pytest.raises(UsageError, match=r"(?s)give --project.*also region.*also temp_location"):
        prepared(["--no_auth"], paths, runner="dataflow")


def test_dataflow_refuses_local_folders():
    with pytest.raises(UsageError, match="--input data/raw: the workers of Dataflow do not see"):
        prepared([], {"input": "data/raw"}, runner="DataflowRunner")


def test_cluster_that_does_not_answer():
    with pytest.raises(UsageError, match=r"nothing answers at localhost:1 .*launch.cluster flink"):
        prepared(runner="flink", master="localhost:1")


def test_worker_pool_that_does_not_answer():
    with pytest.raises(UsageError, match=r"worker pool: nothing answers.*worker_pool_main"):
        prepared(runner="spark", environment="pool:localhost:1")


def test_address_without_number():
    with pytest.raises(UsageError, match="address 'a:b': wanted host or host:port"):
        checks.split_address("a:b", 1)


@pytest.mark.parametrize(
    ("told", "match"),
    [('openjdk version "11.0.2"', "is 11"), ("nonsense", "is 'nonsense'")],
)
def test_java_of_another_version(monkeypatch, tmp_path, told, match):
    java = tmp_path / "java"
    java.write_text(f"#!/bin/sh\necho '{told}' >&2\n")
    java.chmod(java.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(UsageError, match=match):
        checks.require([checks.check_java(17, 17)])


def test_java_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert checks.check_java(17, 17).remedy.startswith("install Java 17")


def test_package_of_a_stranger(monkeypatch):
    owners = {"pipeline": ["pipeline", "recordmill"], "launch": ["recordmill"]}
    monkeypatch.setattr(checks.metadata, "packages_distributions", lambda: owners)
    check = checks.check_packages()
    assert "pipeline of pipeline stands where ours should" in check.found
    assert check.remedy.startswith("run: pip uninstall pipeline")


def test_recordmill_not_installed(monkeypatch):
    monkeypatch.setattr(checks.metadata, "packages_distributions", lambda: {})
    assert checks.check_packages().found == "recordmill is not installed"


def test_jar_that_maven_does_not_have(monkeypatch, tmp_path):
    mvn = tmp_path / "mvn"
    mvn.write_text("#!/bin/sh\necho 'x: Could not find artifact a:b:jar:1 in there'; exit 1\n")
    mvn.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UsageError, match="could not get it: Could not find artifact a:b:jar:1;"):
        jars.get_jar("flink-2.2")


def test_jar_without_maven(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UsageError, match="so is Maven, which could get it"):
        jars.get_jar("spark-3")


def test_jar_given_but_not_there():
    assert "file that exists" in jars.check_jar("flink-2.2", "/nowhere.jar").remedy


def test_jar_there(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    path = jars.jar_path("spark-3")
    os.makedirs(os.path.dirname(path))
    open(path, "w").close()
    assert jars.get_jar("spark-3") == path
    assert jars.check_jar("spark-3").ok


def test_doctor_of_all_runners(capsys):
    code = main(["doctor", "--no_auth", "--project=p"])
    told = capsys.readouterr().out
    assert code == 1
    for line in ("direct\n", "prism\n", "flink\n", "spark\n", "dataflow\n", "ok      project: p"):
        assert line in told
    assert "MISSING region: not given\n          give --region" in told


def test_doctor_of_one_runner(capsys):
    assert main(["doctor", "--runner=direct"]) == 0
    assert capsys.readouterr().out.startswith("direct\n  ok      processors: ")
