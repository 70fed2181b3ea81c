"""`python -m maskrcnn.run`: compose and check the configuration, then train, test and log; `-m` sweeps."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before anything imports TensorFlow, which reads it once

import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from maskrcnn.cli import quiet_imports, run_command
from maskrcnn.config.arguments import quote, split_pairs, unknown_flag
from maskrcnn.config.help import help_page
from maskrcnn.config.schema import Config
from maskrcnn.errors import Problem, ProblemsError, UsageError, UserError

if TYPE_CHECKING:
    from maskrcnn.config.compose import CommandLine
    from maskrcnn.config.parsing import Argument
    from maskrcnn.training.cluster import Cluster
    from maskrcnn.workflows.sweep_plan import SweepPlan

RUNS = Path("mlruns") / "runs"
_SWITCHES = {
    "-h": "help",
    "--help": "help",
    "--version": "version",
    "-m": "multirun",
    "--multirun": "multirun",
    "--resolve": "resolve",
}
_VALUED = {"-c": "cfg", "--cfg": "cfg", "-p": "package", "--package": "package"}
_COMPLETION = ("-sc", "--shell-completion", "--shell_completion")


@dataclass
class CommandArguments:
    """The command line in three parts: switches, options with values, overrides."""

    switches: set[str] = field(default_factory=set)
    valued: dict[str, str] = field(default_factory=dict)
    overrides: list[str] = field(default_factory=list)


def main(arguments: list[str]) -> int:
    """Runs the command; its exit code. Mistakes of the user's are raised as `UserError`."""
    if arguments and arguments[0] in _COMPLETION:
        return _complete(arguments)
    given = _read_arguments(arguments)
    if "help" in given.switches:
        print(help_page())
        return 0
    if "version" in given.switches:
        print(f"maskrcnn {_version()}")
        return 0
    if "cfg" in given.valued:
        return _print_config(given)
    _refuse_lone_options(given)
    return _sweep(given.overrides) if "multirun" in given.switches else _train(given.overrides)


def command() -> None:
    """The console script."""
    run_command(main)


def _read_arguments(arguments: Sequence[str]) -> CommandArguments:
    given = CommandArguments()
    rest = iter(_joined(arguments))
    for argument in rest:
        name, equals, value = argument.partition("=")
        if argument in _SWITCHES:
            given.switches.add(_SWITCHES[argument])
        elif name in _VALUED:
            given.valued[_VALUED[name]] = value if equals else next(rest, "")
        elif argument.startswith("-"):
            raise unknown_flag(argument, [*_SWITCHES, *_VALUED])
        else:
            given.overrides.append(argument)
    return given


def _joined(arguments: Sequence[str]) -> list[str]:
    """The arguments; refuses blanks around the equals sign, which the shell has made arguments of their own."""
    for before, argument in zip(["", *arguments], arguments):
        if argument == "=" or (argument.startswith("=") and before and "=" not in before):
            raise UsageError("there are blanks around the =", f"{before} {argument}".strip(), f"write {before}=VALUE")
    return list(arguments)


def _refuse_lone_options(given: CommandArguments) -> None:
    if "resolve" in given.switches or "package" in given.valued:
        raise UsageError("belongs to --cfg job", "--resolve" if "resolve" in given.switches else "--package")


def _version() -> str:
    try:
        return metadata.version("maskrcnn")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def _print_config(given: CommandArguments) -> int:
    """`--cfg job`: Hydra's own print-out, after our check of the overrides."""
    from maskrcnn.config.compose import compose_line

    kind = given.valued["cfg"]
    if kind not in ("job", "hydra", "all"):
        raise UsageError(f"there is no configuration {kind!r}", "--cfg", "write --cfg job")
    line = _prepare(given.overrides, multirun=False)
    compose_line(line)
    package = given.valued.get("package")
    options = ["--cfg", kind, *(["--resolve"] if "resolve" in given.switches else [])]
    if package is not None:
        _refuse_unknown_package(package)
        options += ["--package", package]
    _run_hydra(_nothing, [*options, *line.overrides], line.config_name)
    return 0


def _refuse_unknown_package(package: str) -> None:
    from maskrcnn.config.keys import nearest_key, sections

    if package not in sections():
        near = nearest_key(package)
        raise UsageError(f"there is no section {package!r}", "--package", f"did you mean {near}?" if near else "")


def _prepare(overrides: Sequence[str], *, multirun: bool) -> Any:
    """The checked command line; `from_run` replaces the defaults by the configuration of that run."""
    from maskrcnn.config.compose import prepare

    own, _ = split_pairs(overrides, ["from_run"])
    run = own.get("from_run")
    if run is None or run == "null":
        return prepare(overrides, multirun=multirun)
    prepare(overrides, multirun=multirun)  # a misspelt key is told before a run is looked for
    from maskrcnn.workflows.stored import stored_values

    return prepare(overrides, multirun=multirun, stored=stored_values(run.strip("'\"")))


