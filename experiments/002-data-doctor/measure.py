"""Runs the doctor on every data set of ../shared/data/coco: findings, seconds, peak memory of all its processes.

python experiments/002-data-doctor/measure.py ../shared/data/coco > experiments/002-data-doctor/results.json
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SETS = (
    ("person_train.json", "images", "mask_keypoint"),
    ("person_val.json", "images", "mask_keypoint"),
    ("instances_train.json", "images", "mask"),
    ("instances_val.json", "images", "mask"),
    ("instances_rle_val.json", "images", "mask"),
    ("quirks/roboflow_boxes/annotations.json", "quirks/roboflow_boxes/images", "box"),
    ("quirks/two_point_keypoints/keypoints_train.json", "quirks/two_point_keypoints/images", "keypoint"),
    ("quirks/two_point_keypoints/keypoints_val.json", "quirks/two_point_keypoints/images", "keypoint"),
    ("quirks/animal_keypoints/animalpose/annotations.json", "quirks/animal_keypoints/animalpose/images", "keypoint"),
    ("quirks/animal_keypoints/ap10k/annotations.json", "quirks/animal_keypoints/ap10k/images", "keypoint"),
    ("quirks/animal_keypoints/atrw/annotations.json", "quirks/animal_keypoints/atrw/images", "keypoint"),
    ("quirks/animal_keypoints/horse10/annotations.json", "quirks/animal_keypoints/horse10/images", "keypoint"),
    ("quirks/animal_keypoints/macaque/annotations.json", "quirks/animal_keypoints/macaque/images", "mask_keypoint"),
    ("quirks/coco_annotator_json/annotations.json", "images", "mask_keypoint"),
)


def main() -> None:
    root = Path(sys.argv[1])
    json.dump([measure(root, *chosen) for chosen in SETS], sys.stdout, indent=1)
    print()


def measure(root: Path, annotations: str, images: str, task: str) -> dict[str, Any]:
    """One run of the command: exit code, counts by kind, wall and CPU seconds, peak of the summed resident memory."""
    command = ["-m", "maskrcnn.check", f"annotations={root / annotations}", f"images={root / images}", f"task={task}"]
    start, cpu_start = time.monotonic(), os.times()
    peak = 0
    with tempfile.TemporaryFile("w+") as output:
        child = subprocess.Popen([sys.executable, *command], stdout=output)
        while child.poll() is None:
            peak = max(peak, _resident(child.pid))
            time.sleep(0.01)
        output.seek(0)
        text = output.read()
    cpu_end = os.times()
    kinds = dict(re.findall(r"^  ((?:fault|warning): .+?)  +([\d,]+)$", text, re.MULTILINE))
    counts = dict(re.findall(r"^  (images|annotations|crowds|categories)  +([\d,]+)$", text, re.MULTILINE))
    return {
        "annotations": annotations,
        "task": task,
        "exit_code": child.returncode,
        "counts": {name: int(count.replace(",", "")) for name, count in counts.items()},
        "found": {name: int(count.replace(",", "")) for name, count in kinds.items()},
        "wall_s": round(time.monotonic() - start, 2),
        "cpu_s": round(sum(cpu_end[2:4]) - sum(cpu_start[2:4]), 2),
        "peak_mib": round(peak / 2**20),
    }


def _resident(pid: int) -> int:
    """Bytes of resident memory of a process and its descendants (shared pages counted in each)."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for task in Path(f"/proc/{pid}/task").iterdir():
            if task.name != str(pid):
                children += (task / "children").read_text().split()
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGESIZE") + sum(_resident(int(child)) for child in children)


if __name__ == "__main__":
    main()
