"""Conversion: speed against the usual ways, Fashion-MNIST from gzip, memory, large jobs.

python tests/bench/bench_convert.py [--only speed,gzip,memory,large] [--repeats 5]

`speed` needs 3 GB of disk, `memory` 8 GB, `large` 15 GB, under data/bench (or
RECORDMILL_BENCH_DATA). Whole processes are timed, imports included.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

from common import (
    DATA,
    Run,
    fashion_mnist,
    finish,
    machine,
    median_run,
    recordmill,
    repeated,
    table,
    timed,
)

PEERS = Path(__file__).parent / "peers.py"
OUTPUT = DATA / "output"


def convert(folder: Path, *flags: str) -> Run:
    """A whole conversion into an empty folder."""
    shutil.rmtree(OUTPUT, ignore_errors=True)
    return timed(recordmill("convert", "--input", folder, "--output", OUTPUT, "--quiet", *flags))


def peer(way: str, folder: Path) -> Run:
    """One of peers.py into an empty folder."""
    shutil.rmtree(OUTPUT, ignore_errors=True)
    return timed([sys.executable, PEERS, way, folder, OUTPUT])


def copy(folder: Path) -> Run:
    """`cp` of the input files."""
    shutil.rmtree(OUTPUT, ignore_errors=True)
    return timed(["cp", "-r", folder, OUTPUT])


def row(name: str, run: Run, records: int, **more: Any) -> dict[str, Any]:
    """A line of a table."""
    return {
        "what": name,
        "records": f"{records:,}",
        "seconds": run.seconds,
        "records/s": round(records / run.seconds),
        "peak MiB": run.peak_bytes >> 20,
        **more,
    }


def against_beam(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Adds each row's ratio to the Beam idiom's."""
    idiom = next(r["records/s"] for r in rows if r["what"].startswith("Beam idiom"))
    return [{**r, "times the Beam idiom": r["records/s"] / idiom} for r in rows]


def speed(repeats: int) -> list[dict[str, Any]]:
    """1.2 million records of 28x28 bytes; the slow ways on fewer."""
    big, small = repeated(20), repeated(1)
    runs = [
        ("recordmill, source order", 20, lambda: convert(big, "--shuffle", "none")),
        ("recordmill, shuffled", 20, lambda: convert(big)),
        ("tf.train.Example in a loop", 5, lambda: peer("tf_loop", repeated(5))),
        ("Beam idiom", 1, lambda: peer("beam_idiom", small)),
        ("cp of the input", 20, lambda: copy(big)),
        ("CRC32C of the input", 20, lambda: peer("crc32c", big)),
    ]
    rows = [row(name, median_run(run, repeats), times * 60_000) for name, times, run in runs]
    rows = against_beam(rows)
    table("1.2 million records (the slow ways: fewer), whole processes", rows)
    print(
        f"  shuffled / source order: {rows[1]['seconds'] / rows[0]['seconds']:.2f} times the time"
    )
    return rows


def from_gzip(repeats: int) -> list[dict[str, Any]]:
    """Fashion-MNIST itself: 70,000 records from four files in gzip."""
    folder = fashion_mnist()
    imports = [sys.executable, "-c", "import apache_beam"]
    rows = [
        row("recordmill", median_run(lambda: convert(folder), repeats), 70_000),
        row("Beam idiom", median_run(lambda: peer("beam_idiom", folder), repeats), 70_000),
        row("import apache_beam alone", median_run(lambda: timed(imports), repeats), 0),
    ]
    table("Fashion-MNIST from its four .gz files, whole processes", rows)
    return rows


def memory(repeats: int) -> list[dict[str, Any]]:
    """Peak memory of a shuffled conversion in one process."""
    mode = "--direct_running_mode=in_memory"
    rows = [
        row(
            "recordmill, shuffled",
            median_run(lambda n=n: convert(repeated(n), mode), 1),
            n * 60_000,
        )
        for n in (20, 80)
    ]
    table("Peak resident memory, one process", rows)
    print(f"  ratio: {rows[1]['peak MiB'] / rows[0]['peak MiB']:.2f}")
    return rows


def large(repeats: int) -> list[dict[str, Any]]:
    """6 million records; recordmill takes two processes by itself."""
    folder = repeated(100)
    repeats = min(repeats, 3)
    rows = [
        row("cp of the input", median_run(lambda: copy(folder), repeats), 6_000_000),
        row(
            "recordmill, source order",
            median_run(lambda: convert(folder, "--shuffle", "none"), repeats),
            6_000_000,
        ),
        row("recordmill, shuffled", median_run(lambda: convert(folder), repeats), 6_000_000),
    ]
    for each in rows:
        each["times cp's time"] = each["seconds"] / rows[0]["seconds"]
    table("6 million records, processes as recordmill chooses them", rows)
    return rows


PARTS = {"speed": speed, "gzip": from_gzip, "memory": memory, "large": large}


def main() -> None:
    """Runs the parts and prints a table for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, joined by commas")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    print(machine())
    results = {part: PARTS[part](args.repeats) for part in args.only.split(",")}
    shutil.rmtree(OUTPUT, ignore_errors=True)
    finish("bench_convert", results)


if __name__ == "__main__":
    main()
