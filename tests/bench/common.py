"""What the benchmarks share: the machine's description, timing whole processes, data, tables."""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import idx
from pipeline.idx import inflate, read_header

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("RECORDMILL_BENCH_DATA", ROOT / "data" / "bench"))
RAW = ROOT / "data" / "raw" / "fashion-mnist"


def machine() -> dict[str, Any]:
    """Where and with what a result was obtained."""
    names = ("apache-beam", "tensorflow", "jax", "torch", "numpy", "recordmill")
    installed = {d.metadata["Name"]: d.version for d in metadata.distributions()}
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "commit": commit,
        **{name: version for name in names if (version := installed.get(name))},
    }


@dataclass(frozen=True)
class Run:
    """One run of a process: wall-clock seconds, and the peak resident memory of it alone."""

    seconds: float
    peak_bytes: int


def timed(command: Sequence[str | Path], check: bool = True) -> Run:
    """Runs a command to its end; Python keeps its bytecode, as it does for most users."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    started = time.perf_counter()
    process = subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment,
    )
    assert process.stderr
    message = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if check and process.returncode:
        sys.exit(f"{command}: exit code {process.returncode}\n{message.decode()[-2000:]}")
    return Run(seconds, usage.ru_maxrss * 1024)


def median_run(function: Callable[[], Run], repeats: int) -> Run:
    """The run of median time."""
    runs = sorted((function() for _ in range(repeats)), key=lambda run: run.seconds)
    return runs[len(runs) // 2]


def median_seconds(function: Callable[[], Any], repeats: int, warm_up: int = 1) -> float:
    """Median wall-clock seconds of a call, after warming up."""
    for _ in range(warm_up):
        function()
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def fashion_mnist() -> Path:
    """The folder of the four files in gzip, fetched when missing."""
    from launch.fetch import fetch

    fetch("fashion-mnist", str(RAW), quiet=True)
    return RAW


def repeated(times: int) -> Path:
    """A folder with Fashion-MNIST's train records so many times over, uncompressed."""
    folder = DATA / f"train-x{times}"
    if not (folder / "train-labels-idx1-ubyte").exists():
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
            zipped = str(fashion_mnist() / f"{name}.gz")
            header, _ = read_header(zipped, os.path.getsize(zipped))
            once = DATA / name
            inflate(zipped, str(once), header)
            values = np.fromfile(once, np.uint8)[header.header_bytes :]
            shape = (header.count * times, *header.record_shape)
            with open(folder / name, "wb") as stream:
                stream.write(idx.encode_header(header.dtype, shape))
                for _ in range(times):
                    stream.write(values.data)
            once.unlink()
    return folder


def recordmill(*arguments: str | Path) -> list[str | Path]:
    """The command line of this checkout."""
    return [sys.executable, "-m", "launch.cli", *arguments]


def table(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Prints rows of equal keys."""
    heads = list(rows[0])
    cells = [
        [f"{row[h]:,.2f}" if isinstance(row[h], float) else str(row[h]) for h in heads]
        for row in rows
    ]
    widths = [max(len(h), *(len(c[i]) for c in cells)) for i, h in enumerate(heads)]
    print(f"\n{title}")
    for line in (heads, *cells):
        print("  " + "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)))
    sys.stdout.flush()


def finish(name: str, results: dict[str, Any]) -> None:
    """Writes the results as JSON beside the data and says where."""
    DATA.mkdir(parents=True, exist_ok=True)
    path = DATA / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), **results}, indent=1))
    used = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    print(f"\n{path} ({used:.0f} s of this process)")
