"""The device that steps run on, whichever backend Keras has, and what suits it."""

from __future__ import annotations

import platform
from dataclasses import dataclass

import keras

from pipeline.errors import UsageError

# Steps between two looks of Python on a GPU; at some 100 us of Python a step, a small network
# would wait for it otherwise.
GPU_STEPS_PER_EXECUTION = 20
# A split of so many bytes is small beside the memory of any GPU that one trains on.
MAX_DEVICE_CACHE_BYTES = 4 << 30


@dataclass(frozen=True)
class Device:
    """What is there.

    Attributes:
      kind: "cpu", "gpu", or another accelerator's kind.
      name: For people.
      count: How many of them.
      capability: NVIDIA's compute capability, such as (8, 0); (0, 0) elsewhere.
    """

    kind: str
    name: str
    count: int = 1
    capability: tuple[int, int] = (0, 0)

    def __str__(self) -> str:
        """The kind, how many, and the name."""
        many = f"{self.count} " if self.count > 1 else ""
        return f"{many}{self.kind.upper()} ({self.name})"


def find_device() -> Device:
    """Asks Keras' backend for its device."""
    backend = keras.backend.backend()
    found = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}.get(backend)
    if found is None:
        raise UsageError(f"KERAS_BACKEND {backend}: wanted tensorflow, jax or torch")
    return found() or Device("cpu", platform.machine())


def _tensorflow() -> Device | None:
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return None
    details = tf.config.experimental.get_device_details(gpus[0])
    capability = details.get("compute_capability", (0, 0))
    return Device("gpu", details.get("device_name", "GPU"), len(gpus), capability)


def _jax() -> Device | None:
    import jax

    first = jax.devices()[0]
    if first.platform == "cpu":
        return None
    major, _, minor = str(getattr(first, "compute_capability", "0.0")).partition(".")
    # One process of ours trains on one of them.
    return Device(first.platform, first.device_kind, 1, (int(major), int(minor or 0)))


def _torch() -> Device | None:
    import torch

    if not torch.cuda.is_available():
        return None
    return Device("gpu", torch.cuda.get_device_name(), 1, torch.cuda.get_device_capability())


def choose_precision(wish: str, device: Device) -> str:
    """The dtype that layers compute in.

    bfloat16 from compute capability 8.0 (Ampere) on, float16 from 7.0 (Volta) on, else float32.

    >>> choose_precision("auto", Device("gpu", "A100", 1, (8, 0)))
    'bfloat16'
    """
    if wish != "auto":
        if wish == "float16" and keras.backend.backend() == "jax":
            raise UsageError(
                "--precision float16: its loss scaling is not there on jax; take bfloat16"
            )
        return wish
    if device.kind == "tpu" or device.capability >= (8, 0):
        return "bfloat16"
    if device.capability >= (7, 0) and keras.backend.backend() != "jax":
        return "float16"
    return "float32"


def choose_jit(wish: str, device: Device) -> bool:
    """Whether XLA compiles a step.

    On a CPU, XLA's convolutions took nearly twice the time of TensorFlow's own; JAX has no others.
    """
    backend = keras.backend.backend()
    if backend == "torch":
        if wish == "on":
            raise UsageError("--jit on: torch runs the steps as they are; use tensorflow or jax")
        return False
    if wish == "auto":
        return backend == "jax" or device.kind != "cpu"
    return wish == "on"


def choose_group(wish: int | None, device: Device, *spans: int | None) -> int:
    """Steps between two looks of Python: the wish, or the most that divides all spans.

    >>> choose_group(None, Device("gpu", "A100"), 50, None)
    10
    """
    if wish is not None:
        return wish
    if device.kind == "cpu":
        return 1
    most = range(GPU_STEPS_PER_EXECUTION, 0, -1)
    return next(n for n in most if all(span is None or span % n == 0 for span in spans))


def choose_cache(wish: str, device: Device, split_bytes: int, *, by_number: bool) -> str:
    """Where decoded records are kept.

    Args:
      wish: One of `train.options.CACHES`.
      device: What steps run on.
      split_bytes: Of the decoded images and labels.
      by_number: Whether the dataset's records can be read by number from here; if so, keeping them
        in the machine's memory gains little, for the system's page cache does.
    """
    if wish != "auto":
        return wish
    if device.kind != "cpu" and device.count == 1 and split_bytes <= MAX_DEVICE_CACHE_BYTES:
        return "device"
    if keras.backend.backend() != "tensorflow" and not by_number:
        return "memory"
    return "none"
