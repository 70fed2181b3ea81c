from __future__ import annotations

import pytest

from maskrcnn.config.compose import compose
from maskrcnn.config.keys import flatten
from maskrcnn.config.stored import FILE_NAME, known_values, read_stored, to_yaml
from maskrcnn.errors import UserError


@pytest.mark.parametrize(
    "overrides", [[], ["experiment=coco_person_cpu", "num_keypoints=[nose]"], ["tracking.run_name=größe"]]
)
def test_a_stored_configuration_composes_to_itself(tmp_path, overrides):
    config = compose(overrides)
    (tmp_path / FILE_NAME).write_text(to_yaml(config), encoding="utf-8")
    again = compose([], stored=read_stored(tmp_path))
    assert flatten(again) == flatten(config)


def test_a_key_that_no_longer_exists_is_named_with_its_successor():
    with pytest.raises(UserError, match=r"optimizer\.learning_rates.*it may be called optimizer\.learning_rate now"):
        known_values({"optimizer": {"learning_rates": 1}})


@pytest.mark.parametrize("text", ["", "- a", "a: [", "seed: 3", "\x00"])
def test_a_file_that_is_no_configuration_is_refused_in_one_line(tmp_path, text):
    file = tmp_path / "other.yaml"
    file.write_text(text)
    with pytest.raises(UserError) as refused:
        read_stored(file)
    assert str(file) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_folder_without_configuration_is_refused(tmp_path):
    with pytest.raises(UserError, match="no stored configuration"):
        read_stored(tmp_path)
