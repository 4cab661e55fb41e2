"""The launching machine's share of a large job: 10,000 input files, 100,000 shards."""

import os
import time

import apache_beam as beam
import numpy as np
import pytest

from pipeline import idx
from pipeline.conversion import Convert
from pipeline.options import PlanOptions
from pipeline.planning import make_plan

pytestmark = pytest.mark.slow
FILES, SHARDS = 10_000, 100_000
LIMIT_SECONDS, LIMIT_BYTES = 20, 10_000_000
TOML = """\
name = "big"
[splits.train]
image = "i-*.idx"
label = "l-*.idx"
"""


def test_plan_and_graph(tmp_path, closing):
    images, labels = np.zeros((40, 4, 4), np.uint8), np.zeros(40, np.uint8)
    for number in range(FILES // 2):
        idx.write_idx(os.path.join(tmp_path, f"i-{number:05d}.idx"), images)
        idx.write_idx(os.path.join(tmp_path, f"l-{number:05d}.idx"), labels)
    (tmp_path / "dataset.toml").write_text(TOML)
    # The processor's time: other work on the machine says nothing of ours.
    started = time.process_time()
    plan = make_plan(PlanOptions(input=str(tmp_path), num_shards=SHARDS))
    root = beam.Pipeline("FnApiRunner")
    _ = root | Convert(plan, str(tmp_path / "out"))
    size = len(root.to_runner_api().SerializeToString())
    seconds = time.process_time() - started
    assert len(plan.source_files()) == FILES
    assert seconds < LIMIT_SECONDS
    assert size < LIMIT_BYTES
    closing(f"scale: {FILES:,} files, {SHARDS:,} shards: {seconds:.1f} s, {size / 1e6:.2f} MB")
