"""The comparison with torchvision: what it refuses, what it injects, how it computes a row. Runs no detector."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from experiments.benchmarks.peers import measure, work  # noqa: E402
from experiments.benchmarks.peers.__main__ import main, make_jobs, parser  # noqa: E402
from maskrcnn.errors import UserError  # noqa: E402

SYNTHETIC = """
import numpy as np

def long_side(short):
    return short + 32

def batch(seed, count, height, width, instances, person_only=False):
    boxes = np.array([[10 + 60 * k, 20, 60 + 60 * k, 120] for k in range(instances)], np.float32)
    image = np.full((height, width, 3), 0.5, np.float32)
    return [dict(image=image, boxes=boxes, labels=np.ones(instances, np.int64)) for _ in range(count)]
"""


@pytest.fixture
def peers(tmp_path: Path) -> Path:
    """A folder like the peers', with a synthetic.py of our own and nothing that computes."""
    folder = tmp_path / "tools" / "peers"
    (folder / work.PARITY).resolve().mkdir(parents=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / work.PARITY / "recipe.py").write_text("")
    (folder / "synthetic.py").write_text(SYNTHETIC)
    (folder / "bench_torchvision.py").write_text("")
    return folder


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = main(arguments)
    printed = capsys.readouterr()
    assert printed.out == ""
    return code, printed.err


def test_an_interpreter_without_torchvision_is_refused_in_one_line(
    peers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')  # without site packages
    python.chmod(0o755)
    code, text = refusal(capsys, "--peers", str(peers), "--peer-python", str(python))
    assert code == 1
    assert text.count("\n") == 1
    assert "--peer-python" in text
    assert "No module named" in text


def test_a_missing_interpreter_is_refused_in_one_line(peers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = refusal(capsys, "--peers", str(peers), "--peer-python", "nowhere/python")
    assert code == 1
    assert text.count("\n") == 1
    assert "nowhere/python" in text


def test_a_missing_folder_of_peers_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = refusal(capsys, "--peers", str(tmp_path / "nothing"))
    assert code == 1
    assert text.count("\n") == 1
    assert "no such folder" in text


def test_an_incomplete_folder_of_peers_names_the_missing_file(peers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (peers / "synthetic.py").unlink()
    assert "synthetic.py is missing" in refusal(capsys, "--peers", str(peers))[1]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--positives", "0"), "--positives"),
        (("--positives", "7"), "--positives"),  # eight objects join the proposals
        (("--positives", "129"), "--positives"),
        (("--repeats", "0"), "--repeats"),
        (("--cases", "mask-train-321"), "mask-train-321"),
        (("--variants", "lazy"), "lazy"),
    ],
)
def test_options_out_of_range_are_refused_in_one_line(
    arguments: tuple[str, ...], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = refusal(capsys, *arguments)
    assert code == 2
    assert text.count("\n") == 1
    assert named in text


def test_the_command_answers_without_tensorflow(tmp_path: Path) -> None:
    program = (
        "import sys; from experiments.benchmarks.peers.__main__ import main\n"
        f"code = main(['--peers', {str(tmp_path / 'nothing')!r}])\n"
        "sys.exit(9 if 'tensorflow' in sys.modules else code)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True).returncode == 1


@pytest.mark.parametrize("positives", [4, 32, 128])
def test_injected_proposals_give_the_wanted_positives_with_the_ground_truth(peers: Path, positives: int) -> None:
    job = work.Job("mask-train-320", str(peers), 1, instances=4, positives=positives)
    samples = work.make_samples(job)
    proposals = work.make_proposals(job, samples)
    assert proposals.shape == (2, 1000, 4)
    assert proposals.dtype == np.float32
    for boxes, sample in zip(proposals, samples):
        best = work.iou(boxes, sample["boxes"]).max(1)
        assert (best >= 0.5).sum() + len(sample["boxes"]) == positives
        assert not ((best > work.FAR_IOU + 1e-4) & (best < work.NEAR_IOU - 1e-4)).any()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert (boxes >= 0).all()
        assert (boxes[:, 2:] <= sample["pixels"].shape[1::-1]).all()


def test_images_hold_whole_pixel_values(peers: Path) -> None:
    sample = work.make_samples(work.Job("mask-infer-512", str(peers), 1))[0]
    assert sample["pixels"].dtype == np.uint8
    assert sample["pixels"].shape == (512, 544, 3)
    assert (sample["pixels"] == 128).all()


def row_of(ours: list[float], eager: list[float], last: list[float], job: work.Job | None = None) -> dict:
    samples = {}
    for name, seconds in (("ours", ours), ("eager", eager), ("channels_last", last)):
        side = measure.Samples({"trainable_parameters": 5}, first_result={"positives": 64.0}, peak_mib=len(name) * 10.0)
        for value in seconds:
            side.add({"wall_s": value, "cpu_s": 2 * value})
        samples[name] = side
    return measure.to_row(job or work.Job("mask-train-320", "", 2), samples)


def test_a_row_compares_minima_with_the_fastest_variant() -> None:
    row = row_of([3.0, 1.0], [4.0, 2.5], [9.0, 2.0])
    assert row["variant"] == "channels_last"
    assert (row["ours_s"], row["torchvision_s"], row["ratio"]) == (1.0, 2.0, 0.5)
    assert (row["ours_cpu_s"], row["torchvision_cpu_s"], row["cpu_ratio"]) == (2.0, 4.0, 0.5)
    assert row["memory_ratio"] == round(40 / 130, 4)
    assert row["positives"] == row["torchvision_positives"] == 64.0


def test_the_precision_reaches_both_sides_and_the_row(peers: Path) -> None:
    jobs = make_jobs(parser().parse_args(["--peers", str(peers), "--precision", "mixed_bfloat16"]))
    assert {job.precision for job in jobs} == {"mixed_bfloat16"}
    assert work.Job.from_json(jobs[0].to_json()) == jobs[0]
    assert row_of([1.0], [2.0], [3.0], jobs[0])["precision"] == "mixed_bfloat16"


SIDE = """
import sys
from experiments.benchmarks.peers import work

def prepare(job):
    if job.variant == "broken":
        raise ValueError("no such\\nvariant")
    print("a library that chats")
    return (lambda: {"positives": job.positives}), {"trainable_parameters": 3}

work.serve(prepare)
"""


@pytest.fixture
def side_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "side_for_test.py").write_text(SIDE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "side_for_test"


def test_a_side_answers_requests_whatever_its_libraries_print(side_module: str) -> None:
    with measure.Side(sys.executable, side_module, work.Job("mask-train-320", "", 1)) as side:
        assert side.facts == {"trainable_parameters": 3}
        answer = side.ask("run")
        assert answer["result"] == {"positives": 64}
        assert answer["wall_s"] >= 0
        assert side.ask("peak")["peak_mib"] > 1
        json.dumps(side.ask("reset"))


def test_a_side_that_fails_says_why_in_one_line(side_module: str) -> None:
    job = work.Job("mask-train-320", "", 1, variant="broken")
    with (
        pytest.raises(UserError, match="ValueError: no such variant"),
        measure.Side(sys.executable, side_module, job),
    ):
        pass
