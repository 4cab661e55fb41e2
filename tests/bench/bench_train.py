"""The same step on real shards and on one batch that stays put; how long input is waited for.

python tests/bench/bench_train.py [--model article] [--batch_size 128] [--steps 100] [--repeats 5]

KERAS_BACKEND=jax or torch works too, with `.venv-backends/bin/python`, on a dataset that is given
by --data.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Iterable
from itertools import repeat
from typing import Any

from common import DATA, fashion_mnist, finish, machine, recordmill, table, timed

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
DATASET = DATA / "train" / "fashion_mnist" / "1.0.0"


def dataset() -> str:
    """Fashion-MNIST, converted once."""
    flags = ("--output", DATA / "train", "--quiet")
    timed(recordmill("convert", "--input", fashion_mnist(), *flags))
    return str(DATASET)


def steps(learner: Any, groups: Iterable[Any], count: int) -> tuple[float, float]:
    """Seconds that so many steps take, and those of them spent waiting for input."""
    source, waited, done = iter(groups), 0.0, 0
    started = time.perf_counter()
    while done < count:
        asked = time.perf_counter()
        group = next(source)
        waited += time.perf_counter() - asked
        learner.train(*group)
        done += len(group[1])
    # Only now is it known that the device has come to the end.
    learner.take_sums()
    return time.perf_counter() - started, waited


def measure(path: str, args: argparse.Namespace, cache: str) -> dict[str, Any]:
    """Real and cached steps by turns, so that a change of the machine's load hits both."""
    import pipeline
    from train.feed import describe
    from train.options import TrainOptions
    from train.setup import set_up

    wishes = {"model": args.model, "batch_size": args.batch_size, "steps": args.steps}
    options = TrainOptions(data=path, model_dir="-", cache=cache, augment=args.augment, **wishes)
    opened = pipeline.open_dataset(path)
    setup = set_up(options, opened, describe(opened, None, None))
    feed, learner = setup.feed, setup.learner
    group = next(feed.groups(0, args.steps))
    burn_in = max(5, len(group[1]))
    steps(learner, repeat(group), burn_in)
    real, fixed, waits = [], [], []
    for _ in range(args.repeats):
        # The first steps of an epoch open its input; they are part of what is measured.
        groups = feed.groups(0, args.steps)
        seconds, waited = steps(learner, groups, args.steps)
        groups.close()
        real.append(seconds)
        waits.append(waited / seconds)
        fixed.append(steps(learner, repeat(group), args.steps)[0])
    records = args.steps * args.batch_size
    rates = [records / statistics.median(taken) for taken in (real, fixed)]
    return {
        "input": {"none": "streamed from the shards"}.get(cache, f"kept in {cache}"),
        "examples/s": round(rates[0]),
        "on one cached batch": round(rates[1]),
        "ratio": rates[0] / rates[1],
        "input wait %": 100 * statistics.median(waits),
        "device": str(setup.device),
        "backend": setup.choices["backend"],
        "precision": setup.choices["precision"],
    }


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="a dataset; default: Fashion-MNIST, fetched and converted")
    parser.add_argument("--model", default="article")
    parser.add_argument("--augment", default="")
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--caches", nargs="+", default=["none", "memory"], help="and device")
    args = parser.parse_args()
    print(machine())
    path = args.data or dataset()
    rows = [measure(path, args, cache) for cache in args.caches]
    table(f"{args.model}, {args.steps} steps of {args.batch_size}", rows)
    finish("bench_train", {"rows": rows})


if __name__ == "__main__":
    main()
