"""The doctor's command line: its two forms, wrong usage, exit codes, what it imports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from maskrcnn import check
from maskrcnn.errors import UsageError, UserError

ROOT = Path(__file__).resolve().parents[1]
SQUARE = [[4, 5, 16, 5, 16, 21, 4, 21]]


def _write(folder: Path, name: str = "train.json", **values: object) -> Path:
    Image.new("RGB", (40, 30)).save(folder / "a.png")
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [4, 5, 12, 16], "area": 192, "iscrowd": 0}
    document = {
        "images": [{"id": 1, "file_name": "a.png", "height": 30, "width": 40}],
        "annotations": [{**annotation, "segmentation": SQUARE, **values}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (folder / name).write_text(json.dumps(document))
    return folder / name


@pytest.fixture
def line(tmp_path):
    path = _write(tmp_path)
    return [f"annotations={path}", f"images={tmp_path}", "task=mask"]


@pytest.mark.parametrize("task", check.TASKS)
def test_every_task_name_is_understood(line, task, capsys):
    # a cat has no keypoints
    assert check.main([*line[:2], f"task={task}"]) == (1 if "keypoint" in check.TASKS[task] else 0)
    capsys.readouterr()


def test_healthy_data_give_0_and_a_summary(line, capsys):
    assert check.main(line) == 0
    out = capsys.readouterr().out
    assert "0 faults, 0 warnings" in out.splitlines()
    assert "annotations" in out
    assert "seconds" in out


def test_faults_give_1_and_are_named(tmp_path, line, capsys):
    _write(tmp_path, bbox=[1, 1, -5, 1])
    assert check.main(line) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("fault: annotation 1 in image 1 (a.png): has a bbox with a negative side")
    assert "1 fault, 0 warnings" in out


def test_warnings_alone_give_0(tmp_path, line, capsys):
    _write(tmp_path, area=3)
    assert check.main(line) == 0
    assert "0 faults, 1 warning" in capsys.readouterr().out


def test_missing_annotation_file_is_a_fault(tmp_path, capsys):
    assert check.main([f"annotations={tmp_path}/no.json", f"images={tmp_path}", "task=box"]) == 1
    assert "no.json: there is no such file" in capsys.readouterr().out


def test_paths_may_hold_any_characters(tmp_path, capsys):
    folder = tmp_path / "a=b, [ü] {x}"
    folder.mkdir()
    path = _write(folder)
    assert check.main([f"annotations={path}", f"images={folder}", "task=mask"]) == 0


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_shows_the_usage(flag, capsys):
    assert check.main(["task=nonsense", flag]) == 0
    assert "usage: python -m maskrcnn.check annotations=FILE" in capsys.readouterr().out


WRONG = {
    "nothing": ([], "nothing to check"),
    "task alone": (["task=mask"], "annotations: is not given"),
    "no images": (["annotations=a.json", "task=mask"], "images: is not given"),
    "no annotations": (["images=dir", "task=mask"], "annotations: is not given"),
    "no task": (["annotations=a.json", "images=dir"], "task: is not given"),
    "empty value": (["annotations=", "images=dir", "task=mask"], "annotations=: has no value"),
    "blank value": (["annotations=  ", "images=dir", "task=mask"], "has no value"),
    "key without value": (["annotations", "images=dir", "task=mask"], "annotations: has no value"),
    "misspelt key": (["anotations=a.json", "images=dir", "task=mask"], "did you mean annotations=a.json?"),
    "misspelt images": (["annotations=a.json", "image=dir", "task=mask"], "did you mean images=dir?"),
    "unknown key": (["annotations=a.json", "images=dir", "task=mask", "colour=red"], "colour=red: unknown key"),
    "option": (["--annotations", "a.json", "--images", "dir"], "did you mean annotations="),
    "bare file": (["a.json", "dir"], "a.json: unknown argument"),
    "given twice": (["annotations=a", "images=b", "images=c", "task=mask"], "images: is given twice"),
    "misspelt task": (["annotations=a", "images=b", "task=maks"], "did you mean task=mask?"),
    "task in plural": (["annotations=a", "images=b", "task=keypoints"], "did you mean task=keypoint?"),
    "task in capitals": (["annotations=a", "images=b", "task=MASK"], "did you mean task=mask?"),
    "unknown task": (["annotations=a", "images=b", "task=xyz"], "choose one of mask, keypoint, box"),
    "both forms": (["annotations=a", "images=b", "task=mask", "dataset=embedded"], "dataset=embedded: unknown key"),
    "empty argument": ([""], "unknown argument"),
    "equals alone": (["="], "unknown key"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_usage_is_named_in_one_line_with_exit_code_2(name):
    arguments, words = WRONG[name]
    with pytest.raises(UsageError) as caught:
        check.main(arguments)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_configuration_form_checks_every_part(tmp_path, capsys):
    pytest.importorskip("maskrcnn.config.compose")
    train, test = _write(tmp_path), _write(tmp_path, "test.json", iscrowd=5)
    code = check.main(
        [
            "dataset=coco_json",
            f"dataset.train.annotations={train}",
            f"dataset.train.images={tmp_path}",
            f"dataset.test.annotations={test}",
            f"dataset.test.images={tmp_path}",
        ]
    )
    out = capsys.readouterr().out
    assert code == 1
    assert f"train: {train}" in out
    assert "fault: annotation 1 in image 1 (a.png): has iscrowd 5" in out


def test_configuration_form_warns_of_images_in_two_parts(tmp_path, capsys):
    pytest.importorskip("maskrcnn.config.compose")
    files = {name: _write(tmp_path, f"{name}.json") for name in ("train", "test")}
    overrides = [f"dataset.{name}.annotations={path}" for name, path in files.items()]
    overrides += [f"dataset.{name}.images={tmp_path}" for name in files]
    assert check.main(["dataset=coco_json", *overrides]) == 0
    assert "warning: train and test share 1 images: a.png" in capsys.readouterr().out


def test_configuration_form_names_a_category_that_is_not_there(tmp_path, capsys):
    pytest.importorskip("maskrcnn.config.compose")
    path = _write(tmp_path)
    files = [f"dataset.train.annotations={path}", f"dataset.train.images={tmp_path}"]
    assert check.main(["dataset=coco_json", *files, "dataset.categories=[cats]"]) == 1
    assert "cats" in capsys.readouterr().out


@pytest.mark.parametrize("override", ["dataset=cocojson", "dataset.trian.images=x", "dataset.faults=skip"])
def test_configuration_form_answers_wrong_overrides(override):
    pytest.importorskip("maskrcnn.config.compose")
    with pytest.raises(UserError):
        check.main(["dataset=coco_json", override])


def test_the_command_ends_with_its_code_and_imports_nothing_heavy(line):
    program = (
        "import sys\n"
        "from maskrcnn import check\n"
        "code = check.main(sys.argv[1:])\n"
        "heavy = {'tensorflow', 'keras', 'mlflow', 'matplotlib', 'hydra', 'cv2', 'jax', 'rich'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *line], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_wrong_usage_ends_the_process_with_2_and_one_line():
    done = subprocess.run(
        [sys.executable, "-m", "maskrcnn.check", "annotations=a", "images=b", "task=segmentaton"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "task=segmentaton: there is no such task; did you mean task=segmentation?\n"
    assert done.stdout == ""
