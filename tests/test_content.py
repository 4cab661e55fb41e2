"""The digest of a dataset's content: the records of each split, and nothing else."""

import numpy as np
import pytest
import small

from pipeline import content, tfrecord, verify
from pipeline.manifest import load_manifest
from pipeline.tfrecord import Framed


def digests(folder):
    manifest = load_manifest(str(folder))
    return manifest.content_digest, manifest.digest


def test_order_shards_and_compression_do_not_show(tmp_path):
    source = small.write_source(tmp_path / "source")
    first, bytes_first = digests(small.convert(source, tmp_path / "a"))
    for number, flags in enumerate(
        (["--seed", "7"], ["--shuffle", "none"], ["--num_shards", "1"], ["--compression", "gzip"])
    ):
        again, bytes_again = digests(small.convert(source, tmp_path / str(number), *flags))
        assert again == first
        assert bytes_again != bytes_first
    other = small.write_source(tmp_path / "other", seed=1)
    assert digests(small.convert(other, tmp_path / "b"))[0] != first
    assert digests(small.convert(source, tmp_path / "c", "--validation", "5"))[0] != first


def test_repeated_records_count():
    row = np.arange(20, dtype=np.uint8)
    once, twice, thrice = (Framed.of_rows(np.tile(row, (n, 1))) for n in (1, 2, 3))
    assert len({content.content_sum(f) for f in (once, twice, thrice)}) == 3
    assert content.content_sum(Framed.of_rows(np.empty((0, 20), np.uint8))) == 0


def test_records_of_any_length():
    data = [b"", b"abc", b"a" * 100]
    joined = b"".join(map(tfrecord.frame, data))
    offsets = np.cumsum([0, *(len(one) + tfrecord.FRAME_BYTES for one in data)])
    framed = Framed(np.frombuffer(joined, np.uint8), offsets)
    parts = [
        content.content_sum(Framed.of_rows(np.frombuffer(tfrecord.frame(one), np.uint8)[None]))
        for one in data
    ]
    assert content.content_sum(framed) == sum(parts) % content.MODULUS


@pytest.mark.parametrize("deep", [False, True])
def test_deep_compares_it(tmp_path, deep, monkeypatch):
    folder = small.convert(small.write_source(tmp_path / "source"), tmp_path / "a")
    monkeypatch.setattr(verify, "content_sum", lambda framed: 1)
    found = verify.verify_dataset(str(folder), deep=deep).findings
    assert any("their digest differs" in f.problem for f in found) == deep
