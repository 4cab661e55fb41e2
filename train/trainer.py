"""The trainer: shards in, a model with its metrics and pictures out.

Reads from top to bottom: `train` sets up, finds its place, takes the steps, evaluates, writes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from pipeline.dataset import Dataset, open_dataset
from pipeline.errors import DatasetError, OutputError, UsageError

from . import evaluate, feed, output, pictures
from .checkpoint import Checkpoints
from .events import EventLog
from .metrics import Metrics
from .options import TrainOptions, parse_profile, parse_require
from .profiler import Profiler
from .record import Record
from .setup import TRAIN, Setup, set_up, versions
from .signals import Stopped, stop_request
from .task import Task

VALIDATION, TEST = "validation", "test"
# Points that a learning curve has, about.
CURVE_POINTS = 100
# Options that change neither the steps nor what they see; a run may be resumed with others.
FREE_OPTIONS = {
    "require",
    *("data", "model_dir", "log_every", "checkpoint_every", "overwrite", "profile"),
    *("steps_per_execution", "cache", "jit"),
}


class Bar(Protocol):
    """What the trainer needs of a progress bar; tqdm's has it."""

    def update(self, n: int) -> Any:
        """Counts n more."""

    def set_postfix_str(self, s: str, refresh: bool) -> None:
        """Shows a text behind the bar, at once or with the next count."""


class Progress(Protocol):
    """Makes a bar that closes itself."""

    def __call__(
        self, total: int, desc: str, unit: str, *, initial: int = 0
    ) -> contextlib.AbstractContextManager[Bar]:
        """A bar of so many units, some of which were done before."""


def train(
    options: TrainOptions,
    *,
    log: Callable[[str], None] = print,
    progress: Progress | None = None,
) -> Metrics:
    """Trains a model on a dataset and writes `model.keras`, `metrics.json` and pictures.

    A run that was stopped goes on where it was when it is started again.

    Args:
      options: What to do.
      log: Takes a line at a time.
      progress: Makes a progress bar; None shows none.

    Returns:
      The metrics on `test`.

    Raises:
      DatasetError: The dataset misses a split or a feature, or is damaged.
      OutputError: The folder of the model cannot be written.
      Stopped: A signal asked for it; a checkpoint is written.
      UsageError: Options that do not fit the dataset, the device or an unfinished run.
    """
    dataset = open_dataset(options.data)
    preprocess = dataset.manifest.plan.preprocess
    if preprocess is not None and preprocess.materialize == "raw":
        # TensorFlow runs the transform, whatever the backend.
        from .transform import transformed

        dataset = transformed(dataset)
    for split in (TRAIN, TEST, *([VALIDATION] if options.patience else [])):
        feed.require_split(dataset, split)
    task = feed.describe(dataset, options.image_feature, options.label_feature)
    folder = output.prepare(options.model_dir)
    setup = set_up(options, dataset, task)

    run = _Run(options, dataset, task, setup, folder, log if setup.learner.worker == 0 else _silent)
    run.introduce()
    run.find_place()
    run.take_steps(progress)
    return run.finish()


def _silent(line: str) -> None:
    """What workers other than the first have to say."""


