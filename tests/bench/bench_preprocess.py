"""tensorflow-transform over blocks: analysis, and transformed records, in records/s and core.

python tests/bench/bench_preprocess.py [--times 20] [--repeats 3]

Whole conversions are timed in CPU seconds of the process, start-up and imports taken off: a run
over a small input is what they cost, and the rest is the work at a steady pace.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from common import DATA, ROOT, finish, recordmill, repeated, table

OUTPUT = DATA / "output"
KINDS = {
    "raw": [],
    "analysed": ["--preprocess", "default"],
    "transformed": ["--preprocess", "default", "--materialize", "transformed"],
}


def cost(folder: Path, flags: list[str]) -> tuple[float, float]:
    """(CPU seconds, wall seconds) of a conversion."""
    shutil.rmtree(OUTPUT, ignore_errors=True)
    command = recordmill("convert", "--input", folder, "--output", OUTPUT, "--quiet")
    started = time.perf_counter()
    process = subprocess.Popen(
        [str(part) for part in [*command, "--statistics", "off", *flags]],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{folder} {flags}: exit status {status}")
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - started


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20, help="Fashion-MNIST so often")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    small, large = repeated(1), repeated(args.times)
    records = 60_000 * (args.times - 1)
    seconds = {
        kind: statistics.median(
            cost(large, flags)[0] - cost(small, flags)[0] for _ in range(args.repeats)
        )
        for kind, flags in KINDS.items()
    }
    shutil.rmtree(OUTPUT, ignore_errors=True)
    analysis = seconds["analysed"] - seconds["raw"]
    writing = seconds["transformed"] - analysis
    rows = [
        {"what": "analysis of train", "CPU s": analysis, "records/s a core": records / analysis},
        {"what": "transform and write", "CPU s": writing, "records/s a core": records / writing},
    ]
    table(f"{records:,} records in steady state; wanted 150,000 and 60,000", rows)
    finish("preprocess", {"cpu_seconds": seconds})


if __name__ == "__main__":
    main()
