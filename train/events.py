"""Scalars for TensorBoard, without TensorFlow: an event file is a TFRecord file of `Event`s.

Message and field numbers are those of TensorFlow's `event.proto` and `summary.proto`.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from pathlib import Path

from pipeline.tfrecord import frame


def _varint(value: int) -> bytes:
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def _bytes_field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def encode_event(wall_time: float, step: int, scalars: dict[str, float]) -> bytes:
    """One serialized `Event` with a scalar for each name.

    Args:
      wall_time: Seconds since 1970.
      step: The step's number.
      scalars: Values by tag, such as `train/loss`.
    """
    values = b"".join(
        # Value: tag = 1, simple_value = 2 (float).
        _bytes_field(1, _bytes_field(1, tag.encode()) + b"\x15" + struct.pack("<f", value))
        for tag, value in scalars.items()
    )
    # Event: wall_time = 1 (double), step = 2, summary = 5.
    return (
        b"\x09" + struct.pack("<d", wall_time) + b"\x10" + _varint(step) + _bytes_field(5, values)
    )


class EventLog:
    """Appends events to a file of this run's own."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder and a file whose name TensorBoard knows."""
        folder.mkdir(parents=True, exist_ok=True)
        now = time.time()
        name = f"events.out.tfevents.{int(now):010}.{socket.gethostname()}.{os.getpid()}"
        self._file = (folder / name).open("ab", buffering=0)
        # Event: file_version = 3.
        version = _bytes_field(3, b"brain.Event:2")
        self._file.write(frame(b"\x09" + struct.pack("<d", now) + version))

    def write(self, step: int, scalars: dict[str, float]) -> None:
        """Adds scalars; they are on disk when this returns."""
        self._file.write(frame(encode_event(time.time(), step, scalars)))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
