"""Kills conversions at random moments, and starts them again. Run as a program of its own.

Everything is imported once; each conversion is a fork, so that most of its time is conversion.
Prints one JSON object.
"""

import contextlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import apache_beam.runners.portability.fn_api_runner.fn_runner  # noqa: F401  # before the forks

import pipeline.conversion  # noqa: F401
from launch.cli import main
from pipeline import dataset
from pipeline.errors import DatasetError
from pipeline.manifest import MANIFEST


def start(source: Path, output: Path) -> int:
    """Forks a conversion; its process number."""
    pid = os.fork()
    if pid:
        return pid
    os.setpgid(0, 0)
    code = 99
    with contextlib.suppress(BaseException):
        code = main(
            ["convert", "--input", str(source), "--output", str(output), "--quiet"]
            + ["--num_shards", "train=3,test=2"]
        )
    os._exit(code)


def content(folder: Path) -> dict[str, bytes]:
    """All files, working state too."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def readable(folder: Path) -> bool:
    """Whether a reader takes the folder for a dataset."""
    with contextlib.suppress(DatasetError):
        dataset.open_dataset(str(folder))
        return True
    return False


def run(source: Path, scratch: Path, kills: int, seed: int) -> dict[str, int]:
    """Kills so many conversions; sums of what was seen."""
    rng = random.Random(seed)
    started = time.monotonic()
    _, status = os.waitpid(start(source, scratch / "whole"), 0)
    assert status == 0, status
    longest = time.monotonic() - started
    wanted = content(scratch / "whole/small/1.0.0")
    seen = dict(kills=0, were_done=0, with_shards=0, with_manifest=0, finished=0)
    while seen["kills"] < kills:
        output = scratch / f"output-{seen['finished']}"
        folder = output / "small/1.0.0"
        for _ in range(rng.randint(1, 3)):
            pid = start(source, output)
            time.sleep(rng.uniform(0, longest))
            # Twice, for the child may not have made its group yet.
            for number in (-pid, pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            seen["kills"] += 1
            seen["were_done"] += not os.WIFSIGNALED(status)
            seen["with_shards"] += any(folder.glob("small-*-of-0000?"))
            seen["with_manifest"] += (folder / MANIFEST).exists()
            if readable(folder):
                left = content(folder)
                assert {k: v for k, v in left.items() if ".recordmill" not in k} == wanted
        _, status = os.waitpid(start(source, output), 0)
        assert status == 0, status
        assert content(folder) == wanted
        assert not (folder / ".recordmill").exists()
        seen["finished"] += 1
    return seen


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))))
