"""A custom job of Vertex AI: one machine with GPUs trains in our container."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from pipeline.errors import UsageError

from .follow import explain
from .settings import beam_options
from .trainers import TrainerError

POLL_SECONDS = 15.0
# Another address of the service, such as one on this machine.
ENDPOINT = "RECORDMILL_VERTEX_ENDPOINT"


def custom_job(args: argparse.Namespace, line: Sequence[str]) -> dict[str, Any]:
    """What is asked of Vertex AI: its CustomJob, as a dict."""
    machine: dict[str, Any] = {"machine_type": args.trainer_machine}
    if args.trainer_gpus:
        machine["accelerator_type"] = args.trainer_accelerator
        machine["accelerator_count"] = args.trainer_gpus
    return {
        "display_name": "recordmill-train",
        "job_spec": {
            "worker_pool_specs": [
                {
                    "machine_spec": machine,
                    "replica_count": 1,
                    "container_spec": {"image_uri": args.trainer_image, "args": list(line)},
                }
            ],
            "base_output_directory": {"output_uri_prefix": args.model_dir},
        },
    }


def _client(region: str) -> Any:
    try:
        from google.cloud import aiplatform_v1
    except ImportError as error:
        raise UsageError(
            "--trainer vertex: google-cloud-aiplatform is not installed; run: pip install "
            "recordmill[gcp]"
        ) from error
    endpoint = os.environ.get(ENDPOINT, f"{region}-aiplatform.googleapis.com")
    return aiplatform_v1.JobServiceClient(
        client_options={"api_endpoint": endpoint}, transport="rest"
    )


def train(args: argparse.Namespace, line: Sequence[str], beam_args: Sequence[str]) -> None:
    """Submits the job, and prints its states until it ends.

    Raises:
      UsageError: Project or region is missing, or Google refuses; says why.
      TrainerError: The job failed or was cancelled.
    """
    options = beam_options(beam_args)
    project, region = options["project"], options["region"]
    for flag, value in (("project", project), ("region", region)):
        if not value:
            raise UsageError(f"--trainer vertex: give --{flag}")
    client = _client(region)
    try:
        job = client.create_custom_job(
            parent=f"projects/{project}/locations/{region}", custom_job=custom_job(args, line)
        )
        _follow(client, job.name, project, region)
    except Exception as error:
        meaning = explain(f"{type(error).__name__} {error}")
        if meaning is None or isinstance(error, (UsageError, TrainerError)):
            raise
        raise UsageError(f"{meaning} (said: {str(error).splitlines()[0][:300]})") from error


def _follow(client: Any, name: str, project: str, region: str) -> None:
    number = name.rpartition("/")[2]
    link = f"https://console.cloud.google.com/vertex-ai/locations/{region}/training/{number}"
    print(f"Vertex AI job {number}\n{link}?project={project}", file=sys.stderr, flush=True)
    shown = ""
    while True:
        job = client.get_custom_job(name=name)
        state = job.state.name.removeprefix("JOB_STATE_")
        if state != shown:
            print(f"{time.strftime('%H:%M:%S')} {state}", file=sys.stderr, flush=True)
            shown = state
        if state == "SUCCEEDED":
            return
        if state in ("FAILED", "CANCELLED", "EXPIRED"):
            why = job.error.message or "the service gives no reason"
            meaning = explain(why)
            raise TrainerError(
                f"Vertex AI job {number} ended {state}: {meaning or why}"
                f"{f' (said: {why})' if meaning else ''}; see {link}; start the same command "
                "again, and only the trainer runs"
            )
        time.sleep(POLL_SECONDS)
