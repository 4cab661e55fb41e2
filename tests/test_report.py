"""One page about a dataset and a model."""

import base64
import json
import re
import shutil

import pytest

from launch import page
from launch.report import PICTURES
from pipeline import open_dataset

PNG = b"\x89PNG\r\n\x1a\n"


def pictures(text):
    """The pictures that stand in a page, by caption."""
    found = re.findall(r'<img alt="([^"]*)" src="data:image/png;base64,([^"]*)">', text)
    return {caption: base64.b64decode(data) for caption, data in found}


def model(folder, digest):
    """What the trainer leaves behind, made up."""
    folder.mkdir()
    metrics = {
        "accuracy": 0.9375,
        "loss": 0.25,
        "validation": None,
        "classes": {"a<b": {"precision": 0.5, "recall": 0.25, "records": 1234}},
        "steps": 3000,
        "epochs": 2.5,
        "seconds": 12.0,
        "examples_per_second": 4000.0,
        "input_wait_share": 0.012,
        "parameters": 7,
        "device": "CPU (x)",
        "dataset": {"name": "other", "version": "2.0.0", "digest": digest},
        "options": {"model": "article", "batch_size": 16, "patience": None},
        "choices": {"precision": "float32"},
        "versions": {"keras": "3"},
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    for name in PICTURES:
        (folder / name).write_bytes(PNG + name.encode())
    return folder


def test_about_a_dataset(recordmill, dataset, tmp_path):
    ran = recordmill("report", dataset, f"--to={tmp_path}/r.html")
    assert (ran.code, ran.out.split(":")[0]) == (0, f"{tmp_path}/r.html")
    text = (tmp_path / "r.html").read_text()
    manifest = open_dataset(str(dataset)).manifest
    assert manifest.digest in text
    assert manifest.sources[0]["sha256"] in text
    assert f"<td>train</td><td>{manifest.count('train')}</td><td>3</td>" in text
    statistics = json.loads((dataset / "stats.json").read_text())
    labels = statistics["splits"]["train"]["features"]["label"]["labels"]
    name, entry = next(iter(labels.items()))
    assert f"<td>{name}</td><td>{entry['count']}</td>" in text
    assert 'class="bar"' in text
    assert pictures(text)["images of train"].startswith(PNG)
    assert not re.search(r'(?:src|href)="(?!data:)', text)


def test_about_a_model(recordmill, dataset, tmp_path):
    folder = model(tmp_path / "m", open_dataset(str(dataset)).manifest.digest)
    assert recordmill("report", dataset, f"--model_dir={folder}", f"--to={tmp_path}/r").code == 0
    text = (tmp_path / "r").read_text()
    found = pictures(text)
    for name, caption in PICTURES.items():
        assert found[caption] == PNG + name.encode()
    assert "<td>accuracy on test</td><td>0.9375</td>" in text
    assert "<td>a&lt;b</td><td>0.5</td><td>0.25</td><td>1,234</td>" in text
    assert "<td>batch_size</td><td>16</td>" in text
    assert "Trained on another dataset" not in text


def test_a_model_of_another_dataset(recordmill, dataset, tmp_path):
    folder = model(tmp_path / "m", "f00")
    assert recordmill("report", dataset, f"--model_dir={folder}", f"--to={tmp_path}/r").code == 0
    told = "Trained on another dataset: other 2.0.0, digest <code>f00</code>"
    assert told in (tmp_path / "r").read_text()


def test_no_model_there(recordmill, dataset, tmp_path):
    ran = recordmill("report", dataset, f"--model_dir={tmp_path}", f"--to={tmp_path}/r")
    assert ran.code == 1
    assert re.search(r"--model_dir .*: has no metrics.json; wanted a folder", ran.err)


def test_no_dataset_there(recordmill, tmp_path):
    assert recordmill("report", tmp_path).code == 1


def test_without_statistics(recordmill, mnist, tmp_path):
    out = tmp_path / "out"
    flags = [f"--input={mnist}", f"--output={out}", "--statistics=off", "--quiet"]
    assert recordmill("convert", *flags).code == 0
    assert recordmill("report", out, f"--to={tmp_path}/r").code == 0
    assert "there are no statistics" in (tmp_path / "r").read_text()


def test_page_that_cannot_be_written(recordmill, dataset, tmp_path):
    (tmp_path / "file").touch()
    ran = recordmill("report", dataset, f"--to={tmp_path}/file/r.html")
    assert ran.code == 1
    assert "file" in ran.err


@pytest.mark.parametrize(
    ("value", "text"), [(True, "yes"), (None, "–"), (1234567, "1,234,567"), ("a&b", "a&amp;b")]
)
def test_values_as_text(value, text):
    assert page.escape(value) == text


def test_bars_of_nothing():
    assert "<td>a</td><td>0</td>" in page.bars("t", {"a": 0})


def test_flags_of_object_stores_alone(recordmill, dataset, tmp_path):
    copy = shutil.copytree(dataset, tmp_path / "copy")
    for command in ("inspect", "verify", "check", "report"):
        ran = recordmill(command, copy, "--num_workers=2")
        assert ran.code == 2
        assert "--num_workers is unknown" in ran.err
    ran = recordmill("inspect", copy, "--s3_region_name=us-east-1")
    assert ran.code == 0
