"""--log_format json: every line on stderr is an object; --quiet says nothing."""

import json
import logging

import pytest
import small

from launch import logs
from launch.cli import main


@pytest.fixture(autouse=True)
def _plain_logging():
    root = logging.getLogger()
    before = root.handlers
    yield
    root.handlers = before


def convert(tmp_path, *flags):
    source = small.write_source(tmp_path / "source")
    output = ["--output", str(tmp_path / "out")]
    return main(["convert", "--input", str(source), *output, *flags])


def test_json_lines(tmp_path, capsys):
    assert convert(tmp_path, "--log_format", "json", "--num_shards", "2", "--quiet") == 0
    told = capsys.readouterr()
    lines = [json.loads(line) for line in told.err.splitlines()]
    assert told.out == ""
    own = [line for line in lines if line["logger"] == "recordmill"]
    assert [own[0]["message"], own[-1]["message"]] == ["planned", "finished"]
    assert own[-1]["counters"]["records"] == own[-1]["run_counters"]["records_written"] == 40
    assert own[-1]["run_counters"]["shards_written"] == own[-1]["counters"]["shards"] == 4


def test_errors_are_json_lines_too(tmp_path, capsys):
    assert convert(tmp_path, "--log_format", "json", "--quiet", "--seed", "1") == 0
    assert convert(tmp_path, "--log_format", "json", "--quiet") == 1
    last = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert (last["level"], last["exit_code"]) == ("ERROR", 1)
    assert "seed was 1, is 0" in last["message"]


def test_text(tmp_path, capsys):
    assert convert(tmp_path, "--quiet") == 0
    told = capsys.readouterr()
    assert told.out == told.err == ""
    assert not logs.is_json()


def test_the_end_tells_the_counters_of_the_run(tmp_path, capsys):
    assert convert(tmp_path) == 0
    assert "records_written 40, " in capsys.readouterr().out
    assert convert(tmp_path) == 0
    told = capsys.readouterr().out
    assert "shards kept" in told
    assert "this run" not in told


def test_exceptions(capsys):
    logs.use_json()
    try:
        raise ValueError("broken")
    except ValueError:
        logs.LOGGER.exception("failed")
    line = json.loads(capsys.readouterr().err)
    assert "ValueError: broken" in line["exception"]
