"""What running a command line in this process comes to."""

from collections.abc import Callable
from typing import NamedTuple


class Ran(NamedTuple):
    """A command's exit code, and what it printed."""

    code: int
    out: str
    err: str


Command = Callable[..., Ran]
