"""Killed anywhere and started again: the same bytes, and never half a dataset."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import small

KILLER = Path(__file__).with_name("killer.py")


def kill(tmp_path, kills, seed):
    source = small.write_source(tmp_path / "source", gzip=True)
    command = [sys.executable, str(KILLER), str(source), str(tmp_path), str(kills), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_killed_a_few_times(tmp_path):
    assert kill(tmp_path, 6, 0)["kills"] >= 6


@pytest.mark.slow
def test_killed_a_hundred_times(tmp_path):
    seen = kill(tmp_path, 100, 1)
    print(f"\nSIGKILL at {seen['kills']} random moments: {seen}")
    assert seen["kills"] >= 100
    assert seen["with_shards"] > seen["with_manifest"]


def test_two_at_the_same_time_leave_one_whole_dataset(tmp_path):
    source = small.write_source(tmp_path / "source")
    command = [sys.executable, "-m", "launch.cli", "convert", "--input", str(source), "--quiet"]
    command += ["--num_shards", "train=3,test=2", "--output"]
    both = [
        subprocess.Popen([*command, str(tmp_path / "out")], stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    told = [process.communicate()[1] for process in both]
    codes = sorted(process.returncode for process in both)
    assert codes in ([0, 0], [0, 1])
    if codes == [0, 1]:
        assert any("another conversion is writing there; wait for it" in text for text in told)
    whole = small.convert(source, tmp_path / "whole")
    assert small.content(tmp_path / "out/small/1.0.0") == small.content(whole)
