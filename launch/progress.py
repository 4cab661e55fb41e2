"""Progress of long work: a bar on a terminal, a line now and then in a log, or nothing."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from tqdm import tqdm

if TYPE_CHECKING:
    from typing import NoReturn

    # Counts what `update` is told; it is not iterated over.
    Bar = tqdm[NoReturn]
else:
    Bar = tqdm

LINE_SECONDS = 5.0


class _Lines(Bar):
    """Whole lines instead of one that is drawn again and again."""

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        # On closing, tqdm would wipe the bar by displaying "": a line stays.
        if msg is None:
            self.fp.write(f"{self}\n")
            self.fp.flush()

    def close(self) -> None:
        if not self.disable:
            self.display()
        super().close()


def progress(
    total: int | None, desc: str, unit: str, *, initial: int = 0, quiet: bool = False
) -> Bar:
    """Shows on stderr how far a piece of work has come.

    Args:
      total: How many units there are in all; None when that is not known.
      desc: What is being done, such as "converting train".
      unit: What is counted, such as "records"; "B" stands for bytes, shown as k, M, G.
      initial: How many were done before; they do not count as speed.
      quiet: Show nothing.

    Returns:
      A context manager; call its `update(n)` with each n more units.
    """
    # Some terminals (of containers, of `script`) say they have no columns: tqdm draws nothing.
    terminal = sys.stderr.isatty() and os.get_terminal_size(sys.stderr.fileno()).columns > 0
    bar: Bar = (Bar if terminal else _Lines)(
        total=total,
        desc=desc,
        unit=unit if unit == "B" else f" {unit}",
        unit_scale=unit == "B" or (total or 0) >= 100_000,
        initial=initial,
        disable=quiet,
        file=sys.stderr,
        dynamic_ncols=terminal,
        # Without a width, tqdm writes the numbers and draws no bar.
        ncols=None if terminal else 0,
        mininterval=0.1 if terminal else LINE_SECONDS,
        delay=0 if terminal else LINE_SECONDS,
        leave=terminal,
    )
    return bar
