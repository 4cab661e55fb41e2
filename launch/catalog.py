"""The datasets that `recordmill fetch` knows: their files, sources, digests and label names.

Digests of the publishers' files were taken from the checksum lists of TensorFlow Datasets 4.9.10
(`url_checksums/`). Those of the IDX files inside were computed here, from Debian's package, whose
.gz files differ from Zalando's in the header alone: with the name and time put back there, the
test labels had the publisher's MD5.
"""

from __future__ import annotations

import difflib
import string
from dataclasses import dataclass

from pipeline.errors import UsageError

from .sources import Archive, DebianPackage, Mirror, Source, SourceFile

TRAIN_IMAGES = "train-images-idx3-ubyte.gz"
TRAIN_LABELS = "train-labels-idx1-ubyte.gz"
TEST_IMAGES = "t10k-images-idx3-ubyte.gz"
TEST_LABELS = "t10k-labels-idx1-ubyte.gz"
NAMES = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)


@dataclass(frozen=True)
class KnownDataset:
    """What `fetch` needs to know of a dataset of the MNIST family.

    Attributes:
      name: As the user types it.
      description: One line.
      labels: Names of the classes, by label.
      files: The four files, named `NAMES`.
      sources: Where to look, in this order.
    """

    name: str
    description: str
    labels: tuple[str, ...]
    files: tuple[SourceFile, ...]
    sources: tuple[Source, ...]

    @property
    def identifier(self) -> str:
        """The name as it stands in file names of a converted dataset."""
        return self.name.replace("-", "_")


def _files(*digests: str, idx: tuple[str, ...] = ("", "", "", "")) -> tuple[SourceFile, ...]:
    return tuple(map(SourceFile, NAMES, digests, idx))


def _emnist(split: str, description: str, labels: str) -> KnownDataset:
    members = (f"gzip/emnist-{split}-{name.replace('t10k', 'test')}" for name in NAMES)
    return KnownDataset(
        name=f"emnist-{split}",
        description=f"EMNIST {split}: {description}. Images are stored transposed: swap rows and "
        "columns to see them upright.",
        labels=tuple(labels) if split != "letters" else ("N/A", *labels),
        files=tuple(SourceFile(n, member=m) for n, m in zip(NAMES, members, strict=True)),
        sources=(
            Archive(
                "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
                "fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e",
            ),
        ),
    )


# Upper and lower case of the other letters look alike and are one class, as the upper case.
_MERGED = string.digits + string.ascii_uppercase + "abdefghnqrt"

DATASETS = (
    KnownDataset(
        name="fashion-mnist",
        description="Zalando's article images: 60,000 and 10,000 of 28x28 grey pixels, 10 classes.",
        labels=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        files=_files(
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            idx=(
                "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
                "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
                "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
                "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            ),
        ),
        sources=(
            Mirror("https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/"),
            # The address in Zalando's README; S3 serves such sites without TLS only.
            Mirror("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"),
            DebianPackage("dataset-fashion-mnist", "usr/share/datasets/fashion-mnist"),
        ),
    ),
    KnownDataset(
        name="mnist",
        description="Handwritten digits: 60,000 and 10,000 of 28x28 grey pixels, 10 classes.",
        labels=tuple(string.digits),
        files=_files(
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
        # The author's own page has long refused downloads, so it comes last.
        sources=(
            Mirror("https://storage.googleapis.com/cvdf-datasets/mnist/"),
            Mirror("https://ossci-datasets.s3.amazonaws.com/mnist/"),
            Mirror("https://yann.lecun.com/exdb/mnist/"),
        ),
    ),
    KnownDataset(
        name="kmnist",
        description="Kuzushiji-MNIST, cursive hiragana: 60,000 and 10,000 of 28x28 grey pixels, "
        "10 classes.",
        labels=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        files=_files(
            "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
            "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
            "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
        ),
        sources=(
            Mirror("https://codh.rois.ac.jp/kmnist/dataset/kmnist/"),
            Mirror("http://codh.rois.ac.jp/kmnist/dataset/kmnist/"),
        ),
    ),
    _emnist("balanced", "digits and letters, 47 classes of equal size", _MERGED),
    _emnist(
        "byclass",
        "digits and letters, 62 classes",
        string.digits + string.ascii_uppercase + string.ascii_lowercase,
    ),
    _emnist("bymerge", "digits and letters, 47 classes", _MERGED),
    _emnist("digits", "digits, 10 classes of equal size", string.digits),
    _emnist(
        "letters",
        "letters of either case, 26 classes labelled 1 to 26 (0 is not used)",
        string.ascii_lowercase,
    ),
    _emnist("mnist", "digits chosen and sized as in MNIST, 10 classes", string.digits),
)


def find(name: str) -> KnownDataset:
    """The dataset of a name; upper case and underscores are accepted.

    Raises:
      UsageError: It is not known.

    >>> find("Fashion_MNIST").name
    'fashion-mnist'
    """
    known = {dataset.name: dataset for dataset in DATASETS}
    wanted = name.lower().replace("_", "-")
    if wanted in known:
        return known[wanted]
    near = difflib.get_close_matches(wanted, known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else "."
    raise UsageError(f"unknown dataset {name!r}{hint} Known are {', '.join(known)}")
