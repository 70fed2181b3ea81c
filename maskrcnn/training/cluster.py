"""The processes that train one model together, found in `TF_CONFIG` or in what Slurm tells each task of a step.

Plain Python: a command asks before TensorFlow is imported, which must know its cluster before anything else.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from maskrcnn.errors import UserError

EXAMPLE = 'such as {"cluster": {"worker": ["node1:2222", "node2:2222"]}, "task": {"type": "worker", "index": 0}}'
SLURM = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE")
"""What srun sets. A batch script without srun has SLURM_NTASKS and a SLURM_PROCID too, but runs once."""
WAIT_S, POLL_S = 600.0, 0.5
FIRST_PORT, JOBS, TASKS = 10000, 1250, 16
"""Ports of 1,250 consecutive jobs, 16 for each, below those that the system hands out (32768 on Linux)."""


@dataclass(frozen=True)
class Cluster:
    """`host:port` of each process, the chief's first, and which of them this one is."""

    addresses: tuple[str, ...]
    index: int

    @property
    def is_chief(self) -> bool:
        """Whether this process logs, evaluates and saves."""
        return self.index == 0

    def __str__(self) -> str:
        return f"worker {self.index} of {len(self.addresses)} ({self.addresses[self.index]})"


def find_cluster(environment: Mapping[str, str] = os.environ) -> Cluster | None:
    """The cluster that this process belongs to, None if it trains alone; TF_CONFIG counts before Slurm.

    Raises:
        UserError: the variables are malformed or contradict each other.
    """
    text = environment.get("TF_CONFIG", "").strip()
    if text:
        cluster = _from_tf_config(text)
    elif all(name in environment for name in SLURM):
        cluster = _from_slurm(environment)
    else:
        return None
    return cluster if len(cluster.addresses) > 1 else None


def _from_tf_config(text: str) -> Cluster:
    try:
        given = json.loads(text)
        jobs, kind, index = given["cluster"], str(given["task"]["type"]), int(given["task"]["index"])
        others = sorted(set(jobs) - {"chief", "worker"})
        chiefs, workers = list(jobs.get("chief", [])), list(jobs.get("worker", []))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"no cluster and task in it ({type(error).__name__}: {error})", "TF_CONFIG", EXAMPLE) from None
    if others or len(chiefs) > 1 or not chiefs + workers:
        found = f"found {', '.join(others)}" if others else f"found {len(chiefs)} and {len(workers)}"
        raise UserError(f"the cluster has at most one chief, and workers; {found}", "TF_CONFIG", EXAMPLE)
    own = {"chief": range(len(chiefs)), "worker": range(len(chiefs), len(chiefs + workers))}.get(kind, range(0))
    if not 0 <= index < len(own):
        raise UserError(f"the cluster has no task {kind} {index}", "TF_CONFIG", "count from 0")
    return Cluster(_checked_addresses(chiefs + workers), own[index])


def _checked_addresses(addresses: list[Any]) -> tuple[str, ...]:
    for address in addresses:
        if not isinstance(address, str) or not re.fullmatch(r"[^\s:]+:\d{1,5}", address):
            raise UserError(f"{address!r} is no HOST:PORT", "TF_CONFIG", EXAMPLE)
    if len(set(addresses)) < len(addresses):
        raise UserError("two tasks have one address", "TF_CONFIG", "give each a port of its own")
    return tuple(addresses)


def _from_slurm(environment: Mapping[str, str]) -> Cluster:
    """Tasks are counted along the nodes, as srun does by default (`--distribution=block`)."""
    index, count = _number(environment, "SLURM_PROCID"), _number(environment, "SLURM_STEP_NUM_TASKS")
    if index >= count:
        raise UserError(f"the step has {count} tasks", f"SLURM_PROCID={index}", "start it with srun")
    nodes = expand_nodes(environment["SLURM_STEP_NODELIST"])
    tasks = _expand_counts(environment["SLURM_STEP_TASKS_PER_NODE"])
    if len(nodes) != len(tasks) or sum(tasks) != count:
        told = " ".join(f"{name}={environment[name]}" for name in SLURM[1:])
        raise UserError("nodes and tasks contradict each other", told, "start it with srun")
    port = FIRST_PORT + _number(environment, "SLURM_JOB_ID") % JOBS * TASKS
    places = [(node, place) for node, number in zip(nodes, tasks) for place in range(number)]
    here = environment.get("SLURMD_NODENAME", places[index][0])
    if here != places[index][0]:
        raise UserError(f"task {index} runs on {here}, not on {places[index][0]}", "srun", "add --distribution=block")
    return Cluster(tuple(f"{node}:{port + place}" for node, place in places), index)


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "")
    if not text.isdecimal():
        raise UserError("is no number", f"{name}={text}", "start it with srun")
    return int(text)


