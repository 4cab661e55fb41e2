"""Keeps a library's start-up notices from the terminal.

TensorFlow writes some ten lines from C++ before any log level of its own counts. They would stand
between the user and the first line of ours; nothing is kept back when something goes wrong.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_stderr(*, quiet: bool = True) -> Iterator[None]:
    """Holds back what is written to file descriptor 2; shows it after all if an exception passes.

    Args:
      quiet: Whether to hold anything back.
    """
    if not quiet:
        yield
        return
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            sys.stderr.flush()
            held.seek(0)
            with os.fdopen(os.dup(terminal), "wb") as shown:
                shutil.copyfileobj(held, shown)
            raise
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