def _train(overrides: Sequence[str]) -> int:
    from maskrcnn.config.compose import compose_line

    line = _prepare(overrides, multirun=False)
    config = compose_line(line)
    cluster = _cluster(config)
    outcome: list[Exception] = []

    def job(_: Any) -> float:
        # Hydra prints the traceback of whatever a job raises: it is kept and raised again outside.
        try:
            return _call_train(config, [text for text in overrides if not text.startswith("hydra")], cluster)
        except Exception as error:
            outcome.append(error)
            _note_failure(error)
            return float("nan")

    if cluster is None or cluster.is_chief:
        folder = _output_folder(line.arguments, "hydra.run", _slug(config, overrides))
        _run_hydra(job, [*line.overrides, *_sent_to(folder, "hydra.run")], line.config_name)
    else:
        own = [text for text in line.overrides if not text.startswith("hydra.run.dir=")]
        with tempfile.TemporaryDirectory(prefix="maskrcnn-worker-") as place:
            _run_hydra(job, [*own, *_sent_to(Path(place), "hydra.run")], line.config_name)
    if outcome:
        raise outcome[0]
    return 0


def _cluster(config: Config) -> Cluster | None:
    """The processes that train the model together, if there are several, once the configuration suits them."""
    from maskrcnn.config.validate import validate_workers
    from maskrcnn.training.cluster import find_cluster

    _refuse(_problems(config))
    cluster = find_cluster()
    _refuse([] if cluster is None else validate_workers(config, len(cluster.addresses)))
    return cluster


def _note_failure(error: Exception) -> None:
    """A job of a sweep may fail before its run is opened: the sweep reads why from the job's folder."""
    from hydra.core.hydra_config import HydraConfig

    from maskrcnn.tracking.read import is_sweep_folder
    from maskrcnn.workflows.sweep import write_failure

    folder = Path(HydraConfig.get().runtime.output_dir)
    if is_sweep_folder(folder.parent):
        write_failure(folder, error)


def _call_train(config: Config, overrides: list[str], cluster: Cluster | None) -> float:
    from hydra.core.hydra_config import HydraConfig

    with quiet_imports():
        from maskrcnn.workflows.train import train

    return train(config, Path(HydraConfig.get().runtime.output_dir).absolute(), overrides, cluster)


def _sweep(overrides: Sequence[str]) -> int:
    from maskrcnn.config.compose import compose_combinations, compose_fixed
    from maskrcnn.training.cluster import find_cluster
    from maskrcnn.workflows.sweep_parent import run_sweep

    if (cluster := find_cluster()) is not None:
        raise UserError("a sweep starts from one process", str(cluster), "start it alone, with hydra/launcher=slurm")
    line = _prepare(overrides, multirun=True)
    named = _named_sweep_folder(line)
    configs = [config for _, config in compose_combinations(line)] or [compose_fixed(line)]
    _refuse([problem for config in configs for problem in _problems(config)])

    def launch(folder: Path) -> None:
        sent = [] if named is not None else _sent_to(folder, "hydra.sweep")
        _run_hydra(_sweep_job, ["--multirun", *line.overrides, *_direction(line, configs[0]), *sent], line.config_name)

    def make_folder() -> Path:
        return cast(Path, _output_folder([], "hydra.sweep", "sweep"))

    return run_sweep(configs[0], _plan(line, configs), launch, named=named, make_folder=make_folder)


def _plan(line: CommandLine, configs: Sequence[Config]) -> SweepPlan:
    """What the sweep is; the same command line in the same place is the same sweep."""
    from maskrcnn.config.compose import combinations
    from maskrcnn.tracking.environment import usable_cores
    from maskrcnn.tracking.store import resolve_store
    from maskrcnn.workflows.naming import config_digest
    from maskrcnn.workflows.sweep_plan import new_plan

    first = configs[0]
    fixed = [a.text for a in line.arguments if not a.override.sweep]
    launcher = [text for text in fixed if text.startswith("hydra/")]
    store = resolve_store(first.tracking.uri, Path.cwd()).public_uri
    return new_plan(
        fixed,
        [a.text for a in line.arguments if a.override.sweep],
        combinations(line),
        threads=first.sweep.threads or usable_cores(),
        metric=first.sweep.metric,
        same=[[config_digest(config) for config in configs], launcher, store, first.tracking.experiment],
    )


def _named_sweep_folder(line: CommandLine) -> Path | None:
    """The folder that the user has named for a sweep, if any: it must be known before Hydra starts."""
    given = {a.override.key: a for a in line.arguments}
    if "hydra.sweep.subdir" in given:
        raise UsageError("the folders of jobs are their numbers", given["hydra.sweep.subdir"].text, "leave it out")
    argument = given.get("hydra.sweep.dir")
    if argument is None:
        return None
    folder = str(argument.override.values[0])
    if "${" in folder:
        raise UsageError("must be a plain folder", argument.text, "or leave it out: each sweep gets its own")
    _make_named(argument)
    return Path(folder).absolute()


