"""The flex template's parameters are our flags."""

import json
from pathlib import Path

import pytest

from launch import flex
from pipeline.errors import UsageError

ROOT = Path(__file__).parent.parent
METADATA = ROOT / "launch/dataflow/metadata.json"


def test_metadata_is_up_to_date():
    assert METADATA.read_text() == flex.metadata(), "run: python -m launch.flex > " + str(METADATA)


def test_parameters():
    told = {value["name"]: value for value in json.loads(flex.metadata())["parameters"]}
    assert told["input"]["isOptional"] is False
    assert told["input"]["regexes"] == ["^gs://.+"]
    assert told["num_shards"]["isOptional"] is True
    assert told["overwrite"]["paramType"] == "BOOLEAN"
    assert "runner" not in told


def test_image_of_the_launcher_is_the_workers(monkeypatch):
    monkeypatch.setenv(flex.IMAGE, "eu.example/recordmill:1")
    assert "--image=eu.example/recordmill:1" in flex.arguments(["--input=a"])
    assert "--image=other" in (line := flex.arguments(["--image=other"]))
    assert "--image=eu.example/recordmill:1" not in line


def test_switch_that_is_neither():
    with pytest.raises(UsageError, match="overwrite: found 'maybe', wanted true or false"):
        flex.arguments(["--overwrite=maybe"])


def test_dockerfile_copies_what_exists_and_starts_what_exists():
    lines = (ROOT / "launch/dataflow/Dockerfile").read_text().splitlines()
    copied = [
        name
        for line in lines
        if line.startswith("COPY ") and "--from" not in line
        for name in line.split()[1:-1]
    ]
    assert {"setup.py", "requirements.lock", "pipeline", "launch", "train"} <= set(copied)
    assert all((ROOT / name).exists() for name in copied)
    [main] = [line for line in lines if "FLEX_TEMPLATE_PYTHON_PY_FILE" in line]
    assert (ROOT / main.rpartition("/opt/recordmill/")[2]).is_file()
    [base] = [line for line in lines if line.startswith("FROM apache/beam")]
    assert base.rpartition(":")[2] in (ROOT / "requirements.lock").read_text()
