"""Input, output and staging in object stores; requests that break on their way."""

import os
import shutil

import pytest
from faulty import FaultyProxy
from idx_input import write_input
from stores import gcs, google_account, s3

import pipeline
from launch.cli import main
from pipeline import files

pytestmark = pytest.mark.slow
BUCKET = "mill"


@pytest.fixture(scope="module")
def store(request, tmp_path_factory):
    """A store behind a proxy, and the prefix of its paths."""
    folder = str(tmp_path_factory.mktemp("store"))
    patch = pytest.MonkeyPatch()
    with (
        google_account(folder) as account,
        gcs(folder, BUCKET) if request.param == "gs" else s3(BUCKET) as address,
    ):
        proxy = FaultyProxy(address)
        patch.setenv("GOOGLE_APPLICATION_CREDENTIALS", account)
        patch.setenv("NO_GCE_CHECK", "true")
        patch.setenv("STORAGE_EMULATOR_HOST", proxy.address)
        patch.setenv("AWS_ENDPOINT_URL", proxy.address)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "x")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield proxy, f"{request.param}://{BUCKET}"
        proxy.close()
    patch.undo()


@pytest.fixture(scope="module")
def raw(store, tmp_path_factory):
    folder = write_input(str(tmp_path_factory.mktemp("raw")), 2000)
    for name in sorted(os.listdir(folder)):
        files.write_bytes(f"{store[1]}/raw/{name}", files.read_bytes(os.path.join(folder, name)))
    return folder


@pytest.fixture(scope="module")
def local(raw, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("local"))
    return pipeline.convert(input=raw, name="idx", output=folder, num_shards=2)


def convert(base, output):
    return pipeline.convert(
        input=f"{base}/raw", name="idx", output=f"{base}/{output}", num_shards=2
    )


@pytest.mark.parametrize("store", ["gs"], indirect=True)
def test_every_command(store, raw, local, tmp_path, capsys):
    _, base = store
    flags = [f"--input={base}/raw", "--name=idx", "--num_shards=2"]
    assert main(["plan", *flags]) == 0
    assert main(["convert", *flags, f"--output={base}/all", "--quiet"]) == 0
    data = f"{base}/all/idx/1.0.0"
    assert pipeline.open_dataset(data).manifest.digest == local.manifest.digest
    assert main(["inspect", data]) == 0
    assert main(["verify", data]) == 0
    shard = f"{data}/idx-train.tfrecord-00001-of-00002"
    files.write_bytes(shard, b"x" + files.read_bytes(shard)[1:])
    assert main(["verify", data]) == 1
    assert main(["repair", data, f"--source={base}/raw"]) == 0
    assert main(["verify", data]) == 0
    assert main(["train", f"--data={data}", f"--model_dir={tmp_path}/m"]) == 2
    assert "give --stage_to" in capsys.readouterr().err


@pytest.mark.parametrize("store", ["gs"], indirect=True)
def test_staged_by_digest(store, raw, local, tmp_path):
    _, base = store
    convert(base, "staged")
    copy = pipeline.stage(f"{base}/staged", str(tmp_path))
    assert copy == os.path.join(tmp_path, "idx", "1.0.0")
    dataset = pipeline.open_dataset(copy)
    assert dataset.manifest.digest == local.manifest.digest
    assert dataset["train"][7]["image"].shape == (28, 28)
    shard = os.path.join(copy, "idx-train.tfrecord-00000-of-00002")
    other = os.path.join(copy, "idx-train.tfrecord-00001-of-00002")
    kept = os.stat(other).st_mtime_ns
    shutil.copy(other, shard)
    pipeline.stage(f"{base}/staged", str(tmp_path))
    assert files.read_bytes(shard) == files.read_bytes(os.path.join(local.folder, shard[-33:]))
    assert os.stat(other).st_mtime_ns == kept


# The emulator of S3 takes half a second for a request; one fault there is what time allows.
@pytest.mark.parametrize(
    ("store", "kind"),
    [("gs", "503"), ("gs", "drop"), ("gs", "slow"), ("s3", "drop")],
    indirect=["store"],
)
def test_requests_that_break(store, raw, local, kind, closing):
    proxy, base = store
    seen = 0

    def fault(method, path):
        nonlocal seen
        seen += 1
        # Uploads: the rest is small, and waiting for retries is slow.
        return kind if method == "PUT" and seen % 3 == 0 else None

    proxy.broken.clear()
    proxy.fault = fault
    try:
        found = convert(base, f"broken-{kind}").manifest
    finally:
        proxy.fault = lambda method, path: None
    assert proxy.broken
    assert found.digest == local.manifest.digest
    left = [path for path, _ in files.match(f"{base}/broken-{kind}/idx/1.0.0/*")]
    assert not [path for path in left if "tmp" in path]
    closing(f"{base}: {len(proxy.broken)} requests broken ({kind}), digest {found.digest}")
