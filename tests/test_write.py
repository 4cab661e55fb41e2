import gzip
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.io.filesystem import CompressionTypes
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import blocks_of, joined, keep, planned, run_beam, write_mnist, write_shards

from pipeline import plan as plan_module
from pipeline.errors import OutputError
from pipeline.plan import Shard
from pipeline.read import Blocks
from pipeline.tfrecord import crc32c
from pipeline.write import FileDigest, Receipt, WriteToTFRecord, digest_file, write_shard

KINDS = {"": CompressionTypes.UNCOMPRESSED, ".gz": CompressionTypes.GZIP}


@given(st.lists(st.binary(max_size=50), max_size=6))
def test_a_digest_of_pieces(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    with ThreadPoolExecutor(1) as pool:
        digest = FileDigest(pool)
        for piece in pieces:
            digest.update(piece)
        found = digest.finish()
    assert found == (len(whole), hashlib.sha256(whole).hexdigest(), f"{crc32c(whole):08x}")


def test_files_equal_beam_s_own(
    mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte for byte what `beam.io.WriteToTFRecord` writes of the same records in the same order,
    uncompressed and in gzip, each shard of several blocks."""
    monkeypatch.setattr(plan_module, "BLOCK_BYTES", 400)
    plan = planned(mnist, num_shards=3)
    elements = blocks_of(plan, "train")
    assert all(len(blocks) > 2 for _, blocks in elements)

    def build(root: beam.Pipeline) -> None:
        shards = root | "Shards" >> beam.Create(elements)
        for ending, kind in KINDS.items():
            ours = shards | f"Ours{ending}" >> WriteToTFRecord(
                str(tmp_path / "ours"), file_name_suffix=ending, compression_type=kind
            )
            ours | f"Keep{ending}" >> beam.Map(keep)
            for shard, blocks in elements:
                records = [record for framed in blocks for record in framed.messages()]
                (
                    root
                    | f"Records{shard.index}{ending}" >> beam.Create([records], reshuffle=False)
                    | f"Each{shard.index}{ending}" >> beam.FlatMap(list)
                    | f"Beam{shard.index}{ending}"
                    >> beam.io.WriteToTFRecord(
                        str(tmp_path / f"beam-{shard.index}"),
                        file_name_suffix=ending,
                        num_shards=1,
                        shard_name_template="",
                        compression_type=kind,
                    )
                )

    receipts: list[Receipt] = run_beam(build)
    for ending in KINDS:
        for index in range(3):
            ours = tmp_path / f"ours-0000{index}-of-00003{ending}"
            content = ours.read_bytes()
            assert content == (tmp_path / f"beam-{index}{ending}").read_bytes()
            receipt = next(receipt for receipt in receipts if receipt.path == str(ours))
            assert (receipt.num_bytes, receipt.sha256, receipt.crc32c) == digest_file(str(ours))
            assert receipt.records == elements[index][0].count
    assert len(receipts) == 6


def test_it_is_a_beam_transform_with_beam_s_names(tmp_path: Path, mnist: Path) -> None:
    transform = WriteToTFRecord(
        str(tmp_path / "a"), file_name_suffix=".rec", shard_name_template="_SSSS_NN"
    )
    assert isinstance(transform, beam.io.WriteToTFRecord)
    shard, blocks = blocks_of(planned(mnist, num_shards=2), "train")[1]
    receipt = write_shard(transform._sink, shard, blocks)
    assert receipt.path == str(tmp_path / "a_0001_02.rec")


@pytest.mark.parametrize(
    ("suffix", "kind", "zipped"),
    [
        ("", CompressionTypes.AUTO, False),
        (".gz", CompressionTypes.AUTO, True),
        (".gz", CompressionTypes.UNCOMPRESSED, False),
        ("", CompressionTypes.GZIP, True),
    ],
)
def test_compression_is_decided_as_in_beam(
    mnist: Path, tmp_path: Path, suffix: str, kind: str, zipped: bool
) -> None:
    plan = planned(mnist, num_shards=1)
    write_shards(plan, tmp_path)
    sink = WriteToTFRecord(
        str(tmp_path / "a"), file_name_suffix=suffix, compression_type=kind
    )._sink
    receipt = write_shard(sink, *blocks_of(plan, "train")[0])
    content = Path(receipt.path).read_bytes()
    assert (content[:2] == b"\x1f\x8b") == zipped
    assert (gzip.decompress(content) if zipped else content) == joined(plan, tmp_path, "train")
    assert digest_file(receipt.path) == (receipt.num_bytes, receipt.sha256, receipt.crc32c)


@given(num_shards=st.integers(2, 60), seed=st.integers(0, 3))
@settings(max_examples=20)
def test_the_concatenation_does_not_depend_on_the_number_of_shards(
    tmp_path_factory: Any, num_shards: int, seed: int
) -> None:
    """Law 3."""
    folder = tmp_path_factory.mktemp("law")
    mnist = write_mnist(folder / "raw")
    one, many = (planned(mnist, num_shards=n, seed=seed) for n in (1, num_shards))
    write_shards(one, folder / "one")
    write_shards(many, folder / "many")
    for split in ("train", "test"):
        assert joined(one, folder / "one", split) == joined(many, folder / "many", split)


def failing(error: BaseException) -> Blocks[Any]:
    def read(start: int, stop: int) -> Any:
        raise error

    return Blocks(0, 5, 5, read)


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()], ids=repr)
def test_a_shard_that_fails_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    sink = WriteToTFRecord(str(tmp_path / "a"))._sink
    with pytest.raises(type(error)):
        write_shard(sink, Shard("train", 0, 1, 0, 5), failing(error))
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_system_is_told_in_words(tmp_path: Path) -> None:
    sink = WriteToTFRecord(str(tmp_path / "a"))._sink
    full = OSError(28, os.strerror(28))
    with pytest.raises(
        OutputError, match=r"a-00000-of-00001: cannot be written: No space left on device; mend"
    ):
        write_shard(sink, Shard("train", 0, 1, 0, 5), failing(full))
    assert list(tmp_path.iterdir()) == []


def test_blocks_that_hold_too_few_records(mnist: Path, tmp_path: Path) -> None:
    _, blocks = blocks_of(planned(mnist, num_shards=1), "train")[0]
    sink = WriteToTFRecord(str(tmp_path / "a"))._sink
    with pytest.raises(OutputError, match=r"50 records were written of 51 planned"):
        write_shard(sink, Shard("train", 0, 1, 0, 51), blocks)
