"""A polite end: SIGTERM, as a machine about to be taken away gets it, and Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from pipeline.errors import RecordmillError


class Stopped(RecordmillError):
    """The run was asked to stop; its checkpoint is written."""

    def __init__(self, message: str, number: int) -> None:
        """Takes the signal's number, from which a shell's customary exit code follows."""
        super().__init__(message)
        self.exit_code = 128 + number


class Request:
    """Whether a signal came.

    Attributes:
      number: The signal's; None while there was none.
    """

    number: int | None = None

    @property
    def name(self) -> str:
        """The signal's name; "another worker's signal" where this process got none."""
        return (
            "another worker's signal" if self.number is None else signal.Signals(self.number).name
        )


@contextlib.contextmanager
def stop_request() -> Iterator[Request]:
    """Notes SIGTERM and SIGINT in place of dying from them; a second one kills as usual.

    Only the main thread may handle signals; in any other nothing is changed.
    """
    request = Request()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def note(number: int, frame: FrameType | None) -> None:
        request.number = number
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in before:
        signal.signal(number, note)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
