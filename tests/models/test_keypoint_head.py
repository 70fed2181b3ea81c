"""The keypoint head of the paper inside a detector: its first loss, and joints of any number."""

import math

import keras
import numpy as np
import pytest

from maskrcnn.models.detector import Detector


@pytest.fixture(scope="module", params=[1, 5])
def paper_head(request, settings):
    """The paper's maps of 56 x 56 on narrow convolutions, its last kernel zero."""
    from dataclasses import replace

    head = replace(settings.keypoint_head, convolutions=2, channels=16, pool_size=14, upsample=2)
    keras.utils.set_random_seed(3)
    detector = Detector(
        replace(settings, mask_head=None, keypoint_head=head), num_classes=4, num_keypoints=request.param
    )
    deconv = detector.keypoint_head.deconv
    deconv.kernel.assign(np.zeros(deconv.kernel.shape))
    return detector


def test_a_zeroed_last_kernel_gives_a_loss_of_ln_3136(paper_head, batch):
    batch["keypoints"] = batch["keypoints"][:, :, : paper_head.num_keypoints]
    del batch["masks"], batch["has_mask"]
    loss = float(paper_head(batch, training=True)["loss/keypoint"])
    assert loss == pytest.approx(math.log(56 * 56), rel=1e-6)


def test_the_head_has_one_map_for_each_joint(paper_head, batch):
    found = paper_head({key: batch[key] for key in ("images", "sizes")}, training=False)
    assert found["keypoint_logits"].shape[2:] == (56, 56, paper_head.num_keypoints)


def test_joints_that_are_not_labelled_give_a_loss_of_zero(paper_head, batch):
    batch["keypoints"] = np.zeros_like(batch["keypoints"][:, :, : paper_head.num_keypoints])
    del batch["masks"], batch["has_mask"]
    assert float(paper_head(batch, training=True)["loss/keypoint"]) == 0.0
