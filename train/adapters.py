"""A dataset's records for other loaders than ours; none of them needs TensorFlow.

`pipeline.open_dataset(folder)["train"]` already is a sequence of records: it has a length, gives
records by number, and pickles to file names. What is here is just the class that each library
wants to see.
"""

from __future__ import annotations

from typing import Any

from pipeline.dataset import open_dataset
from pipeline.records import Arrays


def torch_dataset(path: str, split: str = "train") -> Any:
    """A map-style `torch.utils.data.Dataset` whose items are dicts of arrays.

    A `DataLoader` asks it for whole batches at once, and its workers share the system's page cache.

    Args:
      path: The dataset's folder.
      split: As in TFDS: `train`, `train[:80%]`.

    Raises:
      DatasetError: No finished dataset is there, or its shards are compressed.
    """
    from torch.utils.data import Dataset

    class Records(Dataset):  # type: ignore[misc]  # torch is not installed where mypy runs
        """Records by number."""

        def __init__(self) -> None:
            self._records = open_dataset(path)[split]

        def __len__(self) -> int:
            return len(self._records)

        def __getitem__(self, number: int) -> Arrays:
            return self._records[number]

        def __reduce__(self) -> Any:
            """Workers that are spawned open the dataset anew."""
            return torch_dataset, (path, split)

        def __getitems__(self, numbers: list[int]) -> list[Arrays]:
            return self._records.__getitems__(numbers)

    return Records()


def grain_source(path: str, split: str = "train") -> Any:
    """A Grain `RandomAccessDataSource`; `grain.MapDataset.source` takes it, too.

    Args:
      path: The dataset's folder.
      split: As in TFDS: `train`, `train[:80%]`.

    Raises:
      DatasetError: No finished dataset is there, or its shards are compressed.
    """
    return open_dataset(path)[split]
