"""`run`: check the data, print the table of samples, train, evaluate, log, report."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import keras

from maskrcnn.config.schema import Config
from maskrcnn.config.stored import FILE_NAME, to_yaml
from maskrcnn.tracking.environment import environment_facts
from maskrcnn.tracking.tracker import Tracker
from maskrcnn.training.cluster import Cluster
from maskrcnn.training.devices import chiefs_text, device_scope, explained, leave_together
from maskrcnn.training.loop import make_deterministic
from maskrcnn.training.precision import resolve_precision
from maskrcnn.visualization.figures import samples_figure
from maskrcnn.workflows import naming
from maskrcnn.workflows.datasets import Data, load_data, write_subset
from maskrcnn.workflows.finetune import fitted
from maskrcnn.workflows.finish import print_links, report_run
from maskrcnn.workflows.panels import write_panels
from maskrcnn.workflows.pretrained import adopt, open_pretrained
from maskrcnn.workflows.report import ENVIRONMENT
from maskrcnn.workflows.resume import find_to_resume
from maskrcnn.workflows.session import CHECKPOINT, Clock, Session
from maskrcnn.workflows.tracked_run import open_run


def train(config: Config, output_dir: Path, overrides: Sequence[str], cluster: Cluster | None = None) -> float:
    """Train and test the configured detector; the headline figure on the test part (0.0 where it is undefined).

    Args:
        cluster: the processes that train it together, each of which calls this. All but the chief write what they
            must into their own `output_dir`, log nothing, and return 0.0 after the last step.

    Raises:
        UserError: for mistakes in data or configuration, a loss that is not finite, and another process that has ended.
    """
    with explained(cluster):
        return _train(config, output_dir, overrides, cluster)


def _train(config: Config, output_dir: Path, overrides: Sequence[str], cluster: Cluster | None) -> float:
    clock, asked = Clock(), naming.config_digest(config)
    is_chief = cluster is None or cluster.is_chief
    scope = device_scope(config.devices, cluster)
    pretrained = open_pretrained(config)
    if pretrained is not None:
        config = adopt(config, pretrained, overrides)
    config = with_precision(config)
    keras.config.set_dtype_policy(config.training.precision)
    make_deterministic(config.seed, naming.is_deterministic(config))
    with clock.measure("data"):
        data = load_data(config)
    if is_chief:
        print(data.samples.to_text(), flush=True)
    config = fitted(config, data.train, overrides)
    unfinished = find_to_resume(config, asked, output_dir, Path.cwd()) if is_chief else None
    folder = unfinished or output_dir
    with open_run(config, overrides, folder, digest=asked, is_chief=is_chief) as tracker:
        if is_chief:
            _log_inputs(config, data, tracker)
        with clock.measure("build"), scope:
            checkpoint = _checkpoint(folder, cluster)
            session = Session.build(config, data, folder, tracker, clock, pretrained, is_chief=is_chief)
        if checkpoint is not None:
            session.restore(checkpoint)
        session.run()
        if not is_chief:
            leave_together(session.predictor.detector)
            return 0.0
        figures = session.finish()
        write_panels(config, data.test, session.monitor.pictures, figures.detections, folder)
        report_run(config, data, tracker, figures, folder)
    print_links(tracker)
    leave_together(session.predictor.detector)
    return figures.metrics.get(naming.headline(config)) or 0.0


def with_precision(config: Config) -> Config:
    """The configuration with the number format that `auto` stands for on this machine."""
    on_cpu = keras.backend.backend() == "tensorflow" and not naming.has_accelerator()
    chosen = resolve_precision(config.training.precision, tensorflow_on_cpu=on_cpu)
    if chosen == config.training.precision:
        return config
    print(f"training.precision: {chosen} (auto, by this machine's processor)", flush=True)
    return dataclasses.replace(config, training=dataclasses.replace(config.training, precision=chosen))


def _checkpoint(folder: Path, cluster: Cluster | None) -> Path | None:
    """The checkpoint that the training goes on from, if there is one: the chief's, which all processes must see."""
    path = folder / CHECKPOINT
    text = str(path) if path.exists() else ""
    if cluster is not None:
        text = chiefs_text(text)
    return Path(text) if text else None


def _log_inputs(config: Config, data: Data, tracker: Tracker) -> None:
    tracker.text(FILE_NAME, to_yaml(config))
    tracker.text(ENVIRONMENT, json.dumps(environment_facts(), indent=1) + "\n")
    samples = data.samples
    tracker.table("samples", samples.header, samples.rows)
    tracker.text("samples.md", samples.to_markdown())
    tracker.figure("samples", samples_figure(samples.header, samples.rows, "Samples"))
    if config.dataset.write_subset:
        write_subset(data, Path(config.dataset.write_subset))
