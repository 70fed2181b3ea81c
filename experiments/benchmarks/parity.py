"""What the records of parity share: rows of measured stages, the stored sets' recipe and masks, tables.

`experiments/001-parity-torchvision` and `experiments/006-parity-detectron2` measure with it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from keras import ops

from maskrcnn.ops.boxes import pairwise_iou


@dataclass(frozen=True)
class Row:
    """One measured stage: `largest` and `rms` are differences, `rms` in standard deviations of the stage's values;
    decisions have a `share` that agrees (of boxes, levels, mask pixels, keypoints) and its smallest allowed value."""

    name: str
    stage: str
    image: int | None = None
    largest: float | None = None
    limit: float | None = None
    rms: float | None = None
    rms_limit: float | None = None
    share: float | None = None
    share_limit: float | None = None
    source_float64: float | None = None
    """Largest difference between the source's own float32 and float64 runs, where the set's JSON has it."""

    @property
    def passed(self) -> bool:
        near = self.largest is None or self.limit is None or self.largest <= self.limit
        level = self.rms is None or self.rms_limit is None or self.rms <= self.rms_limit
        return near and level and (self.share is None or self.share >= (self.share_limit or 0))


def matched_share(wanted: tuple[np.ndarray, ...], found: tuple[np.ndarray, ...], tolerance: float) -> float:
    """Share of the wanted (boxes, scores, labels) with one of the same label, IoU > 0.99 and score near enough."""
    iou = np.asarray(pairwise_iou(ops.convert_to_tensor(wanted[0]), ops.convert_to_tensor(found[0])))
    near = np.abs(wanted[1][:, None] - found[1][None]) <= tolerance
    same = wanted[2][:, None] == found[2][None]
    return float(((iou > 0.99) & near & same).any(1).mean())


def stored_mask(stored: Any, image: int, k: int, height: int, width: int) -> np.ndarray:
    """Mask `k` of an image of a set, uint8 [height, width]."""
    start = stored[f"mask_rle_start_{image}"]
    runs = stored[f"mask_rle_{image}"][start[k] : start[k + 1]]
    return np.repeat(np.arange(len(runs)) % 2, runs).reshape(width, height).T.astype(np.uint8)


def open_set(folder: Path, name: str) -> tuple[Any, dict[str, Any], Any, list[np.ndarray], dict[str, np.ndarray]]:
    """Recipe, JSON, arrays, images and weights of a set; the last two are checked against the JSON's hashes."""
    recipe = load_recipe(folder)
    info = json.loads((folder / f"{name}.json").read_text())
    stored = np.load(folder / f"{name}.npz", allow_pickle=False)
    images = recipe.images(info.get("image_seed", info["seed"]), info["image_sizes"])
    if [hashlib.sha256(image.tobytes()).hexdigest() for image in images] != info["images_sha256"]:
        raise ValueError(f"{name}: the recipe made other images than the stored ones")
    state = dict(recipe.state_dict(info["arch"], info["seed"]))
    if state_hash(state) != info["weights_sha256"]:
        raise ValueError(f"{name}: the recipe made other weights than the stored ones")
    return recipe, info, stored, images, state


def state_hash(state: dict[str, np.ndarray]) -> str:
    """As `recipe.state_hash`, of weights that are already there."""
    digest = hashlib.sha256()
    for key, values in state.items():
        digest.update(f"{key}{tuple(int(side) for side in values.shape)}".encode())
        digest.update(np.ascontiguousarray(values, "<i8" if values.dtype.kind == "i" else "<f4").tobytes())
    return digest.hexdigest()


def load_recipe(folder: Path) -> Any:
    """The folder's `recipe.py` as a module."""
    spec = importlib.util.spec_from_file_location(f"recipe_{folder.name}", folder / "recipe.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(folder / "recipe.py")
    module = importlib.util.module_from_spec(spec)
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # the folder may be read-only
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = written
    return module


def to_markdown(rows: list[Row], source: str) -> str:
    """One line a set and stage, the worse of its images."""
    rms_limit = next((row.rms_limit for row in rows if row.rms_limit is not None), 0.0)
    lines = [
        f"| set | stage | largest difference | allowed | {source} float32 − float64 "
        f"| rms / std (allowed {rms_limit:.0e}) | agree | at least |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for key in dict.fromkeys((row.name, row.stage) for row in rows):
        same = [row for row in rows if (row.name, row.stage) == key]
        cells = [
            _worst(same, "largest", max, ".1e"),
            _worst(same, "limit", max, ".0e"),
            _worst(same, "source_float64", max, ".1e"),
            _worst(same, "rms", max, ".1e"),
            _worst(same, "share", min, ".5f"),
            _worst(same, "share_limit", min, ".3f"),
        ]
        lines.append(f"| {key[0]} | {key[1]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _worst(rows: list[Row], field: str, choose: Callable[..., float], form: str) -> str:
    values = [value for row in rows if (value := getattr(row, field)) is not None]
    return format(choose(values), form) if values else ""


def write_section(readme: Path, name: str, text: str) -> None:
    """Put `text` between the marks `name` of the README."""
    before, begin, rest = readme.read_text().partition(f"<!-- {name} -->")
    _, end, after = rest.partition(f"<!-- end of {name} -->")
    readme.write_text(f"{before}{begin}\n{text}\n{end}{after}")


def record(
    folder: Path, source: str, sets: Sequence[str], measure: Callable[[str], Iterable[Row]], *, whole: bool
) -> int:
    """Measure the sets; 0 if every row is within its limits, else 1.

    The `whole` of the sets goes into `results.json` and the table of `folder`'s README, a part of them is printed.
    """
    rows: list[Row] = []
    for name in sets:
        start = time.process_time()
        rows += measure(name)
        print(f"{name}: {time.process_time() - start:.0f} CPU s", file=sys.stderr)
    if whole:
        (folder / "results.json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
        write_section(folder / "README.md", "table", to_markdown(rows, source))
    else:
        print(to_markdown(rows, source))
    failed = [f"{row.name} {row.stage} {row.image}" for row in rows if not row.passed]
    print(f"{len(rows) - len(failed)} of {len(rows)} measurements within the limits", *failed, sep="\n")
    return 1 if failed else 0
