import io
import shutil

import lists
import numpy as np
import pytest
import samples

import pipeline
from pipeline import checks_varying, tfrecord
from pipeline.checks import Findings
from pipeline.repair import repair_dataset
from pipeline.verify import verify_dataset


@pytest.fixture(scope="module", params=["sequence_example", "example", "gzip"])
def made(request, tmp_path_factory):
    """A dataset, its source beside it. Not to be changed: copy it."""
    folder = tmp_path_factory.mktemp(request.param)
    options = {"compression": "gzip"} if request.param == "gzip" else {"record_type": request.param}
    lists.write_words(folder / "raw", 40, 10)
    pipeline.convert(input=str(folder / "raw"), output=str(folder / "out"), num_shards=2, **options)
    return folder


@pytest.fixture
def copy(made, tmp_path):
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"


def dataset(folder):
    return folder / "out" / "text" / "1.0.0"


def problems(folder, **options):
    report = verify_dataset(str(dataset(folder)), **options)
    return [(f.file, f.record) for f in report.findings], [f.problem for f in report.findings]


def test_a_whole_dataset_has_no_findings(made):
    report = verify_dataset(str(dataset(made)), source=str(made / "raw"), deep=True)
    assert report.findings == ()
    assert report.records == 50


def test_any_flipped_byte_is_found_and_repaired(copy):
    random = np.random.default_rng(0)
    paths = sorted(dataset(copy).glob("*-train.*-00000*"))
    assert len(paths) == 2
    for path in paths:
        content = bytearray(path.read_bytes())
        for place in random.integers(0, len(content), 12).tolist():
            content[place] ^= 1
            path.write_bytes(content)
            found, _ = problems(copy)
            assert path.name in {file for file, _ in found}, place
            content[place] ^= 1
        before = bytes(content)
        content[-3] ^= 1
        path.write_bytes(content)
        repaired = repair_dataset(str(dataset(copy)), str(copy / "raw"))
        assert path.name in repaired.rebuilt
        assert repaired.report.findings == ()
        assert path.read_bytes() == before


def test_a_changed_source_is_told(copy):
    tokens, _ = lists.words(40)
    tokens[5] ^= 1
    samples.write(copy / "raw" / "train-words.idx", tokens)
    _, found = problems(copy, source=str(copy / "raw"), deep=True)
    assert any("not what the source's record" in problem for problem in found)


def checked(plan, framed, **options):
    found = Findings("shard")
    stream = io.BytesIO(framed.data.tobytes() + options.pop("tail", b""))
    read = checks_varying.check_blocks(
        stream, plan, framed.offsets, options.pop("wanted", None), found, deep=True
    )
    return read, [(f.problem, f.record) for f in found.finish()]


@pytest.fixture
def encoded(tmp_path):
    folder = lists.write_words(tmp_path / "raw", 12, 3)
    plan = samples.planned(folder, num_shards=1, shuffle="none")
    _, blocks = samples.blocks_of(plan, "train")[0]
    return plan, next(iter(blocks))


def forged(framed, change):
    """The records with one byte of the second changed, and a checksum that fits."""
    data = framed.data.copy()
    start, stop = framed.offsets[1:3]
    message = bytearray(data[start + 12 : stop - 4].tobytes())
    change(message)
    data[start:stop] = np.frombuffer(tfrecord.frame(bytes(message)), np.uint8)
    return tfrecord.Framed(data, framed.offsets)


def test_records_that_fit_their_checksums_are_looked_into(encoded):
    plan, framed = encoded
    assert checked(plan, framed)[1] == []

    def label(message):
        message[message.index(b"label") + 11] = 200 - 73

    assert checked(plan, forged(framed, label))[1] == [
        ("label is 127, which its feature does not allow", 1)
    ]

    def length(message):
        message[message.index(b"length") + 12] += 1

    (problem, record), *_ = checked(plan, forged(framed, length))[1]
    assert record == 1
    assert "length is" in problem
    assert "steps" in problem

    def name(message):
        message[message.index(b"words")] = ord("W")

    assert checked(plan, forged(framed, name))[1] == [("its features are label, length, Words", 1)]

    def size(message):
        message[message.index(b"words") + 6] ^= 1

    assert checked(plan, forged(framed, size))[1]


def test_lists_without_a_single_value_are_right(tmp_path):
    folder = lists.write_words(tmp_path / "raw")
    for split, count in (("train", 3), ("test", 1)):
        samples.write(folder / f"{split}-words.idx", np.zeros(0, np.int32))
        samples.write(folder / f"{split}-lengths.idx", np.zeros(count, np.int16))
        samples.write(folder / f"{split}-label.idx", samples.labels(count))
    plan = samples.planned(folder)
    ((_, blocks),) = samples.blocks_of(plan, "test")
    (framed,) = blocks
    assert checked(plan, framed)[1] == []


def test_what_is_missing_or_too_much_is_told(encoded):
    plan, framed = encoded
    short = tfrecord.Framed(framed.data[:-1], framed.offsets)
    assert checked(plan, short)[1] == [("the file ends inside of this record or before it", 11)]
    (_, content), found = checked(plan, framed, tail=b"x")
    assert found == [("bytes stand behind the last record", None)]
    assert content
    assert checked(plan, framed, wanted=[framed])[1] == []


def test_the_command_knows_lists(made, recordmill):
    ran = recordmill("verify", dataset(made))
    assert ran.code == 0, ran.err
