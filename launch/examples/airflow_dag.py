"""An Airflow DAG: each night Dataflow converts what is new, then Vertex AI trains on it.

Each task may be tried again at any time: finished shards are kept, a finished dataset is not
converted again, and `--skip_if_done` trains nothing that is trained already.
"""

from __future__ import annotations

import datetime

from airflow import DAG
from airflow.providers.standard.operators.bash import BashOperator

CLOUD = "--project {{ var.value.project }} --region us-central1"
DATASET = "--input gs://mill/raw --output gs://mill/tfrecord"

with DAG(
    "recordmill",
    schedule="@daily",
    start_date=datetime.datetime(2026, 1, 1),
    catchup=False,
    default_args={"retries": 2, "retry_delay": datetime.timedelta(minutes=5)},
) as dag:
    dataflow = f"--runner dataflow {CLOUD} --staging gs://mill/staging"
    convert = BashOperator(
        task_id="convert", bash_command=f"recordmill convert {DATASET} {dataflow}"
    )
    trainer = "--trainer vertex --trainer_image {{ var.value.image }} --skip_if_done"
    train = BashOperator(
        task_id="train",
        bash_command=f"recordmill run {DATASET} {dataflow} --model_dir gs://mill/model {trainer}",
    )
    convert >> train
