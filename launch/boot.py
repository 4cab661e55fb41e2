"""`recordmill-worker`: starts a Python worker where an engine asks for one.

Engines start the workers of `--environment process`, and a worker pool the workers of its own, by
a command that takes the place of the boot program in Beam's containers. This one fetches nothing:
recordmill is installed on the machine, and whatever it needs with it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

# Fields of what a runner provides, and the worker's names of them.
ENDPOINTS = {
    "control_endpoint": "CONTROL_API_SERVICE_DESCRIPTOR",
    "logging_endpoint": "LOGGING_API_SERVICE_DESCRIPTOR",
    "status_endpoint": "STATUS_API_SERVICE_DESCRIPTOR",
}
ANSWER_SECONDS = 60.0


def worker_environment(worker: str, info: Any, given: dict[str, str]) -> dict[str, str]:
    """What Beam's worker reads from its environment.

    Args:
      worker: The worker's id.
      info: Beam's `ProvisionInfo`.
      given: Addresses of the command line, by name such as `control_endpoint`; Flink and worker
        pools give them, Prism leaves all to `info`.
    """
    from apache_beam.portability.api import endpoints_pb2
    from google.protobuf import json_format, text_format

    environment = {
        "WORKER_ID": worker,
        "PIPELINE_OPTIONS": json_format.MessageToJson(info.pipeline_options),
        "RUNNER_CAPABILITIES": " ".join(info.runner_capabilities),
    }
    for field, name in ENDPOINTS.items():
        url = getattr(info, field).url or given.get(field)
        if url:
            descriptor = endpoints_pb2.ApiServiceDescriptor(url=url)
            environment[name] = text_format.MessageToString(descriptor)
    return environment


def main(argv: Sequence[str] | None = None) -> None:
    """Asks the runner for what a worker has to know, and becomes that worker."""
    import grpc
    from apache_beam.portability.api import beam_provision_api_pb2, beam_provision_api_pb2_grpc

    parser = argparse.ArgumentParser(prog="recordmill-worker", description=__doc__)
    parser.add_argument("--id", required=True)
    parser.add_argument("--provision_endpoint", required=True, metavar="HOST:PORT")
    for field in ENDPOINTS:
        parser.add_argument(f"--{field}", metavar="HOST:PORT")
    args, _ = parser.parse_known_args(argv)
    # Prism writes quotation marks that no shell takes away.
    worker = args.id.strip("'")
    with grpc.insecure_channel(args.provision_endpoint) as channel:
        answer = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel).GetProvisionInfo(
            beam_provision_api_pb2.GetProvisionInfoRequest(),
            metadata=[("worker_id", worker)],
            timeout=ANSWER_SECONDS,
            wait_for_ready=True,
        )
    environment = worker_environment(worker, answer.info, vars(args))
    command = [sys.executable, "-m", "apache_beam.runners.worker.sdk_worker_main"]
    os.execve(command[0], command, {**os.environ, **environment})


if __name__ == "__main__":
    main()
