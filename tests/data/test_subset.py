"""Subsets keep rare categories, splits partition, and everything that is left out is counted."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskrcnn.data.records import Annotation, Category, Dataset, ImageRecord
from maskrcnn.data.subset import Exclusion, Exclusions, select, split
from maskrcnn.errors import ProblemsError, UserError
from maskrcnn.structures import COCO_PERSON


def make(images: list[list[tuple[int, bool]]], num_classes: int = 5, areas: float = 100.0) -> Dataset:
    """A data set from (label, is_crowd) of each object of each image; category ids 10, 20, …"""
    categories = tuple(Category(10 * label, f"class{label}") for label in range(1, num_classes + 1))
    numbers = iter(range(1, 10**6))
    records = tuple(
        ImageRecord(row + 1, f"{row}.png", f"/{row}.png", 8, 8, tuple(
            Annotation(next(numbers), label, (0, 0, 4, 4), areas, is_crowd=crowd) for label, crowd in objects
        ))
        for row, objects in enumerate(images)
    )  # fmt: skip
    return Dataset("set", categories, records)


def ids(dataset: Dataset) -> list[int]:
    return [image.id for image in dataset.images]


def labels_of(dataset: Dataset) -> set[int]:
    return {item.label for image in dataset.images for item in image.annotations if not item.is_crowd}


def everything(dataset: Dataset, **changes) -> tuple[Dataset, Exclusions]:
    return select(dataset, **({"categories": None, "max_images": None, "min_area": 0.0, "seed": 0} | changes))


datasets = st.lists(st.lists(st.tuples(st.integers(1, 5), st.booleans()), max_size=4), max_size=30).map(make)
seeds = st.integers(0, 2**40)


@given(datasets, st.floats(0, 0.99), seeds)
def test_split_partitions_the_images_in_order(dataset, fraction, seed):
    rest, part = split(dataset, fraction, seed)
    assert sorted(ids(rest) + ids(part)) == ids(dataset)
    assert ids(rest) == sorted(ids(rest))
    assert ids(part) == sorted(ids(part))


@given(datasets, st.floats(0.001, 0.99), seeds)
def test_both_parts_of_a_split_hold_an_image_when_two_can_be_had(dataset, fraction, seed):
    rest, part = split(dataset, fraction, seed)
    if len(dataset) >= 2:
        assert min(len(rest), len(part)) >= 1
        assert len(part) == min(max(round(fraction * len(dataset)), 1), len(dataset) - 1)
    else:
        assert (len(rest), len(part)) == (len(dataset), 0)


@given(datasets, st.floats(0, 0.99), seeds)
def test_split_depends_on_seed_and_data_alone(dataset, fraction, seed):
    assert ids(split(dataset, fraction, seed)[1]) == ids(split(dataset, fraction, seed)[1])


def test_another_seed_splits_otherwise():
    dataset = make([[(1, False)]] * 40)
    assert ids(split(dataset, 0.5, 0)[1]) != ids(split(dataset, 0.5, 1)[1])


def test_fraction_zero_gives_an_empty_part():
    rest, part = split(make([[(1, False)]] * 4), 0, 0)
    assert (len(rest), len(part)) == (4, 0)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 1.5, float("nan")])
def test_a_fraction_that_is_none_is_refused(fraction):
    with pytest.raises(UserError, match="choose 0 ≤ fraction < 1"):
        split(make([[]]), fraction, 0)


def test_strata_are_shared_out_in_proportion():
    dataset = make([[(1, False)]] * 700 + [[(1, False), (2, False)]] * 200 + [[(3, False)]] * 90 + [[]] * 10)
    _, part = split(dataset, 0.1, 3)
    counts = Counter(min((item.label for item in image.annotations[-1:]), default=0) for image in part.images)
    assert all(abs(counts[label] - share) <= 1 for label, share in {1: 70, 2: 20, 3: 9, 0: 1}.items()), counts


def test_a_category_of_one_image_stays_in_the_rest():
    dataset = make([[(1, False)]] * 20 + [[(1, False), (2, False)]])
    assert all(2 in labels_of(split(dataset, 0.3, seed)[0]) for seed in range(20))


def test_small_strata_give_their_share_on_average():
    """50 categories of two images each: a tenth of the images, not none and not half of them."""
    dataset = make([[(label, False)] for label in range(1, 51) for _ in range(2)], num_classes=50)
    _, part = split(dataset, 0.1, 0)
    assert len(part) == 10
    assert len(labels_of(part)) == 10


def test_nothing_chosen_gives_the_same_content():
    dataset = make([[(1, False), (2, True)], [], [(5, False)]])
    chosen, left_out = everything(dataset)
    assert chosen.digest == dataset.digest
    assert left_out.sentences() == ()


def test_categories_are_relabelled_in_order_of_their_ids():
    chosen, left_out = everything(make([[(4, False), (2, False), (1, False)]]), categories=["class4", "class2"])
    assert chosen.category_names == ("class2", "class4")
    assert [item.label for item in chosen.images[0].annotations] == [2, 1]
    assert left_out.items == (Exclusion(1, "instances", "of other categories"),)


def test_categories_in_another_order_of_the_file_are_sorted_by_id():
    dataset = make([[(1, False)]], num_classes=2)
    chosen, _ = everything(replace(dataset, categories=dataset.categories[::-1]))
    assert chosen.category_names == ("class1", "class2")
    assert chosen.images[0].annotations[0].label == 2


def test_categories_may_be_given_by_id_and_twice():
    chosen, _ = everything(make([[(3, False)]]), categories=["30", "class3", "class1"])
    assert chosen.category_names == ("class1", "class3")


def test_a_name_that_looks_like_an_id_means_the_name():
    dataset = replace(make([[]], num_classes=2), categories=(Category(1, "2"), Category(2, "one")))
    assert everything(dataset, categories=["2"])[0].categories == (Category(1, "2"),)


def test_an_unknown_category_is_answered_with_the_nearest_name():
    with pytest.raises(UserError, match=r"dataset\.categories: unknown category 'Clas3'; did you mean 'class3'"):
        everything(make([[]]), categories=["Clas3"])


def test_all_unknown_categories_are_named_at_once():
    with pytest.raises(ProblemsError) as caught:
        everything(make([[]]), categories=["zebra", "class1", "99"])
    assert len(str(caught.value).splitlines()) == 2
    assert "known: class1, class2" in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [{"categories": []}, {"max_images": 0}, {"min_area": -1.0}, {"min_area": float("nan")}, {"seed": -1}],
)
def test_settings_that_make_no_sense_are_refused(changes):
    with pytest.raises(UserError, match="dataset"):
        everything(make([[(1, False)]]), **changes)


def test_instances_below_the_area_go_and_crowds_stay():
    chosen, left_out = everything(make([[(1, False), (1, True)]], areas=9.0), min_area=10)
    assert [item.is_crowd for item in chosen.images[0].annotations] == [True]
    assert left_out.sentences() == ("set: left out 1 instance smaller than min_area=10.",)


def test_images_without_annotations_stay_unless_their_number_is_limited():
    dataset = make([[], [(1, False)], [(2, False)], []])
    assert ids(everything(dataset, categories=["class1"])[0]) == [1, 2, 3, 4]


def test_images_whose_objects_were_excluded_come_last():
    dataset = make([[(2, False)]] * 50 + [[(1, False)]] * 5)
    chosen, left_out = everything(dataset, categories=["class1"], max_images=7)
    assert ids(chosen)[-5:] == [51, 52, 53, 54, 55]
    assert left_out.items[-1] == Exclusion(48, "images", "beyond max_images=7 (with 0 instances)")


@given(datasets, st.integers(1, 40), seeds)
def test_a_limit_keeps_every_category_that_there_is_room_for(dataset, limit, seed):
    chosen, left_out = everything(dataset, max_images=limit, seed=seed)
    assert len(chosen) == min(limit, len(dataset))
    assert ids(chosen) == sorted(ids(chosen))
    if limit >= len(labels_of(dataset)):
        assert labels_of(chosen) == labels_of(dataset)
    assert len(left_out.lost_categories) == len(labels_of(dataset)) - len(labels_of(chosen))


@given(datasets, st.integers(1, 40), seeds)
def test_a_limited_choice_depends_on_seed_and_data_alone(dataset, limit, seed):
    first, second = (everything(dataset, max_images=limit, seed=seed)[0] for _ in range(2))
    assert first.digest == second.digest


@given(datasets, st.integers(1, 40), st.sets(st.integers(1, 5), min_size=1))
def test_what_is_kept_and_what_is_left_out_add_up(dataset, limit, wanted):
    chosen, left_out = everything(dataset, max_images=limit, categories=[f"class{label}" for label in wanted])
    whole = Counter(item.is_crowd for image in dataset.images for item in image.annotations)
    kept = Counter(item.is_crowd for image in chosen.images for item in image.annotations)
    other = {item.unit: item.count for item in left_out.items}
    assert len(chosen) + other.get("images", 0) == len(dataset)
    if "images" not in other:
        assert kept[False] + other.get("instances", 0) == whole[False]
        assert kept[True] + other.get("crowds", 0) == whole[True]


def test_a_limit_of_one_image_takes_the_richest_and_names_what_is_lost():
    dataset = make([[(1, False)], [(1, False), (2, False), (3, False)], [(4, False)]])
    chosen, left_out = everything(dataset, max_images=1)
    assert len(chosen) == 1
    assert left_out.lost_categories
    assert left_out.sentences()[-1].startswith("set: no instance is left of class")


def test_a_limit_keeps_proportions():
    dataset = make([[(1, False)]] * 800 + [[(2, False)]] * 150 + [[]] * 50)
    counts = Counter(image.annotations[0].label if image.annotations else 0 for image in
                     everything(dataset, max_images=100)[0].images)  # fmt: skip
    assert all(abs(counts[label] - share) <= 1 for label, share in {1: 80, 2: 15, 0: 5}.items()), counts


def test_a_thousand_categories_work():
    rng = np.random.default_rng(0)
    dataset = make([[(int(label), False) for label in rng.integers(1, 1001, 5)] for _ in range(3000)], num_classes=1000)
    chosen, _ = everything(dataset, max_images=1000)
    assert labels_of(chosen) == labels_of(dataset)
    assert [len(part) for part in split(dataset, 0.2, 0)] == [2400, 600]


@pytest.mark.parametrize("images", [[], [[]], [[(1, True)]], [[], []]])
def test_sets_without_instances_work(images):
    dataset = make(images)
    assert len(everything(dataset, max_images=1)[0]) == min(1, len(images))
    assert sum(len(part) for part in split(dataset, 0.5, 0)) == len(images)


def test_the_joints_go_with_their_category():
    dataset = replace(make([[(1, False)]], num_classes=2), schema=COCO_PERSON)
    persons = replace(dataset, categories=(Category(1, "person", keypoints=COCO_PERSON.names), Category(2, "cat")))
    assert everything(persons, categories=["cat"])[0].schema is None
    assert everything(persons, categories=["person"])[0].schema == COCO_PERSON
    assert everything(dataset)[0].schema == COCO_PERSON
