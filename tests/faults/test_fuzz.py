"""Readers given anything: an exact result or this package's own error, and no memory beyond it."""

import gzip
import io
import random
import struct
import time
import tracemalloc

import numpy as np
import pytest
from crc32c import crc32c

from pipeline import checks, files, idx, tfrecord
from pipeline.errors import DatasetError, InputError

QUICK, MANY = 4_000, 500_000
WORDS = (b"\xff" * 4, bytes(4), b"\0\0\0\1", b"\x7f\xff\xff\xff")


def mutate(rng, data):
    """Flips, cuts, repeats, inserts and overwrites, a few at a time."""
    out = bytearray(data)
    for _ in range(rng.randint(0, 3)):
        place = rng.randrange(len(out) + 1)
        kind = rng.randrange(6)
        if kind == 0 and place < len(out):
            out[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del out[place:]
        elif kind == 2:
            out[place:place] = out[: rng.randrange(40)]
        elif kind == 3:
            out[place:place] = rng.randbytes(rng.randrange(9))
        elif kind == 4:
            out[place : place + 4] = rng.choice(WORDS)
        elif len(out) >= 12:
            length = rng.choice([rng.randrange(64), 1 << rng.randrange(63)])
            packed = struct.pack("<Q", length)
            out[:12] = packed + struct.pack("<I", tfrecord.mask(crc32c(packed)))
    return bytes(out)


def fuzz_tfrecord(inputs, seed):
    rng = random.Random(seed)
    files = ([b""], [b"a" * 30, b"", b"xyz"], [bytes(9)])
    seeds = [b"".join(map(tfrecord.frame, data)) for data in files]
    results = {"exact": 0, "refused": 0}
    for _ in range(inputs):
        data = mutate(rng, rng.choice(seeds))
        found = checks.Findings("fuzzed")
        checks.check_records(io.BytesIO(data), found, deep=True, seen=lambda n: None)
        try:
            records = [r.data for r in tfrecord.read_records(io.BytesIO(data), "fuzzed")]
        except DatasetError:
            results["refused"] += 1
            assert found.total
        else:
            # What is read, framed again, is the file.
            assert b"".join(map(tfrecord.frame, records)) == data
            results["exact"] += 1
    return results


def fuzz_idx(inputs, seed, monkeypatch, tmp_path):
    rng = random.Random(seed)
    raw = [
        idx.encode_header("uint8", (3, 2, 2)) + bytes(range(12)),
        idx.encode_header(">f4", (2,)) + np.array([1, np.nan], ">f4").tobytes(),
        idx.encode_header("uint8", (0, 5)),
    ]
    seeds = raw + [gzip.compress(data, mtime=0) for data in raw]
    content = {}
    monkeypatch.setattr(files, "open_read", lambda path: io.BytesIO(content["now"]))
    target = str(tmp_path / "inflated")
    results = {"exact": 0, "refused": 0}
    for _ in range(inputs):
        data = content["now"] = mutate(rng, rng.choice(seeds))
        try:
            header, zipped = idx.read_header("fuzzed", len(data))
            if zipped:
                idx.inflate("fuzzed", target, header)
                with open(target, "rb") as stream:
                    data = stream.read()
        except InputError:
            results["refused"] += 1
            continue
        # An accepted file is its header and just the values that it promises.
        assert len(data) == header.file_bytes
        assert data.startswith(idx.encode_header(header.dtype, header.shape))
        results["exact"] += 1
    return results


@pytest.mark.parametrize("inputs", [QUICK, pytest.param(MANY, marks=pytest.mark.slow)])
def test_the_tfrecord_reader(inputs):
    results = fuzz_tfrecord(inputs, inputs)
    print(f"\nTFRecord reader: {inputs} inputs: {results}")
    assert min(results.values()) > inputs // 50


@pytest.mark.parametrize("inputs", [QUICK // 2, pytest.param(MANY, marks=pytest.mark.slow)])
def test_the_idx_reader(inputs, monkeypatch, tmp_path):
    started = time.monotonic()
    results = fuzz_idx(inputs, inputs, monkeypatch, tmp_path)
    print(f"\nIDX reader: {inputs} inputs in {time.monotonic() - started:.0f} s: {results}")
    assert min(results.values()) > inputs // 50


def test_a_promise_of_much_takes_no_memory(tmp_path):
    packed = struct.pack("<Q", 1 << 50)
    path = tmp_path / "promise"
    path.write_bytes(packed + struct.pack("<I", tfrecord.mask(crc32c(packed))) + bytes(100))
    tracemalloc.start()
    try:
        with path.open("rb") as stream, pytest.raises(DatasetError, match="cut off"):
            list(tfrecord.read_records(stream, "promise"))
        found = checks.Findings("promise")
        with path.open("rb") as stream:
            checks.check_records(stream, found, deep=True, seen=lambda n: None)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
    assert "the file is cut off" in str(found.finish()[0])
