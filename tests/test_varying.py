"""Datasets whose records differ in length, from end to end."""

import hashlib
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import lists
import numpy as np
import pytest
import samples
import tensorflow as tf

import pipeline
from pipeline.errors import DatasetError, InputError
from pipeline.order import Permutation
from pipeline.ragged import Ragged


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """60 and 15 records of words in 3 and 1 shards. Not to be changed: copy it."""
    folder = tmp_path_factory.mktemp("text")
    lists.write_words(folder / "raw")
    return pipeline.convert(
        input=str(folder / "raw"), output=str(folder / "out"), num_shards={"train": 3, "test": 1}
    )


def wanted_words(split="train"):
    tokens, lengths = lists.words(*{"train": (60, 0), "test": (15, 1)}[split])
    records = np.split(tokens, np.cumsum(lengths)[:-1])
    numbers = Permutation(len(lengths), 0, split)(np.arange(len(lengths)))
    return [records[number].tolist() for number in numbers]


def test_records_are_read_by_number(text):
    dataset = pipeline.open_dataset(text.folder)
    wanted, records = wanted_words(), dataset["train"]
    assert dataset.splits == {"train": 60, "test": 15}
    assert [record["words"].tolist() for record in map(records.__getitem__, range(60))] == wanted
    block = records[10:50]
    assert [one.tolist() for one in block["words"]] == wanted[10:50]
    assert block["length"].tolist() == [len(one) for one in wanted[10:50]]
    numbers = np.array([59, 0, 20, 20, -1])
    assert [one.tolist() for one in records[numbers]["words"]] == [wanted[n] for n in numbers]
    assert isinstance(records[[]]["words"], Ragged)
    assert len(records[5:5]["words"]) == 0
    assert records.__getitems__([3, 50])[1]["words"].tolist() == wanted[50]
    again = pickle.loads(pickle.dumps(records))
    assert again[7]["words"].tolist() == wanted[7]
    tail = dataset["train[-5:]+test"]
    assert [one.tolist() for one in tail[:]["words"]] == wanted[-5:] + wanted_words("test")


def test_blocks_are_all_records_in_order(text):
    dataset = pipeline.open_dataset(text.folder)
    found = [one.tolist() for block in dataset.blocks("train", 7, 55) for one in block["words"]]
    assert found == wanted_words()[7:55]


# In a process of its own: the package's protobuf classes collide with TensorFlow's.
READ_WITH_TFRECORD = """
import json, sys
from tfrecord.reader import tfrecord_loader
from tfrecord.tools.tfrecord2idx import create_index
path, index, made = sys.argv[1:]
create_index(path, made)
kinds = {"label": "int"}, {"words": "int"}
every = [tfrecord_loader(path, index, kinds[0], part, kinds[1]) for part in ((0, 2), (1, 2))]
print(json.dumps([[int(w[0]) for w in lists["words"]] for part in every for _, lists in part]))
"""


def test_indexes_are_those_of_the_tfrecord_package(text, tmp_path):
    wanted = wanted_words("test")
    for name in (text.manifest.splits["test"][0].file, text.manifest.splits["train"][2].file):
        path = Path(text.folder) / name
        index = path.with_name(name.replace(".tfrecord-", ".index-"))
        arguments = (READ_WITH_TFRECORD, path, index, tmp_path / "index")
        ran = subprocess.run([sys.executable, "-c", *arguments], capture_output=True, check=True)
        assert index.read_text() == (tmp_path / "index").read_text()
        assert text.manifest.files[index.name] == hashlib.sha256(index.read_bytes()).hexdigest()
        if "test" in name:
            assert json.loads(ran.stdout) == wanted


def test_tensorflow_reads_every_record(text):
    paths = [f"{text.folder}/{shard.file}" for shard in text.manifest.splits["train"]]
    context, read, _ = tf.io.parse_sequence_example(
        list(tf.data.TFRecordDataset(paths)),
        {"label": tf.io.FixedLenFeature([], tf.int64)},
        {"words": tf.io.RaggedFeature(tf.int64)},
    )
    # Each step is a Feature, and each Feature a list.
    found = [[word for step in record for word in step] for record in read["words"].to_list()]
    assert found == wanted_words()
    numbers = Permutation(60, 0, "train")(np.arange(60))
    assert (context["label"].numpy() == samples.labels(60)[numbers]).all()


@pytest.mark.parametrize("record_type", ["example", "sequence_example"])
def test_gzip_and_beam_args_change_no_record(tmp_path, record_type):
    folder = lists.write_words(tmp_path / "raw", ending=".gz")
    made = pipeline.convert(
        input=str(folder),
        output=str(tmp_path / "out"),
        record_type=record_type,
        compression="gzip",
        num_shards=2,
        beam_args=["--direct_running_mode=in_memory"],
    )
    dataset = pipeline.open_dataset(made.folder)
    found = [one.tolist() for block in dataset.blocks("train", 3) for one in block["words"]]
    assert found == wanted_words()[3:]
    with pytest.raises(DatasetError, match="gzip, which cannot be read by record number"):
        dataset["train"]


def test_two_conversions_leave_the_same_files(text, tmp_path):
    lists.write_words(tmp_path / "raw")
    made = pipeline.convert(
        input=str(tmp_path / "raw"), output=str(tmp_path), num_shards={"train": 3, "test": 1}
    )
    assert made.manifest.splits == text.manifest.splits
    assert made.manifest.files == text.manifest.files


