"""Chooses a part of a data set: by category, area and number of images, so that rare categories stay.

Images are drawn in strata (`maskrcnn.data.strata`). All choices depend on the seed and the data alone, and images keep
the order of their file.
"""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from maskrcnn.data.records import Annotation, Category, Dataset, ImageRecord
from maskrcnn.data.strata import Labels, choose_rows, split_order
from maskrcnn.errors import Problem, ProblemsError, UserError
from maskrcnn.structures import KeypointSchema


@dataclass(frozen=True, slots=True)
class Exclusion:
    """`count` things (`unit`: images, instances, crowds) that were left out, and why."""

    count: int
    unit: str
    reason: str

    def __str__(self) -> str:
        unit = self.unit.removesuffix("s") if self.count == 1 else self.unit
        return f"{self.count:,} {unit} {self.reason}"


@dataclass(frozen=True)
class Exclusions:
    """What was left out of one part of the data, by reason; `lost_categories` have no instance left because of it."""

    part: str
    items: tuple[Exclusion, ...] = ()
    lost_categories: tuple[str, ...] = ()

    def sentences(self) -> tuple[str, ...]:
        """One sentence for each reason, and one that names the categories that were lost."""
        said = [f"{self.part}: left out {item}." for item in self.items if item.count]
        if self.lost_categories:
            said.append(f"{self.part}: no instance is left of {', '.join(self.lost_categories)}.")
        return tuple(said)


def select(
    dataset: Dataset,
    *,
    categories: Sequence[str] | None,
    max_images: int | None,
    min_area: float,
    seed: int,
    background: bool = True,
) -> tuple[Dataset, Exclusions]:
    """The chosen part of a data set, and what was left out.

    Args:
        dataset: Images without annotations stay: they are true negatives.
        categories: Names, or COCO ids as text; None keeps all. Kept ones get labels 1…C in the order of their ids.
        max_images: Limit on the images, None for none. First every category gets an image as long as there is room;
            then strata are filled in proportion; images whose objects were all excluded come last.
        min_area: Instances with a smaller `area` (pixels of the original image) are left out; crowds stay, since
            they only mark where detections are not judged.
        seed: Decides which images are taken.
        background: Whether images without an instance of the kept categories stay.

    Raises:
        UserError: an unknown category (with the nearest name), or a number out of range.
    """
    check_numbers(max_images, min_area, seed)
    kept = find_categories(dataset.categories, categories)
    images, items = _keep_objects(dataset, kept, min_area)
    labels = _instance_labels(images)
    emptied = {
        row for row, (new, old) in enumerate(zip(images, dataset.images, strict=True))
        if old.annotations and not new.annotations
    }  # fmt: skip
    instances = [sum(not item.is_crowd for item in image.annotations) for image in images]
    rows, left_out = choose_images(labels, instances, emptied, max_images=max_images, background=background, seed=seed)
    items += left_out
    images = [images[row] for row in rows]
    schema = _schema_of(dataset, kept)
    chosen_from = None if schema is None else dataset.chosen_from
    chosen = replace(dataset, categories=kept, images=tuple(images), schema=schema, chosen_from=chosen_from)
    return chosen, Exclusions(dataset.name, tuple(items), lost_categories(kept, labels, rows))


def choose_images(
    labels: Labels,
    instances: Sequence[int],
    emptied: set[int],
    *,
    max_images: int | None,
    background: bool,
    seed: int,
) -> tuple[list[int], list[Exclusion]]:
    """The rows of the images that a subset takes, in order, and what it leaves out.

    Args:
        labels: of each image's instances.
        instances: their number.
        emptied: rows of images whose objects were all excluded.
        max_images, background, seed: as `select`.
    """
    rows = list(range(len(labels)))
    items = []
    if not background:
        rows = [row for row in rows if labels[row]]
        if len(rows) < len(labels):
            items.append(Exclusion(len(labels) - len(rows), "images", "without an object of these categories"))
    if max_images is not None and max_images < len(rows):
        places = {place for place, row in enumerate(rows) if row in emptied}
        rng = np.random.default_rng([seed, 0])
        chosen = [rows[place] for place in choose_rows([labels[row] for row in rows], places, max_images, rng)]
        lost = sum(instances[row] for row in rows) - sum(instances[row] for row in chosen)
        reason = f"beyond max_images={max_images} (with {lost:,} instance{'s' if lost != 1 else ''})"
        items.append(Exclusion(len(rows) - len(chosen), "images", reason))
        rows = chosen
    return rows, items


def lost_categories(kept: Sequence[Category], labels: Labels, rows: Sequence[int]) -> tuple[str, ...]:
    """Names of the categories that have an instance in an image, but in none of `rows`."""
    left = frozenset[int]().union(*(labels[row] for row in rows))
    return tuple(kept[label - 1].name for label in sorted(frozenset[int]().union(*labels) - left))


