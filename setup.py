"""Metadata of the distribution; versions are pinned in requirements.lock."""

from pathlib import Path

from setuptools import setup

TRAIN = ["tensorflow~=2.21.0", "keras>=3.10", "matplotlib>=3.9"]
TRANSFORM = ["tensorflow-transform~=1.21.0", "tfx-bsl~=1.21.0", *TRAIN]
DEV = [
    "boto3>=1.40",
    "flask>=3.1",
    "flask-cors>=6",
    "gcp-storage-emulator>=2024.8",
    "hypothesis>=6.100",
    "kubernetes>=32",
    "moto[s3]>=5.1",
    "mypy>=1.15",
    "psutil>=6",
    "pytest>=8",
    "pytest-xdist>=3.6",
    "ruff>=0.9",
    "setuptools>=77",
    "tensorflow-datasets>=4.9.8",
    "tfrecord>=1.14",
    "types-protobuf",
    "types-tqdm",
]

setup(
    name="recordmill",
    version="0.1.0",
    description="IDX arrays to sharded TFRecords on Apache Beam, and on to training",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    packages=["launch", "pipeline", "train"],
    entry_points={
        "console_scripts": [
            "recordmill = launch.cli:main",
            "recordmill-worker = launch.boot:main",
        ]
    },
    # What a worker needs to convert. TensorFlow is not among it.
    install_requires=[
        "apache-beam~=2.77.0",
        "crc32c>=2.7",
        "isal>=1.7",
        "numpy>=1.26",
        "protobuf>=4.25",
        "requests>=2.32",
        "tensorflow-metadata~=1.21.0",
        "tqdm>=4.66",
        "xxhash>=3.5",
    ],
    extras_require={
        "train": TRAIN,
        "transform": TRANSFORM,
        "cuda": [*TRAIN, "tensorflow[and-cuda]~=2.21.0"],
        "gcp": ["apache-beam[gcp]~=2.77.0"],
        "aws": ["apache-beam[aws]~=2.77.0"],
        "dev": [*TRANSFORM, *DEV],
    },
)
