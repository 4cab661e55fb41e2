"""Other loaders over the same records, with the real libraries, TensorFlow absent."""

import pytest
from striped import make_dataset
from test_backends import ELSEWHERE, run

pytestmark = pytest.mark.slow

TORCH = """
import pickle, sys
import numpy as np, torch
from pipeline import open_dataset
from train.adapters import torch_dataset

records = torch_dataset(sys.argv[1], "train")
assert isinstance(records, torch.utils.data.Dataset)
assert len(records) == 200
wanted = open_dataset(sys.argv[1])["train"][:]
for workers in (0, 2):
    loader = torch.utils.data.DataLoader(
        records, batch_size=64, num_workers=workers,
        multiprocessing_context="spawn" if workers else None,
    )
    found = list(loader)
    assert [len(batch["label"]) for batch in found] == [64, 64, 64, 8]
    images = torch.cat([batch["image"] for batch in found])
    assert images.dtype == torch.uint8 and tuple(images.shape) == (200, 6, 5)
    assert (images.numpy() == wanted["image"]).all()
    assert (torch.cat([b["label"] for b in found]).numpy() == wanted["label"]).all()
mixed = torch.utils.data.DataLoader(
    records, batch_size=200, shuffle=True, generator=torch.Generator().manual_seed(0)
)
(batch,) = mixed
assert sorted(map(bytes, batch["image"].numpy())) == sorted(map(bytes, wanted["image"]))
assert (batch["image"].numpy() != wanted["image"]).any()
part, rest = torch.utils.data.random_split(torch_dataset(sys.argv[1], "train[:50%]"), [80, 20])
assert (len(part), len(rest)) == (80, 20)
print("fine")
"""

GRAIN = """
import pickle, sys
import grain.python, numpy as np
from pipeline import open_dataset
from train.adapters import grain_source

source = grain_source(sys.argv[1], "train")
wanted = open_dataset(sys.argv[1])["train"][:]
data = grain.python.MapDataset.source(source).shuffle(seed=1).batch(50)
batches = [data[i] for i in range(len(data))]
images = np.concatenate([batch["image"] for batch in batches])
assert images.shape == (200, 6, 5) and images.dtype == np.uint8
assert sorted(map(bytes, images)) == sorted(map(bytes, wanted["image"]))
assert (images != wanted["image"]).any()

loader = grain.python.DataLoader(
    data_source=source,
    sampler=grain.python.SequentialSampler(200, grain.python.NoSharding()),
    operations=[grain.python.Batch(100)],
    worker_count=0,
)
found = list(loader)
assert (np.concatenate([b["label"] for b in found]) == wanted["label"]).all()
again = pickle.loads(pickle.dumps(source))
assert (again[7]["image"] == wanted["image"][7]).all()
print("fine")
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    assert ELSEWHERE.exists(), "make backends sets up JAX, PyTorch and Grain"
    return make_dataset(tmp_path_factory.mktemp("striped"))


def test_pytorch_dataset(dataset):
    assert run("torch", dataset, script=TORCH) == "fine\n"


def test_grain_source(dataset):
    assert run("jax", dataset, script=GRAIN) == "fine\n"