def split(dataset: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
    """(rest, part): the part holds `fraction` of the images, drawn in strata.

    With two or more images and a fraction above 0, both hold at least one; a stratum keeps one image in the rest as
    long as others can give. Fraction 0 gives an empty part.

    Raises:
        UserError: a fraction outside 0 ≤ fraction < 1.
    """
    if not 0 <= fraction < 1:
        raise UserError(f"{fraction} is not a share of the images", "fraction of a split", "choose 0 ≤ fraction < 1")
    check_numbers(None, 0, seed)
    size = len(dataset)
    count = min(max(round(fraction * size), 1), size - 1) if fraction and size > 1 else 0
    taken = set(split_order(_instance_labels(dataset.images), np.random.default_rng([seed, 1]))[:count])
    parts = (
        tuple(image for row, image in enumerate(dataset.images) if (row in taken) == wanted) for wanted in (False, True)
    )
    rest, part = (replace(dataset, images=images) for images in parts)
    return rest, part


def check_numbers(max_images: int | None, min_area: float, seed: int) -> None:
    """Raises UserError for a number out of range."""
    if max_images is not None and max_images < 1:
        raise UserError(f"max_images={max_images} keeps nothing", "dataset", "choose 1 or more, or null for all images")
    if not (math.isfinite(min_area) and min_area >= 0):
        raise UserError(f"min_area={min_area} is not an area", "dataset", "choose 0 or more pixels")
    if seed < 0:
        raise UserError(f"subset_seed={seed} is negative", "dataset", "choose 0 or more")


def find_categories(known: Sequence[Category], wanted: Sequence[str] | None) -> tuple[Category, ...]:
    """The wanted categories in the order of their ids. Raises UserError for those that do not exist, all at once."""
    in_order = sorted(known, key=lambda category: category.id)
    if wanted is None:
        return tuple(in_order)
    names = [str(name) for name in wanted]
    if not names:
        raise UserError("the list of categories is empty", "dataset.categories", "name at least one, or null for all")
    unknown = [name for name in dict.fromkeys(names) if not any(_is_meant(category, name) for category in in_order)]
    problems = [Problem("dataset.categories", f"unknown category {name!r}", _hint(name, in_order)) for name in unknown]
    if problems:
        raise ProblemsError(problems)
    by_name = {category.name for category in in_order}
    return tuple(
        category for category in in_order
        if any(category.name == name or (name not in by_name and _is_meant(category, name)) for name in names)
    )  # fmt: skip


def _is_meant(category: Category, name: str) -> bool:
    return name in (category.name, str(category.id))


def _hint(name: str, known: Sequence[Category]) -> str:
    """The nearest names, or all of them if there are few and none is near."""
    plain = {category.name.casefold(): category.name for category in known}
    near = [plain[match] for match in difflib.get_close_matches(name.casefold(), plain, n=3, cutoff=0.6)]
    if near:
        return f"did you mean {' or '.join(map(repr, near))}?"
    shown = [category.name for category in known[:12]]
    return f"known: {', '.join(shown)}{', …' if len(known) > len(shown) else ''}"


def _keep_objects(
    dataset: Dataset, kept: Sequence[Category], min_area: float
) -> tuple[list[ImageRecord], list[Exclusion]]:
    """Every image with the objects that are kept, relabelled; and how many were not."""
    new_labels = {category.id: label for label, category in enumerate(kept, start=1)}
    labels = {old: new_labels.get(category.id, 0) for old, category in enumerate(dataset.categories, start=1)}
    other: Counter[str] = Counter()
    small = 0
    images = []
    for image in dataset.images:
        annotations = []
        for item in image.annotations:
            if not labels[item.label]:
                other["crowds" if item.is_crowd else "instances"] += 1
            elif not item.is_crowd and item.area < min_area:
                small += 1
            else:
                annotations.append(_relabelled(item, labels[item.label]))
        images.append(_with_annotations(image, annotations))
    return images, [
        *(Exclusion(other[unit], unit, "of other categories") for unit in ("instances", "crowds") if other[unit]),
        *([Exclusion(small, "instances", f"smaller than min_area={min_area:g}")] if small else []),
    ]


def relabelled(dataset: Dataset, categories: Sequence[Category]) -> Dataset:
    """The data set with `categories` as its labels 1…C; those of its own must be among them, in any order."""
    labels = {category.id: label for label, category in enumerate(categories, start=1)}
    images = [
        _with_annotations(
            image, [_relabelled(item, labels[dataset.categories[item.label - 1].id]) for item in image.annotations]
        )
        for image in dataset.images
    ]
    return replace(dataset, categories=tuple(categories), images=tuple(images))


def _relabelled(item: Annotation, label: int) -> Annotation:
    return item if item.label == label else replace(item, label=label)


def _with_annotations(image: ImageRecord, annotations: list[Annotation]) -> ImageRecord:
    kept = tuple(annotations)
    same = len(kept) == len(image.annotations) and all(a is b for a, b in zip(kept, image.annotations, strict=True))
    return image if same else replace(image, annotations=kept)


def _instance_labels(images: Iterable[ImageRecord]) -> list[frozenset[int]]:
    return [frozenset(item.label for item in image.annotations if not item.is_crowd) for image in images]


def _schema_of(dataset: Dataset, kept: Sequence[Category]) -> KeypointSchema | None:
    """The joints, unless the categories that declare them are gone."""
    declared = any(category.keypoints for category in dataset.categories)
    return None if declared and not any(category.keypoints for category in kept) else dataset.schema
