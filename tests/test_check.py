import json

import numpy as np
import pytest
from samples import write_mnist

import pipeline
from launch.cli import main
from pipeline import idx
from pipeline.compare import check_domains, jensen_shannon, read_schema
from pipeline.errors import InputError


def dataset(folder, change=None, **options):
    source = write_mnist(folder / "raw", train=200, test=100)
    if change:
        change(source)
    return pipeline.convert(input=str(source), output=str(folder), **options).folder


def labelled(values):
    def change(source):
        for split, count in (("train", 200), ("t10k", 100)):
            some = np.resize(np.array(values, np.uint8), count)
            idx.write_idx(str(source / f"{split}-labels-idx1-ubyte"), some)

    return change


def check(capsys, *arguments):
    code = main(["check", *map(str, arguments)])
    return code, capsys.readouterr().out


def test_equal_datasets_have_no_anomalies(tmp_path, capsys):
    one, two = dataset(tmp_path / "a", num_shards=1), dataset(tmp_path / "b", num_shards=4)
    code, out = check(capsys, one, "--against", two)
    assert code == 0
    assert "0 anomalies" in out
    assert f"train: label: L-infinity 0.0000 from {two} train, 0.01 allowed" in out


def test_drift_of_labels_between_datasets_and_its_threshold(tmp_path, capsys):
    one = dataset(tmp_path / "a")
    two = dataset(tmp_path / "b", labelled([0, 0, 1, 2, 3, 4, 5, 6, 7, 8]))
    code, out = check(capsys, one, "--against", two)
    assert code == 1
    assert "drift: train: label: L-infinity 0.1000" in out
    assert check(capsys, one, "--against", two, "--label_drift", "0.11")[0] == 0
    code, out = check(capsys, one, "--against", two, "--json")
    assert {a["kind"] for a in json.loads(out)["anomalies"]} == {"drift"}


def test_drift_of_pixels_between_splits(tmp_path, capsys):
    def inverted(source):
        images = np.full((100, 5, 4), 3, np.uint8)
        idx.write_idx(str(source / "t10k-images-idx3-ubyte"), images)

    folder = dataset(tmp_path, inverted)
    code, out = check(capsys, folder)
    assert code == 1
    assert "drift: test: image: Jensen-Shannon" in out
    assert check(capsys, folder, "--value_drift", "1")[0] == 0


def test_features_that_differ(tmp_path, capsys):
    one = dataset(tmp_path / "a", index_feature=True, example_format="article")
    two = dataset(tmp_path / "b", shape_features=True)
    code, out = check(capsys, one, "--against", two)
    assert code == 1
    for line in (
        "missing feature: depth: is in the schema",
        "new feature: index: is in the dataset",
        "type: label: is BYTES, wanted INT",
        "dtype: image: holds float32, wanted uint8",
        "shape: label: has shape [10], wanted []",
    ):
        assert line in out
    code, out = check(capsys, one, "--schema", f"{two}/schema.pbtxt")
    assert code == 1
    assert "type: label" in out


def test_domain_of_a_schema(tmp_path, capsys):
    folder = dataset(tmp_path / "a")
    schema = tmp_path / "schema.pbtxt"
    text = (tmp_path / "a/raw/1.0.0/schema.pbtxt").read_text()
    schema.write_text(text.replace('name: "label"', 'name: "label" int_domain { min: 0 max: 8 }'))
    code, out = check(capsys, folder, "--schema", schema)
    assert code == 1
    assert "domain: train: label: holds 0 to 9, wanted 0 to 8" in out


def test_not_numbers():
    found = {"splits": {"train": {"features": {"x": {"min": 0, "max": 1, "nans": 2}}}}}
    schema = type("Schema", (), {"feature": []})
    assert check_domains(found, schema)[0].text == "2 values are NaN or infinite, wanted numbers"


def test_divergence_is_symmetric():
    one, two = {0: 3, 1: 1}, {0: 1, 1: 1, 2: 2}
    assert jensen_shannon(one, two) == pytest.approx(jensen_shannon(two, one))
    assert 0 < jensen_shannon(one, two) < 1


def test_what_cannot_be_checked(tmp_path, capsys):
    folder = dataset(tmp_path, with_statistics=False)
    assert main(["check", folder]) == 1
    assert (
        "has no stats.json, for it was converted with --statistics off" in capsys.readouterr().err
    )
    assert main(["check", folder, "--label_drift", "2"]) == 2
    (tmp_path / "bad.pbtxt").write_text("feature {")
    with pytest.raises(InputError, match="no schema in protobuf's text form"):
        read_schema(str(tmp_path / "bad.pbtxt"))
    with pytest.raises(InputError, match="no such file"):
        read_schema(str(tmp_path / "gone.pbtxt"))
