"""A window of steps under the backend's own profiler, in a form that TensorBoard shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras


class Profiler:
    """Starts and stops by the step's number."""

    def __init__(self, window: tuple[int, int] | None, folder: Path) -> None:
        """Takes the window `(first, last)` of steps; None profiles nothing."""
        self._window, self._folder = window, folder
        self._running: Any = None

    def at(self, step: int) -> None:
        """Called before each group of steps and after the last one."""
        if self._window is None:
            return
        first, last = self._window
        if self._running is None and first <= step < last:
            self._running = _start(str(self._folder))
        elif self._running is not None and step >= last:
            self.stop()

    def stop(self) -> None:
        """Ends a window that is open."""
        if self._running is not None:
            self._running()
            self._running = self._window = None


def _start(folder: str) -> Any:
    """Starts; returns what stops."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        tf.profiler.experimental.start(folder)
        return tf.profiler.experimental.stop
    if backend == "jax":
        import jax

        jax.profiler.start_trace(folder)
        return jax.profiler.stop_trace
    import torch

    profile = torch.profiler.profile(
        on_trace_ready=torch.profiler.tensorboard_trace_handler(folder)
    )
    profile.start()
    return profile.stop
