"""Object stores: what Beam's flags say of them, also for files that no pipeline reads."""

from __future__ import annotations

from collections.abc import Sequence

# Of all of Beam's flags, how those of its filesystems begin.
STORE_FLAGS = ("--s3_", "--gcs_", "--azure_", "--blob_", "--hdfs_", "--no_auth")


def use_object_stores(beam_args: Sequence[str]) -> None:
    """Gives Beam's filesystems their flags, such as `--s3_endpoint_url`; none cost nothing."""
    if any(argument.startswith(STORE_FLAGS) for argument in beam_args):
        from apache_beam.io.filesystems import FileSystems
        from apache_beam.options.pipeline_options import PipelineOptions

        FileSystems.set_options(PipelineOptions(list(beam_args)))
