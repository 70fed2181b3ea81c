"""Which parts a configuration gives, and what it is refused for."""

import pytest

from maskrcnn.config.compose import compose
from maskrcnn.errors import UserError
from maskrcnn.workflows.datasets import load_data

TINY = ["dataset.embedded.train_images=12", "dataset.embedded.test_images=4"]


def test_the_three_parts_share_no_image_and_the_table_counts_them(tmp_path, monkeypatch):
    monkeypatch.setenv("MASKRCNN_CACHE", str(tmp_path))
    data = load_data(compose([*TINY, "dataset.val.fraction=0.25"]))
    assert [len(part) for part in data.parts.values()] == [9, 3, 4]
    assert not {r.id for r in data.train.images} & {r.id for r in data.val.images}
    assert data.samples.rows[-1][1::3] == (9, 3, 4)


def test_a_choice_of_joints_is_refused_and_not_ignored():
    with pytest.raises(UserError, match="num_keypoints: choosing the joints is not supported yet"):
        load_data(compose([*TINY, "head=keypoint", "num_keypoints=7"]))
