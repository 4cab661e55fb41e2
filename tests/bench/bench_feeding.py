"""The same training steps, fed in five ways: steps per second and input wait, table and picture.

python tests/bench/bench_feeding.py [--steps 1000] [--repeats 3]

1. memory       batches cut from numpy arrays that hold all
2. feed_dict    a Python loop that parses records and feeds a graph of tf.compat.v1
3. queues       tf.compat.v1 queue runners over our shards: read, decode, shuffle_batch
4. tf.data      the usual idiom: interleave, parse each record, shuffle, batch, prefetch
5. recordmill   train.load

All read the same Fashion-MNIST shards and take the same steps of a small network. Input wait is
the share of the time for which the step, alone on one batch held ready, does not account.
"""

from __future__ import annotations

import argparse
import glob
import itertools
import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from common import DATA, fashion_mnist, finish, table

import pipeline
from train import load

v1 = tf.compat.v1
v1.logging.set_verbosity(v1.logging.ERROR)
BATCH = 128
SPEC = {
    "image": tf.io.FixedLenFeature((), tf.string),
    "label": tf.io.FixedLenFeature((), tf.int64),
}


def loss_of(images: Any, labels: Any, weights: list[Any]) -> Any:
    """A network of one hidden layer: small, so that the input shows."""
    pixels = tf.reshape(tf.cast(images, tf.float32), (-1, 784)) / 255.0
    hidden = tf.nn.relu(tf.matmul(pixels, weights[0]))
    logits = tf.matmul(hidden, weights[1])
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    return tf.reduce_mean(losses)


def start_values() -> list[Any]:
    """The same weights for all."""
    rng = np.random.default_rng(0)
    return [rng.normal(0, 0.05, shape).astype(np.float32) for shape in ((784, 64), (64, 10))]


def eager_rate(batches: Callable[[], Iterator[Any]], steps: int) -> float:
    """Steps per second of a tf.function on batches of images and labels."""
    weights = [tf.Variable(value) for value in start_values()]

    @tf.function
    def step(images: Any, labels: Any) -> None:
        with tf.GradientTape() as tape:
            loss = loss_of(images, labels, weights)
        for weight, slope in zip(weights, tape.gradient(loss, weights), strict=True):
            weight.assign_sub(0.1 * slope)

    source = batches()
    for images, labels in itertools.islice(source, 10):
        step(images, labels)
    started = time.perf_counter()
    for images, labels in itertools.islice(source, steps):
        step(images, labels)
    weights[0].numpy()
    return steps / (time.perf_counter() - started)


def graph_rate(make: Callable[[], tuple[Any, Any, Any]], steps: int, queues: bool) -> float:
    """Steps per second of a graph of tf.compat.v1, fed or with queues."""
    with tf.Graph().as_default(), v1.Session() as session:
        images, labels, feeds = make()
        weights = [v1.get_variable(f"w{i}", initializer=w) for i, w in enumerate(start_values())]
        train = v1.train.GradientDescentOptimizer(0.1).minimize(loss_of(images, labels, weights))
        session.run([v1.global_variables_initializer(), v1.local_variables_initializer()])
        coordinator = v1.train.Coordinator()
        threads = v1.train.start_queue_runners(session, coordinator) if queues else []
        for _ in range(10):
            session.run(train, feeds() if feeds else None)
        started = time.perf_counter()
        for _ in range(steps):
            session.run(train, feeds() if feeds else None)
        rate = steps / (time.perf_counter() - started)
        coordinator.request_stop()
        coordinator.join(threads, ignore_live_threads=True)
    return rate


