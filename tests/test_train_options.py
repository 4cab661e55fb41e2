import math

import pytest

from pipeline.errors import UsageError
from train.options import DEFAULT_EPOCHS, TrainOptions, from_preset

PLACES = {"data": "d", "model_dir": "m"}


def test_presets_and_wishes():
    assert from_preset("standard", PLACES).all_epochs == DEFAULT_EPOCHS
    assert from_preset("quick", PLACES).all_epochs == 1
    article = from_preset("article", PLACES)
    assert (article.steps, article.batch_size, article.log_every) == (3000, 16, 100)
    assert article.all_epochs is None
    wish = from_preset("article", {**PLACES, "batch_size": 32, "epochs": 2})
    assert (wish.steps, wish.batch_size, wish.all_epochs) == (None, 32, 2)
    assert from_preset("quick", {**PLACES, "steps": 5}).all_epochs is None


def test_unknown_preset():
    with pytest.raises(UsageError, match="--preset fast: unknown; there is standard, article"):
        from_preset("fast", PLACES)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("data", "", "--data: wanted a folder, found an empty text"),
        ("model_dir", "", "--model_dir: wanted a folder"),
        ("epochs", 0, "--epochs 0: wanted 1 or more"),
        ("steps", -1, "--steps -1: wanted 1 or more"),
        ("batch_size", 0, "--batch_size 0: wanted 1 or more"),
        ("batch_size", 2**40, "--batch_size 1099511627776: wanted 1 or more, below"),
        ("log_every", 0, "--log_every 0: wanted 1 or more"),
        ("seed", -1, "--seed -1: wanted 0 or more"),
        ("shuffle_buffer", -1, "--shuffle_buffer -1: wanted 0 or more"),
        ("learning_rate", 0.0, r"--learning_rate 0.0: wanted above 0 and at most 10"),
        ("steps_per_execution", 0, "--steps_per_execution 0: wanted 1 or more"),
        ("checkpoint_every", 0, "--checkpoint_every 0: wanted 1 or more"),
        ("patience", 0, "--patience 0: wanted 1 or more"),
        ("optimizer", "lion", "--optimizer lion: unknown; there is adam, sgd"),
        ("schedule", "step", "--schedule step: unknown; there is constant, cosine"),
        ("precision", "int8", "--precision int8: unknown; there is auto, float32"),
        ("cache", "disk", "--cache disk: unknown; there is auto, none, memory, device"),
        ("jit", "yes", "--jit yes: unknown; there is auto, on, off"),
        ("warmup", 1.0, "--warmup 1.0: wanted 0 or more and below 1"),
        ("weight_decay", -0.1, "--weight_decay -0.1: wanted 0 or more and below 1"),
        ("label_smoothing", 1.0, "--label_smoothing 1.0: wanted 0 or more and below 1"),
        (
            "augment",
            "rotate",
            "--augment rotate: 'rotate' is unknown or stands twice; there is flip",
        ),
        ("augment", "flip,flip", "'flip' is unknown or stands twice"),
        ("augment", "flip=2", "'flip=2': wanted a number above 0 and at most 1, the share"),
        (
            "augment",
            "shift=few",
            "'shift=few': wanted a number above 0 and at most 1024, the pixels",
        ),
        ("profile", "20", "--profile 20: wanted two steps, such as 100:120"),
        ("profile", "20:10", "--profile 20:10: wanted two steps"),
        ("learning_rate", math.nan, r"--learning_rate nan: wanted above 0"),
    ],
)
def test_each_field_checks_itself(field, value, message):
    with pytest.raises(UsageError, match=message):
        TrainOptions(**{**PLACES, field: value})


def test_epochs_and_steps_exclude_each_other():
    with pytest.raises(UsageError, match="--epochs 1 and --steps 2 both say how long"):
        TrainOptions(**PLACES, epochs=1, steps=2)


def test_lines_and_checkpoints_come_at_multiples_of_what_runs_at_once():
    with pytest.raises(UsageError, match="--log_every 100: .*multiple of --steps_per_execution 30"):
        TrainOptions(**PLACES, log_every=100, steps_per_execution=30)
    assert TrainOptions(**PLACES, checkpoint_every=60, steps_per_execution=30)
