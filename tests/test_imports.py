"""Which module may import which, and what a command may not pay for."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from samples import write_mnist

ROOT = Path(__file__).parent.parent
# What turns text into numbers runs in the graph of the trainer and of the server, too.
TEXT = {"tokenizer.py", "tokens.py", "vocabulary.py"}
HEAVY = {"apache_beam", "tensorflow", "keras", "matplotlib", "tensorflow_transform", "jax", "torch"}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(path: Path, *, top_only: bool = False) -> Iterator[str]:
    """The full names of what a module imports; relative ones resolved."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = ".".join(path.relative_to(ROOT).parts[: -node.level]) if node.level else ""
            base = ".".join(filter(None, (package, node.module)))
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def packages(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported(path)}


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [("pipeline", {"launch", "train"}), ("train", {"launch", "apache_beam"}), ("launch", set())],
)
def test_arrows_point_one_way(package: str, forbidden: set[str]) -> None:
    assert len(modules(package)) > 10
    found = {path.name: packages(path) & forbidden for path in modules(package)}
    assert {name: bad for name, bad in found.items() if bad} == {}


def test_only_preprocessing_imports_tensorflow() -> None:
    users = {path.name for path in modules("pipeline") if "tensorflow" in packages(path)}
    assert users <= {"preprocess.py", "preprocess_default.py", *TEXT}


def without_beam(path: Path, seen: set[Path]) -> set[Path]:
    """A module of ours and all of ours that it imports when it is imported."""
    if path in seen:
        return seen
    seen.add(path)
    for name in imported(path, top_only=True):
        target = ROOT / (name.replace(".", "/") + ".py")
        if target.exists():
            without_beam(target, seen)
    return seen


def test_the_trainer_reaches_no_beam() -> None:
    """Not through a module of the pipeline, either."""
    reached: set[Path] = set()
    for path in modules("train"):
        for name in imported(path):
            target = ROOT / (name.replace(".", "/") + ".py")
            if name.startswith("pipeline.") and target.exists():
                without_beam(target, reached)
    assert ROOT / "pipeline" / "dataset.py" in reached
    beam = {
        path.name
        for path in reached
        if any(name.startswith("apache_beam") for name in imported(path, top_only=True))
    }
    assert beam == set()


def loaded(code: str) -> set[str]:
    """Which heavy packages a process has after running some code."""
    tail = f"\nimport json, sys\nprint(json.dumps(sorted({HEAVY!r} & set(sys.modules))))"
    done = subprocess.run(
        [sys.executable, "-c", code + tail], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    [
        "from launch.cli import main; main(['--help'])",
        "from launch.cli import main\ntry: main(['convert', '--help'])\nexcept SystemExit: pass",
        "from launch.cli import main\ntry: main(['train', '--help'])\nexcept SystemExit: pass",
        "import pipeline; pipeline.open_dataset; pipeline.make_plan",
    ],
    ids=["help", "convert help", "train help", "pipeline"],
)
def test_nothing_heavy_is_paid_for_in_vain(code: str) -> None:
    assert loaded(code) == set()


def test_converting_needs_no_tensorflow(tmp_path: Path) -> None:
    raw = write_mnist(tmp_path / "raw", train=9, test=4)
    argv = ["convert", "--input", str(raw), "--output", str(tmp_path / "out"), "--quiet"]
    assert loaded(f"from launch.cli import main; assert main({argv!r}) == 0") == {"apache_beam"}


def test_public_names_are_there() -> None:
    import pipeline

    assert {"Convert", "EncodeExamples", "ReadFromIdx", "WriteToTFRecord"} < set(pipeline.__all__)
    for name in pipeline.__all__:
        assert getattr(pipeline, name).__name__ == name
    with pytest.raises(AttributeError, match="module 'pipeline' has no attribute 'nothing'"):
        _ = pipeline.nothing
