import pytest

from pipeline.errors import UsageError
from train.hardware import (
    Device,
    choose_cache,
    choose_group,
    choose_jit,
    choose_precision,
    find_device,
)

CPU = Device("cpu", "x86_64")
VOLTA, AMPERE, PASCAL = (Device("gpu", "G", 1, (n, 0)) for n in (7, 8, 6))


def test_device_in_words():
    assert str(Device("gpu", "Tesla", 2)) == "2 GPU (Tesla)"
    assert str(find_device()).startswith(("CPU (", "GPU ("))


@pytest.mark.parametrize(
    ("device", "precision"),
    [(CPU, "float32"), (PASCAL, "float32"), (VOLTA, "float16"), (AMPERE, "bfloat16")],
)
def test_precision_suits_the_device(device, precision):
    assert choose_precision("auto", device) == precision
    assert choose_precision("float32", device) == "float32"


def test_precision_on_jax(monkeypatch):
    monkeypatch.setattr("keras.backend.backend", lambda: "jax")
    assert choose_precision("auto", VOLTA) == "float32"
    with pytest.raises(UsageError, match="--precision float16: .*take bfloat16"):
        choose_precision("float16", VOLTA)


def test_jit(monkeypatch):
    assert [choose_jit("auto", CPU), choose_jit("on", CPU)] == [False, True]
    assert [choose_jit("auto", AMPERE), choose_jit("off", AMPERE)] == [True, False]
    monkeypatch.setattr("keras.backend.backend", lambda: "jax")
    assert choose_jit("auto", CPU)
    monkeypatch.setattr("keras.backend.backend", lambda: "torch")
    assert not choose_jit("auto", AMPERE)
    with pytest.raises(UsageError, match="--jit on: torch runs the steps as they are"):
        choose_jit("on", AMPERE)


def test_groups_divide_every_span():
    assert choose_group(7, AMPERE, 100) == 7
    assert choose_group(None, CPU, 100) == 1
    assert choose_group(None, AMPERE) == 20
    assert choose_group(None, AMPERE, 100, None, 45) == 5


def test_cache(monkeypatch):
    assert choose_cache("memory", CPU, 1, by_number=True) == "memory"
    assert choose_cache("auto", CPU, 1, by_number=True) == "none"
    assert choose_cache("auto", AMPERE, 1 << 20, by_number=True) == "device"
    assert choose_cache("auto", AMPERE, 1 << 40, by_number=True) == "none"
    assert choose_cache("auto", Device("gpu", "G", 2), 1 << 20, by_number=True) == "none"
    monkeypatch.setattr("keras.backend.backend", lambda: "jax")
    assert choose_cache("auto", CPU, 1, by_number=False) == "memory"


def test_an_unknown_backend(monkeypatch):
    monkeypatch.setattr("keras.backend.backend", lambda: "openvino")
    with pytest.raises(UsageError, match="KERAS_BACKEND openvino: wanted tensorflow, jax or torch"):
        find_device()
