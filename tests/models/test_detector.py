"""The whole detector: terms, detections, edge cases, saving, and that it learns nothing from padding."""

import dataclasses

import keras
import numpy as np
import pytest

from maskrcnn.models.detector import Detector

TERMS = {"loss/rpn_objectness", "loss/rpn_box", "loss/class", "loss/box", "loss/mask", "loss/keypoint"}


def terms_of(detector, batch):
    return {name: float(value) for name, value in detector(batch, training=True).items()}


def without_objects(batch):
    return {
        **batch,
        "boxes": np.zeros_like(batch["boxes"]),
        "labels": np.zeros_like(batch["labels"]),
        "has_mask": np.zeros_like(batch["has_mask"]),
        "keypoints": np.zeros_like(batch["keypoints"]),
    }


def test_training_returns_a_finite_term_of_each_head(detector, batch):
    terms = terms_of(detector, batch)
    assert set(terms) >= TERMS
    assert all(np.isfinite(value) for value in terms.values())


def test_detections_have_the_documented_shapes(detector, batch):
    found = detector(batch, training=False)
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "boxes": (2, 10, 4),
        "scores": (2, 10),
        "labels": (2, 10),
        "masks": (2, 10, 14, 14),
        "keypoint_logits": (2, 10, 14, 14, 5),
    }
    assert np.all(np.diff(np.asarray(found["scores"]), axis=1) <= 0)


def test_a_detector_without_mask_and_keypoint_heads_gives_boxes_alone(settings, batch):
    plain = Detector(dataclasses.replace(settings, mask_head=None, keypoint_head=None), num_classes=4)
    assert set(plain(batch, training=False)) == {"boxes", "scores", "labels"}
    assert "loss/mask" not in terms_of(plain, batch)


def test_images_without_objects_give_finite_terms_and_no_mask_or_box_loss(detector, batch):
    terms = terms_of(detector, without_objects(batch))
    assert all(np.isfinite(value) for value in terms.values())
    assert terms["loss/box"] == terms["loss/mask"] == terms["loss/keypoint"] == terms["loss/rpn_box"] == 0.0


def test_crowds_alone_are_never_positive(detector, batch):
    crowds = {**batch, "labels": np.where(batch["labels"] > 0, -1, 0).astype(np.int32)}
    terms = terms_of(detector, crowds)
    assert terms["roi/positives"] == 0.0
    assert terms["rpn/positive_anchors"] == 0.0


def test_padded_ground_truth_rows_change_no_term(detector, batch):
    padded = {}
    for name, value in batch.items():
        rows = name in ("boxes", "labels", "masks", "has_mask", "keypoints")
        padded[name] = np.concatenate([value, np.zeros((2, 16, *value.shape[2:]), value.dtype)], 1) if rows else value
    assert terms_of(detector, padded) == pytest.approx(terms_of(detector, batch), rel=1e-6)


def test_pixels_outside_the_valid_size_change_no_term(detector, batch):
    noisy = {**batch, "images": batch["images"].copy()}
    noisy["images"][1, 86:] = 255
    noisy["images"][1, :, 108:] = 255
    clean = {**batch, "images": batch["images"].copy()}
    clean["images"][1, 86:] = 0
    clean["images"][1, :, 108:] = 0
    assert terms_of(detector, noisy) == terms_of(detector, clean)


def test_detections_stay_inside_the_valid_size(detector, batch):
    boxes = np.asarray(detector(batch, training=False)["boxes"])
    assert boxes[1, :, 0::2].max() <= 108
    assert boxes[1, :, 1::2].max() <= 86


def test_an_image_of_one_is_the_same_alone_and_in_a_batch(detector, batch):
    """Detectron's proposals depended on the batch (PAPER §6 row 26)."""
    both = detector(batch, training=False)
    alone = detector({name: value[:1] for name, value in batch.items()}, training=False)
    np.testing.assert_allclose(np.asarray(alone["boxes"])[0], np.asarray(both["boxes"])[0], atol=1e-3)


def test_injected_proposals_replace_those_of_the_rpn(detector, batch):
    proposals = np.tile(np.array([[10.0, 12.0, 40.0, 50.0]], np.float32), (2, 6, 1))
    found = detector({**batch, "proposals": proposals}, training=False)
    assert np.asarray(found["labels"]).any()