class _Run:
    """One run, from its place in the data to its files."""

    def __init__(
        self,
        options: TrainOptions,
        dataset: Dataset,
        task: Task,
        setup: Setup,
        folder: Path,
        log: Callable[[str], None],
    ) -> None:
        self.options, self.dataset, self.task, self.folder = options, dataset, task, folder
        self.setup, self.learner, self.feed = setup, setup.learner, setup.feed
        self.total, self.log = setup.total_steps, log
        self.chief = setup.learner.worker == 0
        self.checkpoints = Checkpoints(folder)
        self.record = Record()
        self.has_validation = bool(dataset.splits.get(VALIDATION))
        every = options.log_every or max(1, self.total // CURVE_POINTS)
        group = setup.choices["steps_per_execution"]
        self.every = -(-every // group) * group

    def introduce(self) -> None:
        """Says what is about to happen."""
        network, choices = self.learner.network, self.setup.choices
        shape = "x".join(map(str, self.task.image_shape))
        many = f", {choices['workers']} workers" if choices["workers"] > 1 else ""
        self.log(
            f"training {network.name} ({network.count_params():,} parameters) on "
            f"{self.setup.device}{many}, {choices['backend']}, {choices['precision']}: "
            f"{self.feed.count:,} images of {shape}, {self.task.num_classes} classes"
        )

    # Finding its place.

    def _fingerprint(self) -> dict[str, Any]:
        """What a run must share with the one that it goes on with."""
        chosen = dataclasses.asdict(self.options)
        return {
            **{name: value for name, value in chosen.items() if name not in FREE_OPTIONS},
            "dataset": self.dataset.manifest.digest,
            "workers": self.setup.choices["workers"],
            "precision": self.setup.choices["precision"],
        }

    def find_place(self) -> None:
        """Goes on from the newest checkpoint, if there is one."""
        if self.options.overwrite and self.chief:
            self.checkpoints.clear()
        found = None if self.options.overwrite else self.checkpoints.load()
        if found is not None:
            self._go_on(*found)
        workers = self.setup.choices["workers"]
        if self.learner.total(self.record.step) != workers * self.record.step:
            raise OutputError(
                f"{self.checkpoints.folder}: other workers found another checkpoint than step "
                f"{self.record.step:,}; --model_dir must be one folder that all workers share"
            )

    def _go_on(self, arrays: list[Any], facts: dict[str, Any]) -> None:
        wanted = self._fingerprint()
        for name, value in wanted.items():
            if facts["fingerprint"].get(name) != value:
                raise UsageError(
                    f"{self.checkpoints.folder}: an unfinished run was started with {name} "
                    f"{facts['fingerprint'].get(name)!r}, now {value!r}; give the same options to "
                    "go on with it, or --overwrite to start anew"
                )
        self.learner.set_state(arrays)
        self.record = Record.from_json(facts["record"])
        self.log(f"going on from step {self.record.step:,} of {self.total:,}")

    def _save(self) -> None:
        self.record.add(self.learner.take_sums())
        state = self.learner.state()
        if self.chief:
            facts = {"fingerprint": self._fingerprint(), "record": self.record.to_json()}
            self.checkpoints.save(self.record.step, state, facts)

    # Taking the steps.

    def take_steps(self, progress: Progress | None) -> None:
        """All steps that are left, and what is to be done between them."""
        show = progress if progress and self.chief and not self.options.log_every else _no_progress
        count, done = self.feed.records_until(self.total), self.feed.records_until(self.record.step)
        with contextlib.ExitStack() as stack:
            self.stop = stack.enter_context(stop_request())
            self.bar = stack.enter_context(show(count, "training", "examples", initial=done))
            self.events = EventLog(self.folder / "logs") if self.chief else None
            if self.events:
                stack.callback(self.events.close)
            profiler = Profiler(parse_profile(self.options.profile), self.folder / "logs")
            stack.callback(profiler.stop)
            self.lap = (time.perf_counter(), self.record.step)
            groups = self.feed.groups(self.record.step, self.total)
            stack.callback(groups.close)
            profiler.at(self.record.step)
            while self.record.step < self.total and not self._has_stopped_early():
                self._steps(groups)
                profiler.at(self.record.step)

    def _has_stopped_early(self) -> bool:
        return bool(self.options.patience) and self.record.stale >= (self.options.patience or 0)

    def _steps(self, groups: Iterator[feed.Group]) -> None:
        """One group of steps, and what is to be done after it."""
        record, started = self.record, time.perf_counter()
        group = next(groups)
        waited = time.perf_counter() - started
        self.learner.train(*group)
        before, record.step = record.step, record.step + len(group[1])
        ends = record.step == self.total or record.step % self.feed.steps_per_epoch == 0
        if ends or record.step % self.every == 0:
            # The device may be behind; its time is the steps' time.
            record.add(self.learner.take_sums())
        record.wait_seconds += waited
        record.seconds += time.perf_counter() - started
        self.bar.update(self.feed.records_until(record.step) - self.feed.records_until(before))
        self._between_steps(epoch_ends=ends)

    def _between_steps(self, *, epoch_ends: bool) -> None:
        record = self.record
        at_point = record.step % self.every == 0
        if at_point or record.step == self.total:
            self._point()
        if epoch_ends and self.has_validation:
            self._validate()
        stopping = at_point or epoch_ends or self.setup.choices["workers"] == 1
        wishes = self.stop.number is not None
        if stopping and record.step < self.total and self.learner.agree(wishes):
            self._save()
            raise Stopped(
                f"stopped by {self.stop.name} at step {record.step:,} of {self.total:,}; the "
                f"checkpoint is in {self.checkpoints.folder}: start the same command again to go "
                "on",
                self.stop.number or 15,
            )
        every = self.options.checkpoint_every
        if record.step % every == 0 if every else epoch_ends:
            self._save()

    def _point(self) -> None:
        """A point of the learning curves, a line or the text behind the bar."""
        record = self.record
        point = record.train_point()
        text = f"loss {point['loss']:.4f}, accuracy {point['accuracy']:.4f}"
        (then, step), now = self.lap, (time.perf_counter(), record.step)
        rate, self.lap = (now[1] - step) / (now[0] - then), now
        self.bar.set_postfix_str(f"{text}, input wait {record.wait_share:.1%}", refresh=False)
        if self.options.log_every:
            self.log(f"step {record.step:,}/{self.total:,}: {text}, {rate:.1f} steps/s")
        self._write_event("train", point, {"steps_per_second": rate, "wait": record.wait_share})

    def _validate(self) -> None:
        """A look at `validation`, and the best weights kept if they are asked for."""
        started = time.perf_counter()
        result = self._evaluate(VALIDATION)
        point = self.record.point(VALIDATION, result.loss, result.accuracy)
        self._write_event(VALIDATION, point, {})
        if self.options.patience:
            # The chief judges: statistics of batches differ a little from worker to worker.
            better = self.learner.agree(self.chief and result.loss < self.record.best_loss)
            self.record.judge(result.loss, better=better)
            if better and self.chief:
                self.checkpoints.save_best(self.learner.weights())
        self.log(
            f"step {self.record.step:,}/{self.total:,}: validation loss {result.loss:.4f}, "
            f"accuracy {result.accuracy:.4f}"
        )
        then, step = self.lap
        self.lap = (then + time.perf_counter() - started, step)

    def _evaluate(self, split: str) -> evaluate.Evaluation:
        batches = feed.in_order(self.dataset, split, self.task)
        return evaluate.evaluate(self.learner.predict, batches, self.task.num_classes)

    def _write_event(self, split: str, point: dict[str, Any], more: dict[str, float]) -> None:
        if self.events:
            scalars = {"loss": point["loss"], "accuracy": point["accuracy"], **more}
            named = {f"{split}/{name}": value for name, value in scalars.items()}
            self.events.write(point["step"], named)

    # What comes of it.

    def finish(self) -> Metrics:
        """Evaluates on `test` and writes everything; a finished run keeps no checkpoint."""
        record = self.record
        model_step = record.step
        if self.options.patience and record.best_step is not None:
            model_step = record.best_step
            # Not before the chief has written them, nor after it has cleared them away.
            self.learner.total(0)
            self.learner.set_weights(self.checkpoints.load_best())
            self.learner.total(0)
            self.log(f"taking the weights of step {model_step:,}, the best on validation")
        self.learner.publish()
        result = self._evaluate(TEST)
        record.point(TEST, result.loss, result.accuracy)
        metrics = self._metrics(result, model_step)
        self.log(
            f"test: loss {result.loss:.4f}, accuracy {result.accuracy:.4f} after {record.step:,} "
            f"steps in {record.seconds:.1f} s ({metrics.examples_per_second:,.0f} examples/s, "
            f"{record.wait_share:.1%} of the time waiting for input)"
        )
        if self.chief:
            missed = self._missed(metrics)
            self._write(result, metrics, with_model=missed is None)
            self.checkpoints.clear()
            if missed:
                raise DatasetError(missed)
            files = sorted(path.name for path in self.folder.iterdir() if path.is_file())
            files += ["saved_model/"] if (self.folder / "saved_model").is_dir() else []
            self.log(f"wrote {self.folder}/: {', '.join(files)}")
        return metrics

    def _metrics(self, result: evaluate.Evaluation, model_step: int) -> Metrics:
        record, plan = self.record, self.dataset.manifest.plan
        examples = self.feed.records_until(record.step)
        return Metrics(
            loss=result.loss,
            accuracy=result.accuracy,
            validation=record.last(VALIDATION),
            classes=dict(zip(self.task.class_names, result.by_class(), strict=True)),
            steps=record.step,
            model_step=model_step,
            epochs=examples / self.feed.count,
            examples=examples,
            seconds=record.seconds,
            examples_per_second=examples / record.seconds,
            input_wait_share=record.wait_share,
            parameters=self.learner.network.count_params(),
            device=str(self.setup.device),
            dataset={
                "path": str(self.dataset.path),
                "name": plan.name,
                "version": plan.version,
                "digest": self.dataset.manifest.digest,
            },
            options=dataclasses.asdict(self.options),
            choices=self.setup.choices,
            versions=versions(),
        )

    def _missed(self, metrics: Metrics) -> str | None:
        """What to say where the model misses the bar."""
        bar = parse_require(self.options.require)
        if bar is None:
            return None
        name, sign, wanted = bar
        found = getattr(metrics, name)
        if found >= wanted if sign == ">=" else found <= wanted:
            return None
        return (
            f"--require {self.options.require}: {name} on test is {found:.4f}; no model is kept, "
            f"its metrics are in {self.folder / 'metrics.json'}: train longer, or on better data"
        )

    def _write_model(self) -> None:
        with output.replacing(self.folder / "model.keras") as partial:
            # Keras chooses the format by the suffix, which the temporary name keeps.
            self.learner.network.save(partial)
        if self.setup.choices["backend"] == "tensorflow":
            from .export import export

            export(self.dataset, self.task, self.learner.network, self.folder)

    def _write(self, result: evaluate.Evaluation, metrics: Metrics, *, with_model: bool) -> None:
        """Writes everything; `metrics.json` last, so that it stands for a complete folder."""
        folder, names = self.folder, self.task.class_names
        for name in ("metrics.json", "model.keras"):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / "saved_model", ignore_errors=True)
        if with_model:
            self._write_model()
        with output.replacing(folder / "learning_curves.png") as partial:
            pictures.learning_curves(self.record.history, partial)
        with output.replacing(folder / "confusion_matrix.png") as partial:
            pictures.confusion_matrix(result.confusion, names, TEST, partial)
        with output.replacing(folder / "worst_mistakes.png") as partial:
            pictures.worst_mistakes(result.mistakes, names, partial)
        output.write_json(folder / "history.json", self.record.history)
        output.write_json(folder / "metrics.json", dataclasses.asdict(metrics))


@contextlib.contextmanager
def _no_progress(total: int, desc: str, unit: str, *, initial: int) -> Iterator[Bar]:
    class Nothing:
        def update(self, n: int) -> None: ...
        def set_postfix_str(self, s: str, refresh: bool) -> None: ...

    yield Nothing()
