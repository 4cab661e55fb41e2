"""tensorflow-transform over blocks: analysis, and transformed records, in records/s and core.

python tests/bench/bench_preprocess.py [--times 20] [--repeats 1]

Whole conversions of two sizes are timed in CPU seconds, all in one process each. What the larger
takes more is the work at a steady pace: imports, tracing and Beam's start are in both.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from common import DATA, ROOT, finish, recordmill, repeated, table

OUTPUT = DATA / "output"
KINDS = {
    "raw": [],
    "analysed": ["--preprocess", "default"],
    "transformed": ["--preprocess", "default", "--materialize", "transformed"],
}
# Otherwise the larger output alone would be written by several, each with a start-up of its own.
IN_ONE_PROCESS = ["--direct_running_mode", "in_memory"]


def cost(folder: Path, flags: list[str]) -> float:
    """CPU seconds of a conversion."""
    shutil.rmtree(OUTPUT, ignore_errors=True)
    command = recordmill("convert", "--input", folder, "--output", OUTPUT, "--quiet")
    # On a disk that has to be read first, seconds would be those of random reads.
    for name in os.listdir(folder):
        with open(folder / name, "rb") as stream:
            while stream.read(8 << 20):
                pass
    process = subprocess.Popen(
        [str(part) for part in [*command, *IN_ONE_PROCESS, "--statistics", "off", *flags]],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{folder} {flags}: exit status {status}")
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20, help="Fashion-MNIST so often")
    parser.add_argument("--repeats", type=int, default=1)
    args = parser.parse_args()
    few = max(1, args.times // 4)
    small, large = repeated(few), repeated(args.times)
    records = 60_000 * (args.times - few)
    more: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(args.repeats):
        for kind, flags in KINDS.items():
            more[kind].append(cost(large, flags) - cost(small, flags))
    seconds = {kind: statistics.median(taken) for kind, taken in more.items()}
    shutil.rmtree(OUTPUT, ignore_errors=True)
    analysis = seconds["analysed"] - seconds["raw"]
    writing = seconds["transformed"] - analysis
    rows = [
        {"what": "analysis of train", "CPU s": analysis, "records/s a core": records / analysis},
        {"what": "transform and write", "CPU s": writing, "records/s a core": records / writing},
    ]
    table(f"{records:,} records in steady state; wanted 150,000 and 60,000", rows)
    rates = {row["what"]: row["records/s a core"] for row in rows}
    finish("preprocess", {"records": records, "cpu_seconds": more, "records_per_second": rates})


if __name__ == "__main__":
    main()
