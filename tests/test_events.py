import pytest
import tensorflow as tf

from train.events import EventLog
from train.profiler import Profiler


def test_tensorflow_reads_what_is_written(tmp_path):
    log = EventLog(tmp_path)
    log.write(0, {"train/loss": 2.5})
    log.write(300, {"train/loss": 1.25, "train/accuracy": 0.5})
    log.close()
    (path,) = tmp_path.glob("events.out.tfevents.*")
    events = [
        tf.compat.v1.Event.FromString(record.numpy())
        for record in tf.data.TFRecordDataset(str(path))
    ]
    assert events[0].file_version == "brain.Event:2"
    assert events[1].wall_time == pytest.approx(events[0].wall_time, abs=5)
    found = [(e.step, {v.tag: v.simple_value for v in e.summary.value}) for e in events[1:]]
    assert found == [(0, {"train/loss": 2.5}), (300, {"train/loss": 1.25, "train/accuracy": 0.5})]


def test_a_profile_covers_its_window_alone(tmp_path):
    profiler = Profiler((4, 8), tmp_path)
    for step in (0, 2):
        profiler.at(step)
    assert not list(tmp_path.iterdir())
    for step in (4, 6):
        profiler.at(step)
        tf.reduce_sum(tf.ones(10))
    profiler.at(8)
    assert list(tmp_path.rglob("*.xplane.pb"))
    before = len(list(tmp_path.rglob("*")))
    profiler.at(4)
    profiler.stop()
    assert len(list(tmp_path.rglob("*"))) == before


def test_without_a_window_nothing_is_profiled(tmp_path):
    profiler = Profiler(None, tmp_path)
    profiler.at(5)
    profiler.stop()
    assert not list(tmp_path.iterdir())
