"""Raw IDX records to sharded TFRecords on Apache Beam.

    import pipeline
    pipeline.convert(input="data/fashion-mnist", output="data/tfrecord")
    pipeline.open_dataset("data/tfrecord/fashion_mnist/1.0.0")["train"][0]

Names are imported on first use, so that reading a dataset does not import Beam.
"""

from __future__ import annotations

import importlib
from typing import Any

_EXPORTS = {
    "Convert": "conversion",
    "EncodeExamples": "encode",
    "PlanOptions": "options",
    "ReadFromIdx": "read",
    "RecordmillError": "errors",
    "WriteToTFRecord": "write",
    "convert": "conversion",
    "make_plan": "planning",
    "open_dataset": "dataset",
    "stage": "staging",
    "to_records": "encode",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_EXPORTS[name]}", __name__), name)