def test_a_run_that_was_stopped_keeps_shards_whose_index_is_whole(text, tmp_path):
    lists.write_words(tmp_path / "raw")
    options = {"input": str(tmp_path / "raw"), "output": str(tmp_path / "out")}
    from pipeline.options import PlanOptions
    from pipeline.planning import make_plan

    plan = make_plan(PlanOptions(input=options["input"], num_shards={"train": 3, "test": 1}))
    folder = tmp_path / "out" / plan.folder
    from pipeline import output
    from pipeline.write import WriteToTFRecord, write_shard

    output.prepare(str(folder), plan, overwrite=False)
    for number, element in enumerate(samples.blocks_of(plan, "train")):
        sink = WriteToTFRecord(str(folder / plan.prefix("train")))._sink
        receipt = write_shard(sink, *element, index=True)
        output.save_receipt(str(folder), receipt)
        if number == 1:
            index = receipt.path.replace(".tfrecord-", ".index-")
            Path(index).write_text("1 2\n")
    made = pipeline.convert(**options, num_shards={"train": 3, "test": 1}, with_statistics=False)
    assert made.kept == 2
    assert made.manifest.digest == text.manifest.digest


@pytest.fixture
def copy(text, tmp_path):
    return shutil.copytree(text.folder, tmp_path / "copy")


def test_a_damaged_record_is_named(copy, text):
    name = text.manifest.splits["train"][1].file
    content = bytearray((copy / name).read_bytes())
    offset = int(
        (copy / name.replace(".tfrecord-", ".index-")).read_text().split("\n")[4].split()[0]
    )
    content[offset + 15] ^= 8
    (copy / name).write_bytes(content)
    message = rf"{name}: record 4 at byte {offset}: its checksum does not fit"
    first = text.manifest.splits["train"][0].records
    dataset = pipeline.open_dataset(str(copy))
    assert dataset["train"][first + 3]
    for read in (lambda: dataset["train"][first + 4], lambda: list(dataset.blocks("train"))):
        with pytest.raises(DatasetError, match=message):
            read()
    with pytest.raises(DatasetError, match=message):
        pipeline.open_dataset(str(copy), check="shard")["train"][first]


def test_an_index_that_is_gone_or_tells_lies_is_named(copy, text):
    name = text.manifest.splits["test"][0].file.replace(".tfrecord-", ".index-")
    lines = (copy / name).read_text().splitlines()
    for content, message in (
        (lines[:-1], "tells of 14 records and .* but the shard has 15"),
        ([lines[0], *lines[2:]], "its offsets leave gaps"),
        (["zero one"], "no index of records"),
    ):
        (copy / name).write_text("\n".join(content))
        with pytest.raises(DatasetError, match=f"{name}: {message}"):
            pipeline.open_dataset(str(copy))["test"][0]
    (copy / name).unlink()
    with pytest.raises(DatasetError, match=f"{name}: is missing; repair"):
        pipeline.open_dataset(str(copy))["test"][0]


def test_a_step_outside_of_its_classes_is_named(tmp_path):
    folder = lists.write_words(tmp_path / "raw")
    tokens, lengths = lists.words(60)
    record = int(np.flatnonzero(lengths > 3)[2])
    tokens[lengths[:record].sum() + 3] = lists.CLASSES
    samples.write(folder / "train-words.idx", tokens)
    with pytest.raises(
        InputError, match=rf"lengths.idx: record {record}: words is 300 at step 3, outs"
    ):
        pipeline.convert(input=str(folder), output=str(tmp_path / "out"))


def test_a_stack_is_a_sequence_along_its_first_axis(tmp_path, recordmill):
    frames = np.arange(6 * 4 * 3 * 2).reshape(6, 4, 3, 2).astype(np.uint8)
    folder = samples.write_columns(tmp_path / "raw", {"frames": frames, "label": samples.labels(6)})
    arguments = ("--input", folder, "--shuffle", "none", "--feature", "frames=bytes,kind=sequence")
    ran = recordmill("convert", *arguments, "--output", tmp_path / "out", "--num_shards", 2)
    assert ran.code == 0, ran.err
    dataset = pipeline.open_dataset(str(tmp_path / "out"))
    assert dataset.manifest.plan.record_type == "sequence_example"
    assert (dataset["train"][2]["frames"] == frames[2]).all()
    assert dataset["train"][2]["length"] == 4
    data = next(iter(tf.data.TFRecordDataset([dataset.segments("train")[0].path])))
    read = tf.train.SequenceExample.FromString(data.numpy())
    steps = read.feature_lists.feature_list["frames"].feature
    assert [f.bytes_list.value[0] for f in steps] == [f.tobytes() for f in frames[0]]


def test_tfds_reads_examples_with_lists_and_the_context_of_sequences(tmp_path):
    import tensorflow_datasets as tfds

    lists.write_words(tmp_path / "raw")
    for kind in ("example", "sequence_example"):
        made = pipeline.convert(
            input=str(tmp_path / "raw"), output=str(tmp_path / kind), record_type=kind
        )
        read = tfds.builder_from_directory(made.folder).as_dataset(split="train")
        found = list(read.as_numpy_iterator())
        assert len(found) == 60
        if kind == "example":
            assert [record["words"].tolist() for record in found] == wanted_words()
        assert [record["length"] for record in found] == list(map(len, wanted_words()))


def test_plan_and_inspect_tell_of_lists(text, tmp_path, recordmill):
    folder = lists.write_words(tmp_path / "raw")
    ran = recordmill("plan", "--input", folder)
    assert "record   SequenceExample of" in ran.out
    assert "words: int64_list, int64 scalar, 300 classes, 2 bytes a step" in ran.out
    told = json.loads(recordmill("plan", "--input", folder, "--json").out)
    assert told["bytes_out"] == sum(
        shard.num_bytes for shards in text.manifest.splits.values() for shard in shards
    )
    assert "words: int64_list" in recordmill("inspect", text.folder).out
    shown = recordmill("inspect", text.folder, "--records", 2)
    assert shown.code == 0, shown.err
