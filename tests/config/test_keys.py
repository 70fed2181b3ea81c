from __future__ import annotations

import pytest

from maskrcnn.config.compose import compose
from maskrcnn.config.keys import ALIASES, PATHS, accepts, describe, flatten, leaf_types, nearest_key, sections
from maskrcnn.config.names import CHOICES, nearest
from maskrcnn.config.ranges import LENGTHS, RANGES
from maskrcnn.config.schema import Config


def test_flatten_gives_a_value_for_every_key_of_the_schema():
    assert list(flatten(Config())) == list(leaf_types())


def test_every_number_of_the_schema_has_a_range():
    numbers = {key for key, hint in leaf_types().items() if "int" in str(hint) or "float" in str(hint)}
    assert numbers == set(RANGES)


@pytest.mark.parametrize("table", [RANGES, CHOICES, LENGTHS, PATHS, dict.fromkeys(ALIASES.values())])
def test_tables_name_only_keys_of_the_schema(table):
    assert set(table) <= set(leaf_types()) | sections()


def test_words_of_the_schema_are_paths_choices_or_free_names():
    free = {"backbone.network", "schedule.name", "sweep.metric"}
    free |= {"tracking.uri", "tracking.experiment", "tracking.run_name", "dataset.subset", "dataset.url"}
    words = {key for key, hint in leaf_types().items() if "str" in str(hint) and "list" not in str(hint)}
    assert words - set(CHOICES) - set(PATHS) == free


@pytest.mark.parametrize("section", sorted(sections()))
def test_a_misspelt_key_of_each_section_finds_its_way_back(section):
    for key in leaf_types():
        if key.startswith(section + ".") and len(key.rpartition(".")[2]) > 4:
            assert nearest_key(key[:-2] + key[-1]) == key


@pytest.mark.parametrize("key", [key for key in leaf_types() if "." in key])
def test_the_last_word_of_a_key_finds_a_key_that_ends_with_it(key):
    last = key.rpartition(".")[2]
    found = nearest_key(last)
    assert found is not None
    assert found in sections() or found.endswith(last) or ALIASES.get(last) == found


@pytest.mark.parametrize(
    ("value", "kind", "fits"),
    [
        (3, int, True),
        ("3", int, True),
        (3.0, int, False),
        (True, int, False),
        (3, float, True),
        ("1e-3", float, True),
        ("nan?", float, False),
        (True, float, False),
        ("true", bool, True),
        (1, bool, False),
        (None, int | None, True),
        (None, int, False),
        ([1, 2.5], list[float], True),
        ([1, "a"], list[float], False),
        ([[1], [2, 3]], list[list[float]], True),
        ([1], list[list[float]], False),
        ("${seed}", int, True),
        (["a", 3], list[str], True),
        ({"a": 1}, str, False),
    ],
)
def test_a_value_fits_its_type(value, kind, fits):
    assert accepts(value, kind) is fits


def test_types_are_described_in_plain_words():
    assert describe(float | None) == "a number or null"
    assert describe(list[str] | None) == "a list of names or null"
    assert describe(list[list[float]]) == "a list of lists of numbers"


def test_nearest_ignores_case_and_finds_beginnings():
    assert nearest("RESNET50_FPN", ["resnet18_fpn", "resnet50_fpn"]) == "resnet50_fpn"
    assert nearest("emb", ["embedded", "coco_json"]) == "embedded"
    assert nearest("zzz", ["embedded", "coco_json"]) is None


def test_defaults_of_the_schema_and_of_the_default_composition_differ_only_where_a_group_says_so():
    schema, composed = flatten(Config()), flatten(compose([]))
    changed = {key.partition(".")[0] for key in schema if schema[key] != composed[key]}
    # The groups backbone, dataset and schedule; optimizer and head are the schema's own defaults.
    assert changed == {
        "anchors", "augmentation", "backbone", "box_head", "dataset", "image", "keypoint_head", "mask_head", "pyramid",
        "roi", "rpn", "schedule",
    }  # fmt: skip
