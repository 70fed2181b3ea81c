"""RLE against pycocotools as oracle, and every input that pycocotools crashes on or misreads (FACTS §5)."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from maskrcnn.data import rle
from maskrcnn.data.rle import RleError

SQUARE = np.zeros((8, 10), np.uint8)
SQUARE[2:5, 3:7] = 1


@st.composite
def bitmaps(draw):
    height, width = draw(st.integers(1, 13)), draw(st.integers(1, 13))
    density = draw(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]))
    return np.random.default_rng(draw(st.integers(0, 10**6))).random((height, width)) < density


@settings(max_examples=60, deadline=None)
@given(bitmaps())
def test_decode_undoes_encode(bitmap):
    coded = rle.encode(bitmap)
    assert np.array_equal(rle.decode(coded), bitmap)
    assert np.array_equal(rle.decode(json.loads(json.dumps({**coded, "counts": coded["counts"].decode()}))), bitmap)
    assert rle.area(coded) == bitmap.sum()


@settings(max_examples=60, deadline=None)
@given(bitmaps())
def test_runs_and_compressed_string_hold_the_same_mask(bitmap):
    coded = rle.encode(bitmap)
    plain = {"size": coded["size"], "counts": rle.runs(coded).tolist()}
    assert rle.compress(plain) == coded
    assert np.array_equal(rle.decode(plain), bitmap)


@settings(max_examples=100, deadline=None)
@given(bitmaps(), st.integers(0, 5), st.integers(0, 5), st.integers(0, 5), st.integers(0, 5))
def test_box_mask_gives_the_code_of_the_full_mask(bits, left, top, right, bottom):
    full = np.zeros((bits.shape[0] + top + bottom, bits.shape[1] + left + right), bool)
    full[top : top + bits.shape[0], left : left + bits.shape[1]] = bits
    assert rle.box_mask_to_rle(bits, left, top, *full.shape) == rle.encode(full)


def test_box_mask_without_pixels_is_an_empty_mask():
    assert rle.box_mask_to_rle(np.zeros((0, 3), bool), 2, 2, 8, 10) == rle.encode(np.zeros((8, 10)))


def test_box_mask_outside_the_image_is_refused():
    with pytest.raises(RleError, match="leaves the image"):
        rle.box_mask_to_rle(np.ones((4, 4), bool), 7, 0, 8, 10)


def test_large_runs_decompress_as_pycocotools_does():
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 60_000, 99).tolist()
    height, width = 1, sum(lengths)
    coded = coco_mask.frPyObjects({"size": [height, width], "counts": lengths}, height, width)
    assert rle.runs(coded).tolist() == lengths


def test_encode_counts_every_value_but_zero_as_set():
    assert rle.area(rle.encode(np.array([[1, 255], [0, 2]], np.uint8))) == 3


def test_merge_is_the_union():
    other = np.zeros_like(SQUARE)
    other[4:, 5:] = 1
    assert np.array_equal(rle.decode(rle.merge([rle.encode(SQUARE), rle.encode(other)])), SQUARE | other)


@pytest.mark.parametrize("masks", [[], [np.ones((2, 3)), np.ones((3, 2))]])
def test_merge_refuses_none_and_unlike_sizes(masks):
    with pytest.raises(RleError):
        rle.merge([rle.encode(mask) for mask in masks])


def test_bounds_are_the_box_of_the_pixels():
    assert rle.bounds(rle.encode(SQUARE)) == (3, 2, 7, 5)
    assert rle.bounds(rle.encode(0 * SQUARE)) == (0, 0, 0, 0)


def test_polygon_raster_is_that_of_pycocotools():
    # golden/pycocotools_observed.json: poly_triangle_area (45 and not the shoelace 50), poly_selfcross is legal
    assert rle.area(rle.polygons_to_rle([np.array([0, 0, 10, 0, 0, 10.0])], 80, 100)) == 45
    assert rle.polygons_to_rle([[10, 10, 50, 50, 50, 10, 10, 50]], 80, 100)["size"] == [80, 100]


def test_segmentation_to_bitmap_reads_polygons_and_both_codes():
    polygon = (np.array([3, 2, 7, 2, 7, 5, 3, 5.0]),)
    for segmentation in (
        polygon,
        rle.encode(SQUARE),
        {"size": [8, 10], "counts": rle.runs(rle.encode(SQUARE)).tolist()},
    ):
        assert np.array_equal(rle.segmentation_to_bitmap(segmentation, 8, 10), SQUARE)


def test_segmentation_of_another_size_is_refused():
    with pytest.raises(RleError, match=r"expected \[10, 8\]"):
        rle.segmentation_to_bitmap(rle.encode(SQUARE), 10, 8)
    with pytest.raises(RleError, match="no segmentation"):
        rle.segmentation_to_bitmap(None, 10, 8)


@pytest.mark.parametrize(
    "polygon",
    [
        [],
        [1, 1],
        [1, 1, 5, 5],
        [1, 1, 5, 1, 5],
        [1, 1, 5, 1, 5, 5, 1],
        [1, 1, 5, 1, 5, float("nan")],
        [1, 1, 5, 1, 5, float("inf")],
        [1, 1, 5, 1, 5, 1e9],
        [1, 1, 5, 1, 5, -1e8],
        [[1, 1, 5, 1, 5, 5]],
    ],
)
def test_polygon_that_pycocotools_misreads_is_refused(polygon):
    with pytest.raises(RleError, match="polygon"):
        rle.polygons_to_rle([[1, 1, 5, 1, 5, 5], polygon], 80, 100)


BAD_CODES = {
    "size missing": {"counts": "0P2"},
    "counts missing": {"size": [8, 10]},
    "counts none": {"size": [8, 10], "counts": None},
    "counts number": {"size": [8, 10], "counts": 80},
    "counts empty list": {"size": [8, 10], "counts": []},
    "counts empty text": {"size": [8, 10], "counts": ""},
    "counts empty bytes": {"size": [8, 10], "counts": b""},
    "runs too short": {"size": [8, 10], "counts": [10, 5]},
    "runs too long": {"size": [8, 10], "counts": [10, 5, 10_000]},
    "negative run": {"size": [8, 10], "counts": [10, -5, 75]},
    "fraction": {"size": [8, 10], "counts": [10.5, 5, 64.5]},
    "not a number": {"size": [8, 10], "counts": [10, float("nan"), 70]},
    "text among runs": {"size": [8, 10], "counts": [10, "5", 65]},
    "bool among runs": {"size": [8, 10], "counts": [True, 79]},
    "nested runs": {"size": [8, 10], "counts": [[10, 70]]},
    "runs that wrap": {"size": [8, 10], "counts": [2**62, 2**62, 2**62, 2**62, 80]},
    "absurd run": {"size": [8, 10], "counts": [10**400, 80]},
    "size zero": {"size": [0, 0], "counts": []},
    "size negative": {"size": [-8, -10], "counts": [80]},
    "size huge": {"size": [100_000, 100_000], "counts": [10**10]},
    "size overflow": {"size": [2**32 + 8, 10], "counts": [80]},
    "size absurd": {"size": [10**400, 10], "counts": [80]},
    "size fraction": {"size": [8.5, 10], "counts": [85]},
    "size text": {"size": ["8", "10"], "counts": [80]},
    "size bool": {"size": [True, 80], "counts": [80]},
    "size of three": {"size": [8, 10, 1], "counts": [80]},
    "size none": {"size": None, "counts": [80]},
    "garbage text": {"size": [8, 10], "counts": "~~~~~~~~"},
    "unterminated text": {"size": [8, 10], "counts": "oooooooooooooooooooooooooooo"},
    "text outside ASCII": {"size": [8, 10], "counts": "0Ä2"},
    "low characters": {"size": [8, 10], "counts": "0 !2"},
    "truncated text": {"size": [8, 10], "counts": rle.encode(SQUARE)["counts"].decode()[:5]},
}


@pytest.mark.parametrize("name", BAD_CODES)
def test_code_that_does_not_hold_a_mask_is_refused(name):
    for read in (rle.runs, rle.decode, rle.area, rle.compress, rle.bounds):
        with pytest.raises(RleError):
            read(BAD_CODES[name])


def test_whole_floats_are_legal_runs_and_sizes():
    assert rle.area({"size": [8.0, 10.0], "counts": [10.0, 5.0, 65.0]}) == 5


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.characters(min_codepoint=40, max_codepoint=120), max_size=12))
def test_any_text_decodes_to_its_size_or_is_refused(text):
    with contextlib.suppress(RleError):
        assert rle.decode({"size": [8, 10], "counts": text}).shape == (8, 10)


def test_real_run_lengths_of_coco_decode_to_their_area():
    path = Path(__file__).resolve().parents[2] / "../shared/data/coco/instances_rle_val.json"
    if not path.exists():
        pytest.skip("needs ../shared/data/coco")
    annotations = json.loads(path.read_text())["annotations"]
    for annotation in annotations[:100]:
        coded = annotation["segmentation"]
        oracle = coco_mask.frPyObjects(coded, *coded["size"]) if isinstance(coded["counts"], list) else coded
        assert np.array_equal(rle.decode(coded), coco_mask.decode(oracle))
