"""A finished dataset copied to a local disk: shards in an object store cannot be mapped there.

A shard takes its name when its bytes are those of the manifest; the manifest is copied last. So
what is there already is kept, and a copy that was stopped goes on.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from . import files, manifest
from .dataset import find_dataset
from .errors import DatasetError
from .manifest import MANIFEST, ShardEntry
from .write import digest_file

COPY_BYTES = 8 << 20
# Copying waits for the store nearly all the time.
COPY_THREADS = 8
ATTEMPTS = 3


def _copy(source: str, target: str) -> None:
    with files.open_read(source) as stream, files.open_write(target) as copy:
        while data := stream.read(COPY_BYTES):
            copy.write(data)


def _is(path: str, shard: ShardEntry) -> bool:
    return os.path.isfile(path) and digest_file(path)[:2] == (shard.num_bytes, shard.sha256)


def _stage_shard(folder: str, target: str, shard: ShardEntry) -> None:
    path = os.path.join(target, shard.file)
    if _is(path, shard):
        return
    partial = f"{path}.partial"
    for _ in range(ATTEMPTS):
        _copy(files.join(folder, shard.file), partial)
        if _is(partial, shard):
            os.replace(partial, path)
            return
    os.unlink(partial)
    raise DatasetError(
        f"{files.join(folder, shard.file)}: {ATTEMPTS} copies of it differ from the manifest; "
        "rebuild it with: recordmill repair"
    )


def stage(path: str, to: str) -> str:
    """Copies a dataset into `<to>/<name>/<version>`, each shard checked by its SHA-256.

    Args:
      path: The dataset's folder, or one above, in an object store or not.
      to: A local folder; what it holds of this dataset already is kept.

    Returns:
      The folder of the copy.

    Raises:
      DatasetError: No finished dataset is there, or a shard is damaged.
    """
    folder = find_dataset(path)
    content = files.read_bytes(files.join(folder, MANIFEST))
    contents = manifest.parse_manifest(content, files.join(folder, MANIFEST))
    target = os.path.join(to, *contents.plan.folder.split("/"))
    last = os.path.join(target, MANIFEST)
    if os.path.isfile(last) and files.read_bytes(last) != content:
        os.unlink(
            last
        )  # of another dataset of this name; its shards are replaced where they differ
    shards = [shard for split in contents.splits.values() for shard in split]
    os.makedirs(target, exist_ok=True)
    with ThreadPoolExecutor(COPY_THREADS) as pool:
        list(pool.map(lambda shard: _stage_shard(folder, target, shard), shards))
    files.write_bytes(last, content)
    return target