def test_the_same_seeds_sample_the_same_rois_and_others_do_not(detector, batch):
    again = terms_of(detector, batch)
    assert terms_of(detector, batch) == again
    assert terms_of(detector, {**batch, "seeds": batch["seeds"] + 1})["loss/class"] != again["loss/class"]


def test_instances_without_a_mask_train_no_mask(detector, batch):
    terms = terms_of(detector, {**batch, "has_mask": np.zeros_like(batch["has_mask"])})
    assert terms["loss/mask"] == 0.0
    assert terms["loss/box"] > 0.0


def test_compute_loss_adds_the_loss_terms_and_nothing_else(detector, batch):
    y_pred = detector(batch, training=True)
    expected = sum(float(value) for name, value in y_pred.items() if name.startswith("loss/"))
    assert float(detector.compute_loss(y_pred=y_pred)) == pytest.approx(expected, rel=1e-6)


def test_a_saved_detector_gives_the_same_detections(detector, batch, tmp_path):
    detector.save(tmp_path / "detector.keras")
    loaded = keras.saving.load_model(tmp_path / "detector.keras", safe_mode=True)
    assert loaded.metadata == detector.metadata
    assert loaded.settings == detector.settings
    before, after = detector(batch, training=False), loaded(batch, training=False)
    for name, value in before.items():
        np.testing.assert_array_equal(np.asarray(value), np.asarray(after[name]), err_msg=name)


def test_proposals_carry_no_gradient_into_the_rpn(settings, batch):
    """The heads' losses must not move the RPN's boxes (PAPER §1.1, §6 row 27)."""
    import tensorflow as tf

    detector = Detector(settings, num_classes=4, num_keypoints=5)
    with tf.GradientTape() as tape:
        terms = detector(batch, training=True)
        loss = terms["loss/class"] + terms["loss/box"] + terms["loss/mask"] + terms["loss/keypoint"]
    gradients = tape.gradient(loss, [v.value for v in detector.rpn_head.trainable_variables])
    assert all(gradient is None for gradient in gradients)


def test_only_the_own_class_mask_gets_a_gradient(settings, batch):
    """Masks do not compete between classes (PAPER §1.0, §6 row 22)."""
    import tensorflow as tf

    detector = Detector(dataclasses.replace(settings, keypoint_head=None), num_classes=4)
    one_class = {**batch, "labels": np.where(batch["labels"] > 0, 2, 0).astype(np.int32)}
    with tf.GradientTape() as tape:
        loss = detector(one_class, training=True)["loss/mask"]
    gradient = np.asarray(tape.gradient(loss, detector.mask_head.logits.kernel.value))
    assert np.abs(gradient[..., 1]).max() > 0.0
    assert np.abs(np.delete(gradient, 1, axis=-1)).max() == 0.0


def test_bfloat16_gives_nearly_the_losses_and_gradients_of_float32(settings, batch):
    """Only the layers' numbers are rounded, to eight bits; boxes, losses and variables stay float32."""
    near = np.concatenate([batch["boxes"][:, :4] + 2.0, batch["boxes"][:, :4] - 3.0], axis=1)
    batch = {**batch, "proposals": near}  # both sample the same RoIs
    terms, gradient = terms_and_gradient("float32", settings, batch)
    rounded_terms, rounded_gradient = terms_and_gradient("mixed_bfloat16", settings, batch)
    assert rounded_terms == pytest.approx(terms, rel=0.02)
    assert rounded_terms != terms
    cosine = gradient @ rounded_gradient / np.linalg.norm(gradient) / np.linalg.norm(rounded_gradient)
    assert cosine > 0.99  # measured 0.9976: an angle of 4 degrees, most of it in the first layers


def terms_and_gradient(policy, settings, batch):
    """The named losses and the gradient of their sum as one vector, of a new detector under a dtype policy."""
    import tensorflow as tf

    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy(policy)
        keras.utils.set_random_seed(5)
        detector = Detector(settings, num_classes=4, num_keypoints=5)
    finally:
        keras.config.set_dtype_policy(before)
    assert {v.dtype for v in detector.trainable_variables} == {"float32"}
    with tf.GradientTape() as tape:
        terms = detector(batch, training=True)
        loss = detector.compute_loss(y_pred=terms)
    gradients = tape.gradient(loss, [v.value for v in detector.trainable_variables])
    return {k: float(v) for k, v in terms.items()}, np.concatenate([np.asarray(g).ravel() for g in gradients])