def expand_nodes(text: str) -> list[str]:
    """The names in a list of Slurm's.

    >>> expand_nodes("login,node[08-10,12]")
    ['login', 'node08', 'node09', 'node10', 'node12']

    Raises:
        UserError: it is none.
    """
    parts = re.findall(r"(?:[^,\[\]\s]|\[[\d,-]+\])+", text)
    if not parts or ",".join(parts) != text:
        raise UserError("is no list of nodes", f"SLURM_STEP_NODELIST={text}", "such as node[01-03,07]")
    return [name for part in parts for name in _expand_brackets(part)]


def _expand_brackets(part: str) -> Iterator[str]:
    # Odd pieces stand in brackets; several of them give all combinations, the last one changing first.
    pieces = re.split(r"\[(.*?)\]", part)
    choices = [list(_expand_ranges(piece)) if odd % 2 else [piece] for odd, piece in enumerate(pieces)]
    return ("".join(chosen) for chosen in itertools.product(*choices))


def _expand_ranges(text: str) -> Iterator[str]:
    for first, last in re.findall(r"(\d+)(?:-(\d+))?", text):
        yield from (str(number).zfill(len(first)) for number in range(int(first), int(last or first) + 1))


def _expand_counts(text: str) -> list[int]:
    """Tasks of each node: 2(x3),1 is [2, 2, 2, 1].

    Raises:
        UserError: it is no such list.
    """
    if not re.fullmatch(r"\d+(\(x\d+\))?(,\d+(\(x\d+\))?)*", text):
        raise UserError("is no list of counts", f"SLURM_STEP_TASKS_PER_NODE={text}", "such as 2(x3),1")
    found = re.findall(r"(\d+)(?:\(x(\d+)\))?", text)
    return [int(count) for count, times in found for _ in range(int(times or 1))]


def meet(cluster: Cluster, wait_s: float = WAIT_S) -> None:
    """Wait at the chief's address until all processes are there: TensorFlow would wait for an hour, deaf to signals.

    Raises:
        UserError: they have not come together within `wait_s` seconds, or an address is not to be had.
    """
    host, _, port = cluster.addresses[0].rpartition(":")
    until = time.monotonic() + wait_s
    try:
        if cluster.is_chief:
            # Else on all addresses: a node may know its own name by another than the one the others use.
            bound = host if host in ("127.0.0.1", "localhost") else ""
            _receive((bound, int(port)), len(cluster.addresses) - 1, until)
        else:
            _announce(host, int(port), cluster.index, until)
    except (OSError, OverflowError) as error:
        hint = "start all processes, with the same addresses, within ten minutes"
        raise UserError(f"the processes have not come together ({error})", str(cluster), hint) from None


def _receive(address: tuple[str, int], others: int, until: float) -> None:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(address))
        here: dict[bytes, socket.socket] = {}
        while len(here) < others:
            server.settimeout(max(until - time.monotonic(), POLL_S))
            link, _ = server.accept()
            stack.enter_context(link).settimeout(POLL_S)
            with contextlib.suppress(TimeoutError):  # someone who says nothing is none of us
                if name := link.recv(16):
                    here[name] = link
        for link in here.values():
            link.sendall(b"go")


def _announce(host: str, port: int, index: int, until: float) -> None:
    while True:
        left = max(until - time.monotonic(), POLL_S)
        try:
            with socket.create_connection((host, port), timeout=left) as link:
                link.sendall(str(index).encode())
                if link.recv(2) == b"go":
                    return
            raise ConnectionError(f"{host}:{port} has hung up")
        except OSError:
            if time.monotonic() > until:
                raise
        time.sleep(POLL_S)
