"""Conversion with statistics against without: the same command, `--statistics on` and `off`.

python tests/bench/bench_statistics.py [--times 20] [--repeats 5]

Whole processes are timed, imports included, in turns, so that both see the same machine.
"""

from __future__ import annotations

import argparse
import shutil
import statistics

from common import DATA, finish, recordmill, repeated, table, timed

OUTPUT = DATA / "output"


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20, help="Fashion-MNIST so often")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    folder = repeated(args.times)
    taken: dict[str, list[float]] = {"off": [], "on": []}
    for _ in range(args.repeats):
        for switch, seconds in taken.items():
            shutil.rmtree(OUTPUT, ignore_errors=True)
            command = recordmill("convert", "--input", folder, "--output", OUTPUT, "--quiet")
            seconds.append(timed([*command, "--statistics", switch]).seconds)
    shutil.rmtree(OUTPUT, ignore_errors=True)
    medians = {switch: statistics.median(seconds) for switch, seconds in taken.items()}
    ratio = medians["on"] / medians["off"]
    rows = [
        {"statistics": switch, "seconds": seconds, "ratio": seconds / medians["off"]}
        for switch, seconds in medians.items()
    ]
    table(f"{60_000 * args.times:,} records, at most 1.35 times the time", rows)
    finish("statistics", {"seconds": taken, "ratio": ratio})


if __name__ == "__main__":
    main()
