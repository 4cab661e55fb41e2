"""Google Cloud Dataflow: what to submit, and what it needs beforehand."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.errors import UsageError

from .checks import Check, check_packages
from .settings import Settings, beam_options

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
GS = "gs://"


def beam_args(settings: Settings, given: Sequence[str]) -> list[str]:
    """Beam's flags; what was given stands last, and wins.

    Workers get our packages from a container image, or, without one, from a source distribution
    that each installs at its start, with the little that converting needs.

    Raises:
      UsageError: --staging is no bucket.
    """
    chosen = ["--runner=DataflowRunner"]
    if settings.staging:
        if not settings.staging.startswith(GS):
            raise UsageError(f"--staging {settings.staging!r}: wanted a folder of a bucket, gs://…")
        staging = settings.staging.rstrip("/")
        chosen += [f"--staging_location={staging}/staging", f"--temp_location={staging}/temp"]
    if settings.image:
        chosen += [f"--sdk_container_image={settings.image}", "--sdk_location=container"]
    elif not beam_options(given)["sdk_container_image"]:
        chosen.append(f"--setup_file={os.path.join(ROOT, 'setup.py')}")
    if settings.prime:
        chosen.append("--dataflow_service_options=enable_prime")
    return [*chosen, *given]


def _check_credentials(options: Mapping[str, Any]) -> Check:
    if options["no_auth"]:
        return Check("credentials", "none wanted (--no_auth)")
    remedy = (
        "run: gcloud auth application-default login, or point GOOGLE_APPLICATION_CREDENTIALS at a "
        "service account's key"
    )
    try:
        import google.auth
        from google.auth.exceptions import DefaultCredentialsError
    except ImportError:
        return Check(
            "credentials", "google-auth is not installed", "run: pip install recordmill[gcp]"
        )
    try:
        credentials, _ = google.auth.default()
    except DefaultCredentialsError as error:
        return Check("credentials", str(error).partition(". ")[0], remedy)
    return Check("credentials", getattr(credentials, "service_account_email", "of a user"))


def _check_given(options: Mapping[str, Any], name: str, remedy: str) -> Check:
    value = options[name]
    return Check(name, str(value)) if value else Check(name, "not given", remedy)


def _check_client() -> Check:
    from importlib import metadata

    try:
        return Check("client", f"google-cloud-storage {metadata.version('google-cloud-storage')}")
    except metadata.PackageNotFoundError:
        return Check(
            "client", "Beam's part for Google Cloud is missing", "run: pip install recordmill[gcp]"
        )


def _check_setup_file(options: Mapping[str, Any]) -> Check:
    path = options["setup_file"]
    if options["sdk_container_image"] or not path:
        return Check("packaging", f"image {options['sdk_container_image']}")
    if os.path.exists(path):
        return Check("packaging", f"each worker installs {path}")
    return Check(
        "packaging",
        f"no {path}, for recordmill was not installed from a checkout",
        "give --image (see launch/dataflow/Dockerfile), or --setup_file of a checkout",
    )


def checks(settings: Settings, options: Mapping[str, Any]) -> list[Check]:
    """Project, region, bucket, credentials, packaging, our packages."""
    return [
        check_packages(),
        _check_client(),
        _check_given(options, "project", "give --project, the id of a Google Cloud project"),
        _check_given(options, "region", "give --region, such as us-central1"),
        _check_given(options, "temp_location", "give --staging gs://BUCKET/FOLDER"),
        _check_setup_file(options),
        _check_credentials(options),
    ]


def check_paths(paths: Mapping[str, str]) -> None:
    """Checks that workers elsewhere can reach input and output.

    Raises:
      UsageError: A path is of this machine.
    """
    for flag, path in paths.items():
        if "://" not in path:
            raise UsageError(
                f"--{flag} {path}: the workers of Dataflow do not see this machine's disk; copy it "
                f"to a bucket and give --{flag} gs://…"
            )
