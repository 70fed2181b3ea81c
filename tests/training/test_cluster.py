"""Tests of finding the processes of one training in TF_CONFIG and in Slurm's variables."""

from __future__ import annotations

import json
import socket
import threading

import pytest

from maskrcnn.errors import UserError
from maskrcnn.training.cluster import Cluster, expand_nodes, find_cluster, meet


def tf_config(kind: str = "worker", index: object = 0, **jobs: list[str]) -> dict[str, str]:
    return {"TF_CONFIG": json.dumps({"cluster": jobs, "task": {"type": kind, "index": index}})}


def slurm(index: int, count: int, nodes: str, tasks: str, job: str = "7") -> dict[str, str]:
    return {
        "SLURM_PROCID": str(index),
        "SLURM_STEP_NUM_TASKS": str(count),
        "SLURM_STEP_NODELIST": nodes,
        "SLURM_STEP_TASKS_PER_NODE": tasks,
        "SLURM_JOB_ID": job,
    }


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"TF_CONFIG": " "},
        tf_config(worker=["a:1"]),
        slurm(0, 1, "a", "1"),
        {"SLURM_PROCID": "0", "SLURM_NTASKS": "4"},
    ],
)
def test_a_process_alone_has_no_cluster(environment):
    assert find_cluster(environment) is None


def test_the_chief_comes_first():
    jobs = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}
    assert find_cluster(tf_config("worker", 1, **jobs)) == Cluster(("a:1", "b:1", "c:1"), 2)
    chief = find_cluster(tf_config("chief", 0, **jobs))
    assert chief is not None
    assert chief.is_chief
    first = find_cluster(tf_config("worker", 0, worker=["a:1", "b:1"]))
    assert first is not None
    assert first.is_chief


def test_slurm_s_tasks_are_counted_along_the_nodes():
    found = [find_cluster(slurm(i, 3, "n[1-2]", "2,1")) for i in range(3)]
    assert found == [Cluster(("n1:10112", "n1:10113", "n2:10112"), i) for i in range(3)]


def test_every_list_of_nodes_is_read():
    assert expand_nodes("n[08-10,12],m1") == ["n08", "n09", "n10", "n12", "m1"]
    assert expand_nodes("r[0-1]n[1-2]") == ["r0n1", "r0n2", "r1n1", "r1n2"]


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"TF_CONFIG": "{"}, "no cluster and task in it"),
        ({"TF_CONFIG": "[]"}, "no cluster and task in it"),
        (tf_config(index="x", worker=["a:1"]), "no cluster and task in it"),
        (tf_config(index=2, worker=["a:1", "b:1"]), "no task worker 2"),
        (tf_config(index=-1, worker=["a:1", "b:1"]), "no task worker -1"),
        (tf_config("evaluator", worker=["a:1", "b:1"]), "no task evaluator 0"),
        (tf_config(ps=["c:1"], worker=["a:1", "b:1"]), "found ps"),
        (tf_config(), "found 0 and 0"),
        (tf_config(worker=["a:1", "b"]), "'b' is no HOST:PORT"),
        (tf_config(worker=["a:1", "a:1"]), "two tasks have one address"),
        (slurm(4, 4, "a", "4"), "the step has 4 tasks"),
        (slurm(0, 4, "a[1-2]", "1,2"), "contradict each other"),
        (slurm(0, 2, "a[1", "1,1"), "is no list of nodes"),
        (slurm(0, 2, "a[1-2]", "1 1"), "is no list of counts"),
        (slurm(0, 2, "a[1-2]", "1,1", job="x"), "is no number"),
        ({**slurm(1, 2, "a[1-2]", "1,1"), "SLURMD_NODENAME": "a1"}, "task 1 runs on a1, not on a2"),
    ],
)
def test_variables_that_make_no_cluster_are_refused(environment, told):
    with pytest.raises(UserError, match=told):
        find_cluster(environment)


def loopback(count: int) -> tuple[str, ...]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return tuple(f"127.0.0.1:{port + i}" for i in range(count))


def test_processes_wait_for_each_other_whoever_comes_first():
    addresses = loopback(3)
    others = [threading.Thread(target=meet, args=(Cluster(addresses, i), 20.0)) for i in (1, 2)]
    others[0].start()
    chief = threading.Thread(target=meet, args=(Cluster(addresses, 0), 20.0))
    chief.start()
    others[1].start()
    for thread in (chief, *others):
        thread.join(20.0)
        assert not thread.is_alive()


@pytest.mark.parametrize("index", [0, 1])
def test_a_process_whose_others_do_not_come_is_refused(index):
    with pytest.raises(UserError, match="have not come together"):
        meet(Cluster(loopback(2), index), 0.1)
