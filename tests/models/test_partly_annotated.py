"""Partly annotated data: what an instance lacks costs nothing, and what it has is learnt."""

import dataclasses

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maskrcnn.models.detector import Detector

QUIET = settings(
    max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
PERSON = 2
INSTANCE_KEYS = ("boxes", "labels", "masks", "has_mask", "keypoints")


@pytest.fixture(scope="module")
def roomy(settings):
    """A detector whose sample holds all positives, so that further instances push none out."""
    keras.utils.set_random_seed(3)
    roi = dataclasses.replace(settings.roi, batch_per_image=64, positive_fraction=1.0)
    return Detector(dataclasses.replace(settings, roi=roi), num_classes=4, num_keypoints=5)


def terms_of(detector, batch):
    return {name: float(value) for name, value in detector(batch, training=True).items()}


def fixed(batch):
    """The batch with its own boxes as proposals, so that the RPN decides nothing."""
    return {**batch, "proposals": batch["boxes"].copy()}


def with_strangers(batch, label):
    """The batch with two more instances in each image, far from the others, that have neither mask nor joints."""
    added = {
        "boxes": np.tile(np.array([[98.0, 70.0, 106.0, 80.0], [70.0, 76.0, 96.0, 85.0]], np.float32), (2, 1, 1)),
        "labels": np.full((2, 2), label, np.int32),
        "masks": np.ones((2, 2, 28, 28), np.uint8),
        "has_mask": np.zeros((2, 2), bool),
        "keypoints": np.zeros((2, 2, 5, 3), np.float32),
    }
    return {k: np.concatenate([v, added[k]], 1) if k in INSTANCE_KEYS else v for k, v in batch.items()}


@pytest.mark.parametrize("label", [1, PERSON, -1])
def test_instances_without_mask_and_joints_change_neither_loss(roomy, batch_of, label):
    batch = batch_of()
    # what lies where a stranger will be is left out, so that it takes no one's proposal
    alone = terms_of(roomy, fixed(batch))
    more = terms_of(roomy, {**with_strangers(batch, label), "proposals": batch["boxes"]})
    assert alone["loss/mask"] > 0.0
    assert more["loss/mask"] == pytest.approx(alone["loss/mask"], rel=1e-5)
    assert more["loss/keypoint"] == pytest.approx(alone["loss/keypoint"], rel=1e-5)


@QUIET
@given(st.integers(0, 2**31 - 1))
def test_what_an_unannotated_instance_holds_is_never_read(roomy, batch_of, seed):
    """Whatever stands in the masks and places of instances that have none, no term moves."""
    rng = np.random.default_rng(seed)
    batch = fixed(batch_of())
    bare = rng.random((2, 8)) < 0.5
    batch["has_mask"] = batch["has_mask"] & ~bare
    batch["keypoints"] = batch["keypoints"] * ~bare[..., None, None]
    noisy = {**batch, "masks": batch["masks"].copy(), "keypoints": batch["keypoints"].copy()}
    noisy["masks"][bare] = rng.integers(0, 2, noisy["masks"][bare].shape)
    noisy["keypoints"][bare, :, :2] = rng.uniform(0, 100, noisy["keypoints"][bare, :, :2].shape)
    assert terms_of(roomy, noisy) == pytest.approx(terms_of(roomy, batch), rel=1e-6)


@QUIET
@given(st.integers(0, 2**31 - 1))
def test_joints_of_some_persons_give_the_mean_over_those(roomy, batch_of, seed):
    """The loss is a mean over labelled joints: of one person and the others, weighted by their joints."""
    rng = np.random.default_rng(seed)
    batch = fixed(batch_of())
    real = batch["labels"] > 0
    # Only the exact boxes are proposals: each person is one row, and one more as its own ground truth.
    chosen = real & (rng.random(real.shape) < 0.5)
    parts = []
    for mask in (chosen, real & ~chosen, real):
        part = {**batch, "keypoints": batch["keypoints"] * mask[..., None, None]}
        parts.append((terms_of(roomy, part)["loss/keypoint"], _rows_with_joints(roomy, part)))
    (first, n1), (second, n2), (whole, n) = parts
    assert n == n1 + n2
    assert whole * n == pytest.approx(first * n1 + second * n2, rel=1e-4)


def _rows_with_joints(detector, batch):
    """Sampled positives times labelled joints, for proposals that match exactly their own instance."""
    from maskrcnn.models.positives import rows_of_positives
    from maskrcnn.models.roi_sampling import sample_rois
    from maskrcnn.ops.keypoints import keypoint_targets

    proposals = batch["proposals"]
    rois = sample_rois(proposals, np.ones(proposals.shape[:2], bool), batch, detector.settings.roi)
    annotated = (batch["keypoints"][..., 2] > 0).any(-1)
    rows = rows_of_positives(rois, detector.settings.roi, annotated)
    _, valid = keypoint_targets(rows.of_truth(batch["keypoints"]), rows.boxes, 28)
    return float((np.asarray(valid) * np.asarray(rows.weights)[:, None]).sum())


def test_objects_without_joints_alone_give_a_keypoint_loss_of_zero(roomy, batch_of):
    """Cups beside no person: no joint, no loss, no NaN; boxes and masks are learnt."""
    batch = {**batch_of(), "keypoints": np.zeros((2, 8, 5, 3), np.float32)}
    terms = terms_of(roomy, batch)
    assert terms["loss/keypoint"] == 0.0
    assert terms["loss/mask"] > 0.0
    assert terms["loss/box"] > 0.0


def test_objects_without_joints_send_no_gradient_into_the_keypoint_head(roomy, batch_of):
    import tensorflow as tf

    batch = {**batch_of(), "keypoints": np.zeros((2, 8, 5, 3), np.float32)}
    with tf.GradientTape() as tape:
        loss = roomy(batch, training=True)["loss/keypoint"]
    gradients = tape.gradient(loss, [v.value for v in roomy.keypoint_head.trainable_variables])
    assert all(gradient is None or np.all(np.asarray(gradient) == 0.0) for gradient in gradients)


def test_crowd_persons_train_no_joint(roomy, batch_of):
    batch = batch_of()
    crowds = {**batch, "labels": np.where(batch["labels"] == PERSON, -1, batch["labels"]).astype(np.int32)}
    crowds["keypoints"] = batch["keypoints"] * (batch["labels"] == PERSON)[..., None, None]
    assert (batch["labels"] == PERSON).any()
    assert terms_of(roomy, crowds)["loss/keypoint"] == 0.0


def test_only_categories_with_joints_get_heat_maps(settings, batch_of):
    keras.utils.set_random_seed(3)
    every = {k: np.asarray(v) for k, v in Detector(settings, 4, 5)(batch_of(), training=False).items()}
    label = int(every["labels"][0, 0])
    keras.utils.set_random_seed(3)
    detector = Detector(settings, num_classes=4, num_keypoints=5, keypoint_labels=[label])
    found = {name: np.asarray(value) for name, value in detector(batch_of(), training=False).items()}
    persons = found["labels"] == label
    assert not persons.all()
    assert every["keypoint_logits"][~persons].any()
    assert not found["keypoint_logits"][~persons].any()
    expected = every["keypoint_logits"][persons]
    np.testing.assert_allclose(found["keypoint_logits"][persons], expected, rtol=1e-4, atol=1e-5)


def test_which_categories_have_joints_travels_with_the_model(settings, tmp_path):
    detector = Detector(settings, num_classes=4, num_keypoints=5, keypoint_labels=[1, PERSON])
    detector.save(tmp_path / "detector.keras")
    assert keras.saving.load_model(tmp_path / "detector.keras", safe_mode=True).keypoint_labels == (1, PERSON)
