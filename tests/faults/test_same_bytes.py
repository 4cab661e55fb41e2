"""Same plan, same bytes: any runner, any order, any number of times."""

import random

import pytest
import small
from apache_beam.io.filesystem import CompressionTypes

from pipeline import files
from pipeline.dataset import open_dataset
from pipeline.encode import encode_block
from pipeline.options import PlanOptions
from pipeline.planning import make_plan
from pipeline.read import Blocks, split_reader
from pipeline.write import WriteToTFRecord, write_shard

RUNNERS = {
    "in memory": ["--direct_running_mode=in_memory"],
    "two processes": ["--direct_running_mode=multi_processing", "--direct_num_workers=2"],
    "job service": [
        "--runner=PortableRunner",
        "--job_endpoint=embed",
        "--environment_type=LOOPBACK",
    ],
}


@pytest.mark.slow
def test_runners(tmp_path):
    source = small.write_source(tmp_path / "source", gzip=True)
    flags = ("--on_bad_record", "skip", "--check_duplicates")
    made = {
        (name, again): small.content(
            small.convert(source, tmp_path / f"{number}-{again}", *flags, *beam_flags)
        )
        for number, (name, beam_flags) in enumerate(RUNNERS.items())
        for again in range(2)
    }
    wanted = made["in memory", 0]
    assert [name for name, found in made.items() if found != wanted] == []
    print(f"\n{len(made)} conversions by {', '.join(RUNNERS)}: the same {len(wanted)} files")


def test_shards_in_random_order_and_each_twice(tmp_path):
    source = small.write_source(tmp_path / "source")
    folder = small.convert(source, tmp_path / "out")
    plan = make_plan(PlanOptions(input=str(source), num_shards={"train": 3, "test": 2}))
    shards = [shard for split in plan.splits for shard in split.shards()] * 2
    random.Random(3).shuffle(shards)
    again = tmp_path / "again"
    again.mkdir()
    for shard in shards:
        sink = WriteToTFRecord(
            files.join(str(again), plan.prefix(shard.split)),
            compression_type=CompressionTypes.UNCOMPRESSED,
        )._sink
        reader = split_reader(plan, plan.split(shard.split).source, {})
        # Another size of blocks, too.
        blocks = Blocks(shard.start, shard.stop, 3, reader)
        write_shard(sink, shard, blocks.map(lambda block: encode_block(plan.features, block)))
    whole = small.content(folder)
    assert small.content(again) == {k: v for k, v in whole.items() if ".tfrecord" in k}


def test_the_concatenation_is_independent_of_the_number_of_shards(tmp_path):
    source = small.write_source(tmp_path / "source")
    joined = set()
    for number in (1, 2, 7, 30):
        folder = small.convert(source, tmp_path / str(number), "--num_shards", str(number))
        assert open_dataset(str(folder)).splits == {"train": 30, "test": 10}
        joined.add(b"".join(p.read_bytes() for p in sorted(folder.glob("small-train*"))))
    assert len(joined) == 1