def ways(folder: str, steps: int) -> dict[str, Callable[[], float]]:
    """Each way's steps per second."""
    shards = sorted(glob.glob(f"{folder}/*-train.tfrecord-*"))
    shards = [path for path in shards if not path.endswith(".idx")]
    whole = pipeline.open_dataset(folder)["train"][:]
    images, labels = whole["image"], whole["label"]

    def memory() -> Iterator[Any]:
        for number in itertools.count():
            start = number * BATCH % (len(images) - BATCH)
            yield images[start : start + BATCH], labels[start : start + BATCH]

    def held() -> Iterator[Any]:
        return itertools.repeat((tf.constant(images[:BATCH]), tf.constant(labels[:BATCH])))

    def fed() -> tuple[Any, Any, Any]:
        places = v1.placeholder(tf.uint8, (None, 28, 28)), v1.placeholder(tf.int64, (None,))

        def messages() -> Iterator[bytes]:
            while True:
                for path in shards:
                    yield from v1.io.tf_record_iterator(path)

        source = messages()

        def feeds() -> dict[Any, Any]:
            parsed = [tf.train.Example.FromString(next(source)) for _ in range(BATCH)]
            pixels = [
                np.frombuffer(e.features.feature["image"].bytes_list.value[0], np.uint8)
                for e in parsed
            ]
            classes = [e.features.feature["label"].int64_list.value[0] for e in parsed]
            return {places[0]: np.stack(pixels).reshape(-1, 28, 28), places[1]: classes}

        return *places, feeds

    def queued() -> tuple[Any, Any, Any]:
        names = v1.train.string_input_producer(shards)
        _, message = v1.TFRecordReader().read(names)
        parsed = v1.parse_single_example(message, SPEC)
        image = tf.reshape(tf.io.decode_raw(parsed["image"], tf.uint8), (28, 28))
        batch = v1.train.shuffle_batch(
            [image, parsed["label"]], BATCH, 10_000, 2_000, num_threads=2
        )
        return *batch, None

    def parse(message: Any) -> tuple[Any, Any]:
        parsed = tf.io.parse_single_example(message, SPEC)
        return tf.reshape(tf.io.decode_raw(parsed["image"], tf.uint8), (28, 28)), parsed["label"]

    def idiom() -> Iterator[Any]:
        files = tf.data.Dataset.from_tensor_slices(shards).repeat()
        records = files.interleave(tf.data.TFRecordDataset, num_parallel_calls=tf.data.AUTOTUNE)
        parsed = records.map(parse, num_parallel_calls=tf.data.AUTOTUNE)
        return iter(parsed.shuffle(10_000).batch(BATCH).prefetch(tf.data.AUTOTUNE))

    def ours() -> Iterator[Any]:
        batches = load(folder, "train", BATCH, shuffle_buffer=10_000, repeat=True)
        return ((batch["image"], batch["label"]) for batch in batches)

    return {
        "held ready": lambda: eager_rate(held, steps),
        "memory": lambda: eager_rate(memory, steps),
        "feed_dict": lambda: graph_rate(fed, steps, queues=False),
        "queues": lambda: graph_rate(queued, steps, queues=True),
        "tf.data": lambda: eager_rate(idiom, steps),
        "recordmill": lambda: eager_rate(ours, steps),
    }


def draw(rates: dict[str, float], path: str) -> None:
    """Bars of steps per second."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 3), layout="constrained")
    bars = axes.barh(list(rates), list(rates.values()))
    ready = rates["held ready"]
    told = [f"{rate:,.0f} (waits {max(0.0, 1 - rate / ready):.0%})" for rate in rates.values()]
    axes.bar_label(bars, told, padding=3)
    axes.margins(x=0.35)  # room for what is told beside the longest bar
    axes.invert_yaxis()
    axes.set_xlabel(f"steps of {BATCH} images per second")
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measures, prints and draws."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    output = DATA / "feeding"
    shutil.rmtree(output, ignore_errors=True)
    made = pipeline.convert(input=str(fashion_mnist()), output=str(output))
    chosen = ways(made.folder, args.steps)
    rates: dict[str, list[float]] = {name: [] for name in chosen}
    for _ in range(args.repeats):
        for name, rate in chosen.items():
            rates[name].append(rate())
    medians = {name: statistics.median(found) for name, found in rates.items()}
    ready = medians["held ready"]
    rows = [
        {"way": name, "steps/s": rate, "input wait": f"{max(0.0, 1 - rate / ready):.0%}"}
        for name, rate in medians.items()
    ]
    table(f"{args.steps} steps of {BATCH}", rows)
    picture = DATA / "feeding.png"
    draw(medians, str(picture))
    print(f"\n{picture}")
    finish("feeding", {"steps_per_second": rates})


if __name__ == "__main__":
    main()
