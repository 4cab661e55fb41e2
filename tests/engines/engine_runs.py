"""What every engine is asked to do: convert the same input, also while a worker is killed."""

import contextlib
import os
import signal
import threading
import time

from pipeline import conversion, files, output

SHARDS = 24


def convert(source, folder, beam_args, **more):
    """The manifest of a conversion, and a line of its figures."""
    started = time.monotonic()
    manifest = conversion.convert(
        input=source, name="idx", output=folder, num_shards=SHARDS, beam_args=beam_args, **more
    ).manifest
    seconds = time.monotonic() - started
    records = manifest.counters["records"]
    return manifest, f"{records:,} records in {seconds:.0f} s, digest {manifest.digest}"


class Killer:
    """Kills processes as soon as a conversion has written two shards.

    Attributes:
      killed: The processes that were killed.
    """

    def __init__(self, victims, then=lambda: None):
        self.victims, self.then = victims, then
        self.killed = []

    @contextlib.contextmanager
    def watch(self, plan, folder):
        """Give it as a conversion's `watch`."""
        over = threading.Event()

        def wait():
            while output.count_receipts(folder) < 2 and not over.is_set():
                time.sleep(0.02)
            if not over.is_set():
                for pid in self.victims():
                    os.kill(pid, signal.SIGKILL)
                    self.killed.append(pid)
                self.then()

        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def shards(folder):
    """Names of all files that are named like shards, unfinished ones included."""
    return [path for path, _ in files.match(os.path.join(folder, "*tfrecord*"))]
