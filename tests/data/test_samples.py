"""The table of samples adds up, lines up and says what was excluded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskrcnn.data.records import Annotation, Category, Dataset, ImageRecord
from maskrcnn.data.samples import count_samples
from maskrcnn.data.subset import Exclusion, Exclusions


def make(images: list[list[tuple[str, bool]]], names: tuple[str, ...] = ("cat", "dog")) -> Dataset:
    records = tuple(
        ImageRecord(row, f"{row}.png", "", 4, 4, tuple(
            Annotation(k, names.index(name) + 1, (0, 0, 1, 1), 1.0, is_crowd=crowd)
            for k, (name, crowd) in enumerate(objects)
        ))
        for row, objects in enumerate(images)
    )  # fmt: skip
    return Dataset("set", tuple(Category(k, name) for k, name in enumerate(names, start=1)), records)


TRAIN = make([[("cat", False), ("cat", False), ("dog", True)], [("dog", False)], []])
TEST = make([[("cat", False)], [], []])
objects = st.tuples(st.sampled_from(["cat", "dog"]), st.booleans())
datasets = st.lists(st.lists(objects, max_size=5), max_size=10).map(make)


def test_counts_of_every_part_stand_in_one_row_for_each_category():
    table = count_samples({"training": TRAIN, "test": TEST})
    assert table.header == (
        "category", "training images", "training instances", "training crowds",
        "test images", "test instances", "test crowds",
    )  # fmt: skip
    assert table.rows == (
        ("cat", 1, 2, 0, 1, 1, 0),
        ("dog", 2, 1, 1, 0, 0, 0),
        ("without objects", 1, 0, 0, 2, 0, 0),
        ("total", 3, 3, 1, 3, 1, 0),
    )


@given(datasets, datasets)
def test_instances_and_crowds_add_up_to_the_totals(train, test):
    *categories, without, total = count_samples({"training": train, "test": test}).rows
    for column in (2, 3, 5, 6):
        assert sum(row[column] for row in categories) == total[column]
    for column, dataset in ((1, train), (4, test)):
        assert total[column] == len(dataset)
        assert max((row[column] for row in categories), default=0) <= total[column] - without[column]
        assert sum(row[column] for row in categories) >= total[column] - without[column]


def test_records_are_flat_and_keyed_by_the_header():
    table = count_samples({"training": TRAIN})
    assert table.records()[0] == {
        "category": "cat", "training images": 1, "training instances": 2, "training crowds": 0,
    }  # fmt: skip


def test_exclusions_are_said_in_sentences():
    left_out = Exclusions("training", (Exclusion(1200, "instances", "of other categories"),), ("owl",))
    text = count_samples({"training": TRAIN}, [left_out]).to_text()
    assert text.splitlines()[-2:] == [
        "training: left out 1,200 instances of other categories.",
        "training: no instance is left of owl.",
    ]


def test_a_category_that_cannot_be_learnt_is_named():
    table = count_samples({"training": TEST, "validation": TEST, "test": TRAIN})
    assert table.notes == ("test: has instances of dog, but training has none to learn from.",)


def test_categories_are_matched_by_name_across_parts():
    other = make([[("owl", False), ("cat", False)]], names=("owl", "cat"))
    rows = {row[0]: row[1:] for row in count_samples({"training": TRAIN, "test": other}).rows}
    assert rows["cat"] == (1, 2, 0, 1, 1, 0)
    assert rows["owl"] == (0, 0, 0, 1, 1, 0)


def test_text_has_every_number_under_its_column():
    text = count_samples({"training": TRAIN, "a part with a name wider than its columns": TEST}).to_text()
    title, header, rule, *rows = text.splitlines()
    ends = [k + len(word) for word in ("images", "instances", "crowds") for k in _starts(header, word)]
    assert all(row[end - 1].isdigit() for row in rows if not row.startswith("-") for end in ends)
    assert len(rule) == len(header)
    assert "training" in title


def _starts(text: str, word: str) -> list[int]:
    return [k for k in range(len(text)) if text.startswith(word, k)]


def test_wide_characters_keep_the_columns_aligned():
    table = count_samples({"training": make([[("猫", False)]], names=("猫", "dog"))})
    cat, dog = table.to_text().splitlines()[3:5]
    assert len(cat) == len(dog) - 1  # one character that takes two columns


@pytest.mark.parametrize("count", [1, 80, 1000])
def test_long_lists_of_categories_can_be_shortened(count):
    names = tuple(f"category number {k}" for k in range(count))
    table = count_samples({"training": make([[]], names=names)})
    assert len(table.to_text().splitlines()) == count + 6
    short = table.to_text(max_categories=100).splitlines()
    assert len(short) == min(count, 101) + 6
    assert any("900 more" in line for line in short) == (count == 1000)


def test_markdown_is_a_table_whose_cells_cannot_break_out():
    names = ("a|b", "c\nd")
    text = count_samples({"training": make([[]], names=names)}, [Exclusions("x", (Exclusion(1, "images", "a|b"),))])
    lines = text.to_markdown().splitlines()
    assert lines[2].startswith(r"| a\|b | 0 |")
    assert lines[3].startswith("| c d | 0 |")
    assert lines[1] == "| --- | --: | --: | --: |"
    assert lines[-1] == r"- x: left out 1 image a\|b."


def test_no_parts_and_empty_parts_work():
    assert count_samples({}).rows == (("without objects",), ("total",))
    assert count_samples({"training": make([])}).to_text()
    assert count_samples({}).to_text()
