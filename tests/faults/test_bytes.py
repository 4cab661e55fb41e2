"""One flipped byte anywhere is found and mended; so are files cut, swapped, doubled or gone."""

import random
from pathlib import Path

import pytest
import small

from launch.cli import main
from pipeline import repair, verify
from pipeline.errors import DatasetError
from pipeline.manifest import MANIFEST, MANIFEST_COPY, load_manifest, parse_manifest


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return small.write_source(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory):
    folder = small.convert(source, tmp_path_factory.mktemp("whole"))
    return folder, small.content(folder)


@pytest.fixture
def dataset(whole, tmp_path):
    for name, data in whole[1].items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def flip(data, place, mask):
    return data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :]


def is_found(folder, manifest, name):
    """Just that part of `verify` that looks at this file."""
    if name in (MANIFEST, MANIFEST_COPY):
        path = Path(folder) / name
        with pytest.raises(DatasetError):
            parse_manifest(path.read_bytes(), str(path))
        return True
    for shard, entry in verify.all_shards(manifest):
        if entry.file == name:
            (checked,) = verify.check_shards_content(folder, manifest, [(shard, entry)], workers=1)
            return bool(checked.findings)
    return any(finding.file == name for finding in verify.check_metadata(folder, manifest))


def flip_all(dataset, content, step, seed):
    """Flips every `step`-th byte of every file in turn; the number of flips, all of them found."""
    manifest, rng, flips = load_manifest(str(dataset)), random.Random(seed), 0
    for name, data in content.items():
        for place in range(rng.randrange(step), len(data), step):
            mask = rng.randrange(1, 256)
            (dataset / name).write_bytes(flip(data, place, mask))
            assert is_found(str(dataset), manifest, name), (name, place, mask)
            flips += 1
        (dataset / name).write_bytes(data)
    return flips


def test_flipped_bytes_are_found(dataset, whole):
    assert flip_all(dataset, whole[1], 101, 0) > 100


@pytest.mark.slow
def test_every_flipped_byte_is_found(dataset, whole):
    flips = flip_all(dataset, whole[1], 1, 1)
    assert flips == sum(map(len, whole[1].values()))
    print(f"\n{flips} bytes of {len(whole[1])} files flipped one by one, each found by verify")


def mend(dataset, content, source, name, place, mask):
    (dataset / name).write_bytes(flip(content[name], place, mask))
    assert main(["verify", str(dataset), "--quiet"]) == 1
    done = repair.repair_dataset(str(dataset), str(source))
    assert (done.rebuilt, done.report.findings) == ((name,), ())
    assert small.content(dataset) == content


def test_a_flipped_byte_is_mended(dataset, whole, source):
    for name in ("small-test.tfrecord-00001-of-00002", "manifest.json", "label.labels.txt"):
        mend(dataset, whole[1], source, name, len(whole[1][name]) // 2, 1)


@pytest.mark.slow
def test_flipped_bytes_of_every_file_are_mended(dataset, whole, source):
    rng, flips = random.Random(2), 0
    for name, data in whole[1].items():
        for place in (0, len(data) - 1, *(rng.randrange(len(data)) for _ in range(2))):
            mend(dataset, whole[1], source, name, place, rng.randrange(1, 256))
            flips += 1
    print(f"\n{flips} bytes in all {len(whole[1])} files flipped, each mended by repair")


def test_cut_swapped_missing_doubled(dataset, whole, source):
    content, one = whole[1], "small-train.tfrecord-00000-of-00003"
    two = one.replace("00000", "00001", 1)
    breaks = {
        "cut": {one: content[one][:-7]},
        "empty": {two: b""},
        "swapped": {one: content[two], two: content[one]},
        "missing": {one: None, two: None},
        "twice in one file": {one: content[one] * 2},
        "twice under another name": {"small-train.tfrecord-00003-of-00003": content[one]},
        "left behind by a run with other shards": {"small-train.tfrecord-00000-of-00001": b""},
        "both and the manifest": {one: b"x", MANIFEST: None},
    }
    for case, changes in breaks.items():
        for name, data in changes.items():
            (dataset / name).unlink(missing_ok=True)
            if data is not None:
                (dataset / name).write_bytes(data)
        assert main(["verify", str(dataset), "--quiet"]) == 1, case
        assert main(["repair", str(dataset), "--source", str(source), "--quiet"]) == 0, case
        assert small.content(dataset) == content, case


def test_both_manifests_gone_is_told(dataset):
    (dataset / MANIFEST).unlink()
    (dataset / MANIFEST_COPY).write_bytes(b"{")
    with pytest.raises(DatasetError, match="nothing is left that says what this dataset was"):
        verify.verify_dataset(str(dataset))
