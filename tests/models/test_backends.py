"""TensorFlow's fast forms and JAX's reference forms give the same losses, sampled rows and detections."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(backend, given, folder):
    out = folder / f"{backend}.npz"
    program = Path(__file__).with_name("backend_program.py")
    env = dict(os.environ, KERAS_BACKEND=backend, PYTHONPATH=str(ROOT), JAX_PLATFORMS="cpu", TF_CPP_MIN_LOG_LEVEL="3")
    result = subprocess.run(
        [sys.executable, str(program), str(given), str(out)], env=env, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-2000:]
    with np.load(out) as file:
        return dict(file)


@pytest.fixture(scope="module")
def both(settings, detector, batch_of, tmp_path_factory):
    pytest.importorskip("jax", reason="JAX is an extra: pip install maskrcnn[jax]")
    folder = tmp_path_factory.mktemp("backends")
    batch = batch_of(seed=5)
    rng = np.random.default_rng(1)
    # Jittered ground truth: the RPN's own proposals may swap places where two scores differ by a rounding.
    near = np.repeat(batch["boxes"][:, :4], 5, axis=1) + rng.normal(0, 3, (2, 20, 4))
    batch["proposals"] = np.clip(near, 0, 96).astype(np.float32)
    given = folder / "in.npz"
    weights = {f"weight{i}": np.asarray(v) for i, v in enumerate(detector.trainable_variables)}
    text = json.dumps(dataclasses.asdict(settings))
    np.savez(given, settings=np.array(text), **weights, **{f"batch/{name}": value for name, value in batch.items()})
    return run("tensorflow", given, folder), run("jax", given, folder)


def test_both_backends_sample_the_same_rows(both):
    tensorflow, jax = both
    np.testing.assert_array_equal(jax["rois/states"], tensorflow["rois/states"])
    np.testing.assert_array_equal(jax["rois/boxes"], tensorflow["rois/boxes"])


def test_both_backends_have_the_same_losses(both):
    tensorflow, jax = both
    names = [name for name in tensorflow if name.startswith("terms/")]
    assert len(names) == 9
    for name in names:
        assert jax[name] == pytest.approx(tensorflow[name], rel=1e-4), name


def test_both_backends_find_the_same(both):
    tensorflow, jax = both
    np.testing.assert_allclose(jax["found/boxes"], tensorflow["found/boxes"], atol=1e-2)
    np.testing.assert_allclose(jax["found/scores"], tensorflow["found/scores"], atol=1e-4)
    np.testing.assert_array_equal(jax["found/labels"], tensorflow["found/labels"])
    np.testing.assert_allclose(jax["found/masks"], tensorflow["found/masks"], atol=1e-3)
