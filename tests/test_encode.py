from pathlib import Path

import apache_beam as beam
import laws
import numpy as np
import pytest
from samples import blocks_of, images, keep, labels, planned, run_beam, write_columns, write_mnist

from pipeline import EncodeExamples, ReadFromIdx, to_records
from pipeline.encode import encode_block
from pipeline.errors import InputError
from pipeline.read import split_reader


def wanted(plan_order: np.ndarray) -> dict[str, np.ndarray]:
    return {"image": images(50)[plan_order], "label": labels(50)[plan_order]}


def test_a_block_is_framed_examples_in_the_plan_s_order(mnist: Path) -> None:
    plan = planned(mnist, num_shards=3)
    for shard, blocks in blocks_of(plan, "train"):
        records = [record for framed in blocks for record in framed.messages()]
        assert len(records) == shard.count
        numbers = plan.order("train")(np.arange(shard.start, shard.stop))
        found = laws.by_parse_example(plan.features, records)
        laws.assert_values(plan.features, found, wanted(numbers))


def test_a_label_outside_of_the_classes_names_file_and_record(tmp_path: Path) -> None:
    columns = {"label": np.array([0, 1, 2, 1, 0], np.uint8)}
    folder = write_columns(tmp_path, columns, '[features.label]\nnames = ["a", "b"]')
    plan = planned(folder)
    block = split_reader(plan, "train", {})(0, 5)
    with pytest.raises(InputError, match=r"label\.idx: record 2: label is 2, outside of the 2 cl"):
        encode_block(plan.features, block)


def test_the_stages_in_somebody_s_own_pipeline(mnist: Path, tmp_path: Path) -> None:
    """`ReadFromIdx | EncodeExamples | to_records`, then Beam's own writer (law 4)."""
    plan = planned(mnist)

    def build(root: beam.Pipeline) -> None:
        records = (
            root
            | ReadFromIdx(plan, "train")
            | EncodeExamples(plan.features)
            | beam.FlatMap(to_records)
        )
        records | beam.io.WriteToTFRecord(str(tmp_path / "plain"), num_shards=2)
        records | beam.Map(keep)

    records = run_beam(build)
    shards = [path.read_bytes() for path in sorted(tmp_path.glob("plain-*-of-00002"))]
    assert len(shards) == 2
    written = [record for shard in shards for record in laws.messages(shard)]
    laws.assert_same_records(written, records)
    ordered = sorted(
        zip(*laws.by_protobuf(plan.features, written).values(), strict=True),
        key=lambda record: record[0].ravel()[:2].tolist(),
    )
    np.testing.assert_array_equal(np.stack([record[0] for record in ordered]), images(50))
    np.testing.assert_array_equal(np.stack([record[1] for record in ordered]), labels(50))


def test_a_path_is_plan_enough(tmp_path: Path) -> None:
    folder = write_mnist(tmp_path / "raw", train=9, test=3)
    features = planned(folder).features

    def build(root: beam.Pipeline) -> None:
        encoded = root | ReadFromIdx(str(folder)) | EncodeExamples(features)
        encoded | beam.FlatMap(to_records) | beam.Map(keep)

    assert len(run_beam(build)) == 12