def _direction(line: CommandLine, config: Config) -> list[str]:
    """Optuna looks for the smallest value unless it is told; a higher precision is better."""
    from maskrcnn.config.validate_sweep import less_is_better

    texts = line.overrides
    if "hydra/sweeper=optuna" not in texts or any(text.startswith("hydra.sweeper.direction=") for text in texts):
        return []
    return [f"hydra.sweeper.direction={'minimize' if less_is_better(config.sweep.metric) else 'maximize'}"]


def _sweep_job(composed: Any) -> float:
    """One job, in whatever process the launcher runs it: a child that starts from its overrides alone."""
    from hydra.core.hydra_config import HydraConfig

    from maskrcnn.config.compose import typed
    from maskrcnn.workflows.sweep import run_job

    hydra_config = HydraConfig.get()
    return run_job(typed(composed), list(hydra_config.overrides.task), Path(hydra_config.runtime.output_dir))


def _problems(config: Config) -> list[Problem]:
    from maskrcnn.config.validate import validate, validate_tracking_uri
    from maskrcnn.config.validate_sweep import check_sweep

    problems = [*validate(config), *check_sweep(config)]
    uri = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    if uri and config.tracking.uri is None and config.tracking.enabled:
        problems += validate_tracking_uri(uri, "MLFLOW_TRACKING_URI")
    return problems


def _refuse(problems: Sequence[Problem]) -> None:
    if problems:
        raise ProblemsError(list(dict.fromkeys(problems)))


def _slug(config: Config, overrides: Sequence[str]) -> str:
    """A folder's name that tells what differs: the overrides that the user gave, else the task."""
    given = config.tracking.run_name or " ".join(o for o in overrides if not o.startswith(("hydra", "tracking.")))
    words = re.sub(r"[^\w.=+-]+", "_", given).strip("_.")
    return words[:60] or str(config.task)


def _sent_to(folder: Path | None, key: str) -> list[str]:
    """The override that sends the output to the folder."""
    return [] if folder is None else [f"{key}.dir={quote(str(folder))}"]


def _output_folder(arguments: Sequence[Argument], key: str, name: str) -> Path | None:
    """A new folder for the output; None where the user has named one, which is made."""
    named = next((a for a in arguments if a.override.key == f"{key}.dir"), None)
    if named is not None:
        _make_named(named)
        return None
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    base = Path.cwd() / RUNS
    try:
        base.mkdir(parents=True, exist_ok=True)
        for number in range(1, 1000):
            folder = base / (f"{stamp}-{name}" + (f"_{number}" if number > 1 else ""))
            try:
                folder.mkdir()
            except FileExistsError:
                continue  # Another run of this second has it.
            return folder
    except OSError as error:
        raise UserError(f"no folder for the run can be made: {error.strerror}", str(base)) from error
    raise UserError("no free name for the run's folder", str(base))


def _make_named(argument: Argument) -> None:
    """Make the folder that the user has named, before Hydra does, which would answer with a traceback."""
    folder = str(argument.override.values[0])
    if "${" in folder:
        return  # Hydra knows what it stands for.
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"this folder cannot be made: {error.strerror}", argument.text, "name another") from error
    if not os.access(folder, os.W_OK):
        raise UserError("this folder cannot be written to", argument.text, "name another")


def _run_hydra(job: Callable[[Any], Any], arguments: Sequence[str], config_name: str) -> None:
    """Hydra's main with the given arguments: output folder, logging, launchers."""
    import hydra

    from maskrcnn.config.compose import VERSION_BASE
    from maskrcnn.config.groups import config_path

    decorated = hydra.main(config_path=config_path(), config_name=config_name, version_base=VERSION_BASE)(job)
    with _process_state(["maskrcnn.run", *arguments]):
        decorated()


@contextmanager
def _process_state(argv: list[str]) -> Iterator[None]:
    """Hydra reads `sys.argv`, and raises what went wrong instead of printing it only under this variable."""
    before, variable = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv, os.environ["HYDRA_FULL_ERROR"] = argv, "1"
    try:
        yield
    finally:
        sys.argv = before
        if variable is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = variable


def _nothing(_: Any) -> None:
    """Hydra prints a configuration for a job that it does not run."""


def _complete(arguments: Sequence[str]) -> int:
    """`-sc install=bash`: Hydra's completion for the shell."""
    from maskrcnn.config.compose import prepare

    prepare([])
    _run_hydra(_nothing, arguments, "config")
    return 0


if __name__ == "__main__":
    command()
