import pytest

from launch.catalog import DATASETS, find
from launch.sources import Archive
from pipeline.errors import UsageError

CLASSES = {
    "fashion-mnist": 10,
    "mnist": 10,
    "kmnist": 10,
    "emnist-balanced": 47,
    "emnist-byclass": 62,
    "emnist-bymerge": 47,
    "emnist-digits": 10,
    "emnist-letters": 27,
    "emnist-mnist": 10,
}


def test_every_class_has_a_name() -> None:
    assert {dataset.name: len(set(dataset.labels)) for dataset in DATASETS} == CLASSES
    assert all(len(set(dataset.labels)) == len(dataset.labels) for dataset in DATASETS)


def test_what_is_downloaded_has_a_digest() -> None:
    digests = []
    for dataset in DATASETS:
        for source in dataset.sources:
            if isinstance(source, Archive):
                digests.append(source.sha256)
            else:
                assert all(file.sha256 for file in dataset.files)
        digests += [file.sha256 for file in dataset.files if not file.member]
    assert all(len(bytes.fromhex(digest)) == 32 for digest in digests)
    assert len(set(digests)) == 3 * 4 + 1


def test_members_of_the_emnist_archive() -> None:
    assert [(file.name, file.member) for file in find("emnist-letters").files] == [
        ("train-images-idx3-ubyte.gz", "gzip/emnist-letters-train-images-idx3-ubyte.gz"),
        ("train-labels-idx1-ubyte.gz", "gzip/emnist-letters-train-labels-idx1-ubyte.gz"),
        ("t10k-images-idx3-ubyte.gz", "gzip/emnist-letters-test-images-idx3-ubyte.gz"),
        ("t10k-labels-idx1-ubyte.gz", "gzip/emnist-letters-test-labels-idx1-ubyte.gz"),
    ]


def test_labels_stand_at_their_number() -> None:
    assert find("emnist-letters").labels[26] == "z"
    assert find("emnist-byclass").labels[10] == "A"
    assert find("emnist-balanced").labels[36] == "a"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fasion-mnist", "unknown dataset 'fasion-mnist'; did you mean fashion-mnist?"),
        ("EMNIST_leters", "did you mean emnist-letters?"),
        ("cifar", r"unknown dataset 'cifar'\. Known are fashion-mnist, mnist, kmnist, emnist-b"),
    ],
)
def test_an_unknown_name(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        find(name)
