"""The same numbers on TensorFlow (kernels, under determinism) and on JAX (reference forms, jitted)."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PROGRAM = Path(__file__).with_name("backend_program.py")
ROOT = Path(__file__).resolve().parents[2]


def run_on(backend: str, folder: Path) -> dict[str, np.ndarray]:
    environment = os.environ | {
        "KERAS_BACKEND": backend,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "JAX_PLATFORMS": "cpu",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": str(ROOT),
    }
    path = folder / f"{backend}.npz"
    child = subprocess.run(
        [sys.executable, str(PROGRAM), str(path)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert child.returncode == 0, child.stderr[-3000:]
    with np.load(path) as file:
        return dict(file)


@pytest.fixture(scope="module")
def on_tensorflow(tmp_path_factory):
    return run_on("tensorflow", tmp_path_factory.mktemp("tensorflow"))


@pytest.fixture(scope="module")
def on_jax(tmp_path_factory):
    pytest.importorskip("jax")
    return run_on("jax", tmp_path_factory.mktemp("jax"))


@pytest.mark.parametrize(
    "name", ["uniform", "states", "matched", "indices", "sampled", "proposal_states", "proposal_matched"]
)
def test_both_backends_draw_and_match_the_same_rows(on_tensorflow, on_jax, name):
    np.testing.assert_array_equal(on_tensorflow[name], on_jax[name])


@pytest.mark.parametrize("name", ["kept", "kept_valid", "targets", "roi_pool"])
def test_both_backends_keep_and_crop_the_same(on_tensorflow, on_jax, name):
    np.testing.assert_array_equal(on_tensorflow[name], on_jax[name])


def test_the_inputs_hold_every_case(on_tensorflow):
    assert set(np.unique(on_tensorflow["states"])) == set(np.unique(on_tensorflow["proposal_states"])) == {-1, 0, 1}
    assert set(np.unique(on_tensorflow["sampled"])) >= {0, 1}
    assert 0 < on_tensorflow["kept_valid"].sum() < on_tensorflow["kept_valid"].size


@pytest.mark.parametrize("rule", ["ratio2.aligned1", "ratio2.aligned0", "ratio0.aligned1"])
def test_roi_align_gives_the_same_on_both_backends(on_tensorflow, on_jax, rule):
    expected = on_jax[f"roi_align.form.{rule}"]
    assert expected.shape == (200, 7, 7, 4)
    np.testing.assert_allclose(on_tensorflow[f"roi_align.form.{rule}"], expected, atol=1e-4)
    np.testing.assert_allclose(on_tensorflow[f"roi_align.reference.{rule}"], expected, atol=1e-5)


@pytest.mark.parametrize("rule", ["ratio2.aligned1", "ratio2.aligned0", "ratio0.aligned1"])
@pytest.mark.parametrize("level", [0, 1, 2])
def test_the_fast_gradient_equals_the_reference_gradient(on_tensorflow, on_jax, rule, level):
    """200 overlapping RoIs, several threads: without determinism TensorFlow loses updates here (FACTS 4.20)."""
    reference = on_tensorflow[f"gradient{level}.reference.{rule}"]
    scale = np.abs(reference).max()
    assert scale > 1.0
    np.testing.assert_allclose(on_tensorflow[f"gradient{level}.form.{rule}"], reference, atol=1e-4 * scale)
    np.testing.assert_allclose(on_jax[f"gradient{level}.form.{rule}"], reference, atol=1e-5 * scale)


@pytest.mark.parametrize("backend", ["on_tensorflow", "on_jax"])
def test_the_gradient_agrees_with_torchvision(golden, request, backend):
    got = request.getfixturevalue(backend)["golden_gradient"]
    np.testing.assert_allclose(got, golden["roi_align.grad.features"], rtol=1e-5, atol=3e-5)
