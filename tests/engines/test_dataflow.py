"""Full submission to a fake Dataflow, which runs the staged job; the shards are in the bucket."""

import re
import threading
import time

import pytest
from fake_dataflow import FakeDataflow
from idx_input import write_input
from stores import gcs, google_account

from launch.cli import main
from pipeline import conversion, dataset, files

pytestmark = pytest.mark.slow
BUCKET = "mill"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("store"))
    with gcs(folder, BUCKET) as address, google_account(folder) as account:
        patch = pytest.MonkeyPatch()
        patch.setenv("GOOGLE_APPLICATION_CREDENTIALS", account)
        patch.setenv("STORAGE_EMULATOR_HOST", address)
        patch.setenv("NO_GCE_CHECK", "true")
        patch.setattr("launch.follow.POLL_SECONDS", 0.2)
        yield address
        patch.undo()


@pytest.fixture(scope="module")
def source(store, tmp_path_factory):
    folder = write_input(str(tmp_path_factory.mktemp("raw")), 5000)
    for path, _ in files.match(f"{folder}/*"):
        files.write_bytes(f"gs://{BUCKET}/raw/{path.rpartition('/')[2]}", files.read_bytes(path))
    return folder


@pytest.fixture
def fake(store, tmp_path):
    service = FakeDataflow(store, str(tmp_path))
    yield service
    service.close()


def submit(fake, output, *flags):
    return main(
        [
            "convert",
            f"--input=gs://{BUCKET}/raw",
            f"--output=gs://{BUCKET}/{output}",
            "--name=idx",
            "--num_shards=3",
            "--runner=dataflow",
            "--project=p",
            "--region=r",
            f"--staging=gs://{BUCKET}/staging",
            f"--dataflow_endpoint={fake.endpoint}",
            *flags,
        ]
    )


def test_staged_job_is_run_and_gives_the_bytes_of_the_local_run(
    fake, source, tmp_path, capsys, closing
):
    assert submit(fake, "out") == 0
    told = capsys.readouterr()
    assert "Dataflow job job-0\nhttps://console.cloud.google.com/dataflow/jobs/r/job-0" in told.err
    assert re.search(r"DONE .*5,100 records_written, .*shards_written", told.err)
    wanted = conversion.convert(input=source, name="idx", output=str(tmp_path / "o"), num_shards=3)
    found = dataset.open_dataset(f"gs://{BUCKET}/out/idx/1.0.0").manifest
    assert found.digest == wanted.manifest.digest
    assert f"digest {found.digest}" in told.out
    closing(f"dataflow (fake, executed): {found.counters['records']:,} records, {found.digest}")
    assert submit(fake, "out") == 0
    assert len(fake.jobs) == 1, "a finished dataset is not submitted again"


def test_flags_reach_the_service(fake, source):
    fake.execute = False
    flags = ["--worker_machine_type=n2-standard-4", "--max_num_workers=7", "--no_use_public_ips"]
    flags += ["--labels=team=vision", "--service_account_email=me@p", "--prime", "--no_wait"]
    assert submit(fake, "flags", "--image=eu.example/recordmill:1", *flags) == 0
    [job] = fake.jobs.values()
    [pool] = job["environment"]["workerPools"]
    assert pool["machineType"] == "n2-standard-4"
    assert pool["autoscalingSettings"]["maxNumWorkers"] == 7
    assert pool["ipConfiguration"] == 2  # WORKER_IP_PRIVATE
    assert pool["sdkHarnessContainerImages"][0]["containerImage"] == "eu.example/recordmill:1"
    assert job["labels"]["team"] == "vision"
    assert job["environment"]["serviceAccountEmail"] == "me@p"
    assert "enable_prime" in job["environment"]["serviceOptions"]


def test_no_wait_leaves_at_once(fake, source, capsys):
    fake.execute = False
    assert submit(fake, "left", "--no_wait") == 0
    assert "Dataflow job job-0 is submitted" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Quota exceeded: CPUS in region r", "a quota of the project is used up"),
        ("ZONE_RESOURCE_POOL_EXHAUSTED", "the region has no such machines free now"),
        ("Traceback …\npipeline.errors.InputError: a.idx: was changed", "a.idx: was changed"),
        ("The worker vanished", "ended FAILED: The worker vanished; see https://console"),
    ],
)
def test_failed_job(fake, source, capsys, said, told):
    fake.fail = said
    assert submit(fake, "failed", "--overwrite") == 1
    assert told in capsys.readouterr().err


def test_cancelled_job(fake, source, capsys):
    fake.execute = False

    def cancel():
        while not fake.jobs:
            time.sleep(0.05)
        fake.jobs["job-0"]["currentState"] = "JOB_STATE_CANCELLED"

    threading.Thread(target=cancel, daemon=True).start()
    assert submit(fake, "cancelled") == 1
    assert "was cancelled; start the same command again" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        ((401, "Request had invalid authentication credentials"), "does not know who you are"),
        ((403, "The caller does not have permission"), "wanted roles/dataflow.developer"),
        ((429, "Quota exceeded"), "a quota of the project is used up"),
        ((404, "no such project"), "compare the spelling"),
    ],
)
def test_refused_submission(fake, source, capsys, refusal, told):
    fake.refuse = refusal
    assert submit(fake, f"refused{refusal[0]}") == 2
    assert told in capsys.readouterr().err
