"""Runs `<folder>/pipeline.pb` in this process, as Dataflow's workers would; prints counters."""

import json
import os
import sys

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import fn_runner

import pipeline


def main(folder):
    if not pipeline.__file__.startswith(folder):
        raise SystemExit(f"pipeline comes from {pipeline.__file__}, not from what was staged")
    proto = beam_runner_api_pb2.Pipeline()
    with open(os.path.join(folder, "pipeline.pb"), "rb") as stream:
        proto.ParseFromString(stream.read())
    for environment in proto.components.environments.values():
        environment.urn, environment.payload = python_urns.EMBEDDED_PYTHON, b""
        del environment.dependencies[:]
    result = fn_runner.FnApiRunner().run_via_runner_api(proto, PipelineOptions([]))
    state = result.wait_until_finish()
    if state != "DONE":
        raise SystemExit(state)
    counters = [
        (metric.key.metric.name, metric.key.step, metric.committed)
        for metric in result.metrics().query()["counters"]
        if metric.key.metric.namespace == "recordmill"
    ]
    print(json.dumps(counters))


if __name__ == "__main__":
    main(sys.argv[1])
