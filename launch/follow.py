"""Follows a submitted job in the terminal until it ends, or lets go of it."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from pipeline.errors import OutputError, RecordmillError, UsageError

POLL_SECONDS = 5.0
# A job's state is DONE, FAILED or CANCELLED for good.
ENDED = ("DONE", "FAILED", "CANCELLED", "UPDATED", "DRAINED")
# What Google's services say, what that means, and what to do.
REASONS = (
    (
        r"\b401\b|Unauthenticated|invalid_grant|RefreshError|Reauthentication",
        "Google does not know who you are: run gcloud auth application-default login",
    ),
    (
        r"SERVICE_DISABLED|has not been used in project",
        "the API is switched off in this project: run gcloud services enable "
        "dataflow.googleapis.com",
    ),
    (
        r"(?i)\b429\b|quota|RESOURCE_EXHAUSTED",
        "a quota of the project is used up: take fewer or smaller workers (--max_num_workers, "
        "--worker_machine_type), another --region, or ask for more",
    ),
    (
        r"(?i)ZONE_RESOURCE_POOL_EXHAUSTED|does not have enough resources",
        "the region has no such machines free now: take another --region or --worker_machine_type",
    ),
    (
        r"\b403\b|PermissionDenied|PERMISSION_DENIED",
        "you or the service account may not do this: wanted roles/dataflow.developer for you and "
        "roles/dataflow.worker and access to the bucket for the workers' account",
    ),
    (r"\b404\b|NotFound|NOT_FOUND", "no such project, region or bucket: compare the spelling"),
    (
        r"(?i)ServiceUnavailable|\b503\b|ConnectionError|Max retries exceeded",
        "the service could not be reached: look at the network, then start again",
    ),
)


class LetGo(RecordmillError):
    """The job goes on without us; nothing is wrong."""

    exit_code = 0


def explain(told: str) -> str | None:
    """What a message of Google's means in plain words; None where it is not known.

    >>> explain("429 Quota exceeded for CPUS")[:32]
    'a quota of the project is used u'
    """
    return next((meaning for pattern, meaning in REASONS if re.search(pattern, told)), None)


def submission_error(error: BaseException) -> BaseException:
    """A refused submission in plain words, or the error as it is."""
    meaning = explain(f"{type(error).__name__} {error}")
    if meaning is None or isinstance(error, RecordmillError):
        return error
    return UsageError(f"{meaning} (said: {str(error).strip().splitlines()[0][:300]})")


def console_link(project: str, region: str, job_id: str) -> str:
    """Where a browser shows a job."""
    return f"https://console.cloud.google.com/dataflow/jobs/{region}/{job_id}?project={project}"


def _metrics(client: Any, job_id: str) -> dict[str, int]:
    """Our counters, as far as the service has them."""
    told: dict[str, int] = {}
    for metric in client.get_job_metrics(job_id).metrics:
        context = dict(metric.name.context)
        if context.get("namespace") == "recordmill" and "tentative" not in context:
            # One for each step: each split is written by a step of its own.
            told[metric.name.name] = told.get(metric.name.name, 0) + int(metric.scalar or 0)
    return told


def _messages(client: Any, job_id: str) -> Iterator[str]:
    token = None
    while True:
        messages, token = client.list_messages(
            job_id, page_token=token, minimum_importance="JOB_MESSAGE_ERROR"
        )
        yield from (message.message_text for message in messages)
        if not token:
            return


def _reason(result: Any) -> str:
    """Why a job failed, in the service's words and in ours."""
    from pipeline.engine import translate

    told = list(_messages(result._runner.dataflow_client, result.job_id()))
    for text in reversed(told):
        raised = translate(RuntimeError(text))
        if isinstance(raised, RecordmillError):
            return str(raised)
    text = told[-1] if told else "the service gives no reason; see its page"
    meaning = explain(text)
    return f"{meaning} (said: {text.strip()[:500]})" if meaning else text.strip()[:500]


def _interrupted(result: Any, name: str, ask: Callable[[str], str], terminal: bool) -> None:
    """Ctrl-C was pressed: cancel, or let go.

    Raises:
      LetGo: The job goes on.
    """
    answer = ask("\ncancel the job? y cancels, anything else lets it go on: ") if terminal else ""
    if answer.strip().lower() not in ("y", "yes"):
        raise LetGo(f"{name} goes on; the same command, started later, finds what it has written")
    result.cancel()


def follow(
    result: Any,
    *,
    project: str,
    region: str,
    no_wait: bool,
    out: TextIO | None = None,
    ask: Callable[[str], str] = input,
) -> str:
    """Prints job, link, states and counters until a Dataflow job ends.

    Args:
      result: What Beam gave for the submission.
      project: Of Google Cloud.
      region: Of the job.
      no_wait: Print the job and its link, and leave.
      out: Where to; None is stderr.
      ask: Puts a question to the user, at Ctrl-C.

    Returns:
      The state it ended with, DONE.

    Raises:
      LetGo: The user lets it go on.
      OutputError: It failed or was cancelled; says why.
    """
    stream = out or sys.stderr
    job_id, link = result.job_id(), console_link(project, region, result.job_id())
    name = f"Dataflow job {job_id}"
    print(f"{name}\n{link}", file=stream, flush=True)
    if no_wait:
        raise LetGo(f"{name} is submitted; the same command, started later, finds what it wrote")
    shown: tuple[str, dict[str, int]] | None = None
    while True:
        try:
            state = str(result.state)
            now = (state, _metrics(result._runner.dataflow_client, job_id))
            if now != shown:
                told = ", ".join(f"{value:,} {key}" for key, value in sorted(now[1].items()))
                print(f"{time.strftime('%H:%M:%S')} {state} {told}", file=stream, flush=True)
                shown = now
            if state in ENDED:
                break
            time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            _interrupted(result, name, ask, sys.stdin.isatty())
    if state == "DONE":
        return state
    if state == "CANCELLED":
        raise OutputError(f"{name} was cancelled; start the same command again: it goes on")
    raise OutputError(
        f"{name} ended {state}: {_reason(result)}; see {link}; finished shards are kept, so start "
        "the same command again once it is mended"
    )
