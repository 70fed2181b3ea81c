"""Overrides → the typed configuration. The one module below the commands that knows Hydra and OmegaConf.

Most mistakes are found before Hydra sees the overrides (`maskrcnn.config.overrides`), all at once and with the
nearest valid name; whatever Hydra or OmegaConf complain of after that becomes one line, too.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import hydra
from hydra.conf import HydraConf
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from maskrcnn.config.groups import PACKAGE, checkout_folder
from maskrcnn.config.names import nearest
from maskrcnn.config.overrides import completions, find_problems
from maskrcnn.config.parsing import Argument, parse
from maskrcnn.config.paths import absolute_paths
from maskrcnn.config.schema import Config
from maskrcnn.config.stored import known_values
from maskrcnn.errors import Problem, ProblemsError, UsageError

VERSION_BASE = "1.3"
MOST_COMBINATIONS = 64
"""Jobs of a sweep that are checked before it starts; each job checks itself again."""


class OverridesError(ProblemsError):
    """Overrides are wrong: one line each, exit code 2."""

    exit_code = UsageError.exit_code


@dataclass(frozen=True)
class CommandLine:
    """Checked overrides, as Hydra wants them, and the primary configuration that they change."""

    arguments: tuple[Argument, ...]
    config_name: str = "config"
    multirun: bool = False

    @property
    def overrides(self) -> list[str]:
        return [argument.text for argument in self.arguments]


def compose(overrides: Sequence[str], *, stored: Mapping[str, Any] | None = None) -> Config:
    """The configuration that the overrides make, with absolute paths.

    Args:
        overrides: `key=value`, relative paths from the working directory.
        stored: values of an earlier run (`maskrcnn.config.stored`), which replace the defaults.

    Raises:
        OverridesError: an unknown key or option, a wrong type, an override that cannot be read (exit code 2).
    """
    return compose_line(prepare(overrides, stored=stored))


def prepare(
    arguments: Sequence[str], *, multirun: bool = False, stored: Mapping[str, Any] | None = None
) -> CommandLine:
    """Checks the overrides, quotes what Hydra's grammar would refuse and adds what follows from them.

    Raises:
        OverridesError: see `compose`.
    """
    _register(stored)
    parsed = [parse(argument, multirun=multirun) for argument in arguments]
    problems = [item for item in parsed if isinstance(item, Problem)]
    read = [item for item in parsed if isinstance(item, Argument)]
    with _hydra():
        problems += find_problems([item.override for item in read], _hydra_options, multirun=multirun)
    if problems:
        raise OverridesError(problems)
    added = completions([item.override for item in read])
    read += [cast(Argument, parse(text, multirun=multirun)) for text in added]
    return CommandLine(tuple(read), "config" if stored is None else "from_run", multirun)


def compose_line(line: CommandLine) -> Config:
    """The configuration of a checked command line for one run."""
    with _hydra():
        return _typed(line.config_name, line.overrides)


def combinations(line: CommandLine) -> list[list[str]]:
    """The overrides of each job of a sweep, without Hydra's own, in the order of Hydra's basic sweeper.

    Empty for sweeps that a sweeper draws, or that only Hydra can list (globs).
    """
    own = [a for a in line.arguments if a.override.key.partition(".")[0].partition("/")[0] != "hydra"]
    drawn = any(a.override.key == "hydra/sweeper" and a.override.values != ("basic",) for a in line.arguments)
    if drawn or not all(argument.alternatives for argument in own):
        return []
    return [list(job) for job in itertools.product(*(argument.alternatives for argument in own))]


def compose_fixed(line: CommandLine) -> Config:
    """The configuration that all jobs of a sweep begin with: without the keys that have several values."""
    with _hydra():
        return _typed(line.config_name, [a.text for a in line.arguments if not a.override.sweep])


def typed(composed: DictConfig) -> Config:
    """The typed configuration, with absolute paths, of what Hydra hands to a job."""
    return absolute_paths(cast(Config, OmegaConf.to_object(composed)), Path.cwd())


def compose_combinations(line: CommandLine) -> Iterator[tuple[list[str], Config]]:
    """The first `MOST_COMBINATIONS` jobs of a sweep: their overrides and configurations.

    Nothing for sweeps that the sweeper draws (intervals) or that only Hydra can list (globs).
    """
    if all(argument.alternatives for argument in line.arguments):
        jobs = itertools.product(*(argument.alternatives for argument in line.arguments))
        with _hydra():
            for job in itertools.islice(jobs, MOST_COMBINATIONS):
                yield list(job), _typed(line.config_name, job)


def _register(stored: Mapping[str, Any] | None) -> None:
    _register_schema()
    if stored is not None:
        ConfigStore.instance().store(name="stored", node=known_values(stored), package="_global_")


@functools.cache
def _register_schema() -> None:
    ConfigStore.instance().store(name="schema", node=Config)


@contextmanager
def _hydra() -> Iterator[None]:
    folder = checkout_folder()
    if folder is not None:
        with hydra.initialize_config_dir(str(folder), version_base=VERSION_BASE):
            yield
    else:
        with hydra.initialize_config_module(PACKAGE, version_base=VERSION_BASE):
            yield


def _hydra_options(group: str) -> Sequence[str]:
    return GlobalHydra.instance().config_loader().get_group_options(group)


def _typed(config_name: str, overrides: Sequence[str]) -> Config:
    try:
        composed = hydra.compose(config_name, list(overrides))
        _refuse_missing(composed)
        config = cast(Config, OmegaConf.to_object(composed))
    except (HydraException, OmegaConfBaseException) as error:
        raise OverridesError([_problem(error)]) from error
    return absolute_paths(config, Path.cwd())


def _refuse_missing(composed: DictConfig) -> None:
    missing = sorted(OmegaConf.missing_keys(composed))
    if missing:
        raise OverridesError([Problem(key, "has no value (???)", f"give {key}=…") for key in missing])


def _problem(error: BaseException) -> Problem:
    """One line from Hydra's and OmegaConf's several."""
    deepest = error
    while deepest.__cause__ is not None:
        deepest = deepest.__cause__
    lines = str(deepest).splitlines() or [type(deepest).__name__]
    key = getattr(deepest, "full_key", None) or ""
    if key.startswith("hydra."):
        return Problem(key, lines[0], _hydra_key_hint(key))
    return Problem(key, lines[0])


def _hydra_key_hint(key: str) -> str:
    near = nearest(key, (f"hydra.{name}" for name in _flat_keys(OmegaConf.structured(HydraConf))))
    return f"did you mean {near}?" if near else "see Hydra's documentation"


def _flat_keys(node: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in map(str, node):
        yield f"{prefix}{key}"
        value = None if OmegaConf.is_missing(node, key) or OmegaConf.is_interpolation(node, key) else node[key]
        if isinstance(value, DictConfig):
            yield from _flat_keys(value, f"{prefix}{key}.")
