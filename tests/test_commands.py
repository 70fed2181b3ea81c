"""Wrong command lines: the exit code, one line for each problem, the key and the nearest valid name in it."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from maskrcnn import evaluate, predict, report, run
from maskrcnn.cli import run_command

ROOT = Path(__file__).resolve().parents[1]

# A command line, and what the answer must say. Exit code 2: the line itself cannot be meant.
WRONG_USAGE = {
    # keys that do not exist
    "nosuch=1": "there is no key 'nosuch'",
    "learning_rate=0.1": "did you mean optimizer.learning_rate?",
    "lr=0.1": "did you mean optimizer.learning_rate?",
    "optimizer.lr=0.1": "did you mean optimizer.learning_rate?",
    "optimizer.leaning_rate=0.1": "did you mean optimizer.learning_rate?",
    "optimzer.learning_rate=0.1": "did you mean optimizer.learning_rate?",
    "optimiser=sgd": "did you mean optimizer?",
    "backbon=small_fpn": "did you mean backbone?",
    "tsak=detection": "did you mean task?",
    "epochs=3": "did you mean schedule.epochs?",
    "num_epochs=3": "did you mean schedule.epochs?",
    "steps=100": "did you mean schedule.steps?",
    "schedule.step=100": "did you mean schedule.steps?",
    "batch_size=4": "did you mean training.batch_size?",
    "batchsize=4": "did you mean training.batch_size?",
    "training.batchsize=4": "did you mean training.batch_size?",
    "training.determinstic=true": "did you mean training.deterministic?",
    "numkeypoints=7": "did you mean num_keypoints?",
    "num_keypoint=7": "did you mean num_keypoints?",
    "image_size=512": "did you mean dataset.embedded.image_size?",
    "head.nam=box": "did you mean head.name?",
    "dataset.trian.annotations=x.json": "did you mean dataset.train.annotations?",
    "dataset.train.anotations=x.json": "did you mean dataset.train.annotations?",
    "dataset.embeded.seed=1": "did you mean dataset.embedded.seed?",
    "weights.backbones=imagenet": "did you mean weights.backbone?",
    "tracking.enabeld=false": "did you mean tracking.enabled?",
    "tracking.url=http://x": "did you mean tracking.uri?",
    "from_runs=3": "did you mean from_run?",
    "image={short_sid:3}": "did you mean image.short_side?",
    "hydra.run.dirr=x": "did you mean hydra.run.dir?",
    "+nosuch=3": "there is no key 'nosuch'",
    "++nosuch.deep=3": "there is no key 'nosuch.deep'",
    # options that do not exist
    "task=keypiont": "did you mean task=keypoint? known: detection, keypoint, multitask, segmentation",
    "task=Segmentation": "did you mean task=segmentation?",
    "task=pose": "known: detection, keypoint, multitask, segmentation",
    "task=null": "task has no option 'null'",
    "head=masks": "did you mean head=mask?",
    "backbone=resnet51_fpn": "did you mean backbone=resnet50_fpn?",
    "backbone=resnet50": "did you mean backbone=resnet50_fpn?",
    "backbone=vgg": "known: applications_fpn, mobilenetv2_fpn",
    "dataset=coc_json": "did you mean dataset=coco_json?",
    "dataset=/data/coco": "dataset.train.annotations=FILE",
    "optimizer=adam": "did you mean optimizer=adamw?",
    "optimizer=SGD": "did you mean optimizer=sgd?",
    "optimizer=null": "known: adamw, muon, muon_pretrained, sgd",
    "schedule=tinny": "did you mean schedule=tiny?",
    "experiment=coco_person": "did you mean experiment=coco_person_cpu?",
    "experiment=größe": "experiment has no option 'größe'",
    "hydra/launcher=jobli": "did you mean hydra/launcher=joblib?",
    "hydra/lancher=joblib": "did you mean hydra/launcher?",
    # wrong types
    "optimizer.learning_rate=abc": "'abc' is not a number",
    "optimizer.learning_rate=null": "null is not a number",
    "optimizer.learning_rate=true": "true is not a number",
    "optimizer.learning_rate=[1]": "[1] is not a number",
    "seed=1.5": "1.5 is not a whole number",
    "seed=one": "'one' is not a whole number",
    "training.batch_size=4.5": "4.5 is not a whole number",
    "training.deterministic=maybe": "'maybe' is not true or false or null",
    "tracking.enabled=2": "2 is not true or false",
    "training.precision=[float32]": "training.precision=[float32]",
    "dataset.max_train_images=ten": "'ten' is not a whole number or null",
    "dataset.categories=person": "write dataset.categories=[person]",
    "schedule.drops=0.5": "write schedule.drops=[0.5]",
    "schedule.drops=[a,b]": "is not a list of numbers",
    "anchors.sizes=[16,32]": "write anchors.sizes=[[16, 32]]",
    "anchors.sizes=[[a]]": "is not a list of lists of numbers",
    "anchors.ratios.9=1": "anchors.ratios[9]",
    "image=512": "image is a section, not a value",
    "weights=imagenet": "weights is a section, not a value",
    "dataset.train=x.json": "such as dataset.train.annotations=",
    "task=[segmentation]": "task takes one option",
    "task.name=detection": "task is one value",
    "dataset.keypoints.names=[a]": "dataset.keypoints is one value",
    # missing values
    "seed=": "seed=: no value after the =",
    "task=": "one of detection, keypoint, multitask, segmentation",
    "tracking.run_name=": "tracking.run_name=null stands for none",
    "seed=???": "??? is no value",
    "'seed=${nosuch}'": "seed: Interpolation key 'nosuch' not found",
    "'seed=${oc.env:NO_SUCH_VARIABLE}'": "NO_SUCH_VARIABLE",
    # overrides that cannot be read
    "seed": "write seed=VALUE",
    "task": "write task=VALUE",
    "segmentation": "did you mean task=segmentation?",
    "sgd": "did you mean optimizer=sgd?",
    "config.yaml": "is not KEY=VALUE",
    "seed:3": "write seed=3",
    "seed==3": "write seed=3",
    "seed = 3": "write seed=VALUE",
    "=3": "write KEY=VALUE",
    "''": "is not KEY=VALUE",
    "'seed=3;'": "cannot be read",
    "'dataset.categories=[person'": "check brackets and quotes",
    "größe=1": "'größe' is no key",
    "seed[0]=1": "write seed=1",
    "anchors.ratios[0]=1": "write anchors.ratios.0=1",
    "training-batch_size=4": "is no key",
    # twice, removed, added
    "seed=1 seed=2": "seed is given twice",
    "head=mask head=box": "head is given twice",
    "+seed=3": "write it without +",
    "+experiment=coco_person_cpu": "write it without +",
    "~seed": "for none write seed=null",
    "~optimizer": "leave it out",
    "head@foo=mask": "write head=",
    # sweeps
    "head=box,mask": "add -m for a sweep",
    "num_keypoints=7,17": "add -m for a sweep",
    "dataset.categories=person,car": "write a list: dataset.categories=[person,car]",
    "tracking.run_name=a,b": "quote the value",
    "-m seed=1,x": "'x' is not a whole number",
    "-m head=box,maks": "did you mean head=mask?",
    "-m nosuch=1,2": "there is no key 'nosuch'",
    # options with dashes
    "--seed=3": "write seed=3",
    "--epochs 3": "write schedule.epochs=VALUE",
    "--hlep": "did you mean --help?",
    "--mulirun": "did you mean --multirun?",
    "-x": "without dashes",
    "--cfg": "write --cfg job",
    "--cfg jobs": "write --cfg job",
    "--cfg job --package schedul": "did you mean schedule?",
    "--cfg job nosuch=1": "there is no key 'nosuch'",
    "--resolve": "belongs to --cfg job",
}

# Exit code 1: each override can be read, together they make no sense, or a value is out of its range.
CONTRADICTIONS = {
    "optimizer.learning_rate=-1": "optimizer.learning_rate=-1: -1 is not above 0",
    "optimizer.learning_rate=nan": "is not a finite number",
    "optimizer.learning_rate=1e999": "is not a finite number",
    "optimizer.name=adam": "did you mean optimizer.name=adamw?",
    "optimizer.ema=1.0": "is not above 0 and below 1",
    "optimizer.accumulate=0": "is not from 1 to",
    "optimizer.accumulate=50 schedule.steps=20": "optimizer.accumulate=50",
    "optimizer.accumulate=2 training.precision=mixed_float16": "mixed_bfloat16",
    "seed=-1": "is not from 0 to 2147483647",
    "training.batch_size=0": "training.batch_size=0: 0 is not from 1",
    "training.batch_size=5000": "more than the 1350 training images",
    "training.precision=float16": "mixed_float16",
    "training.resume=yes": "known: never, auto",
    "schedule.steps=0": "schedule.steps=0",
    "schedule.epochs=2 schedule.steps=100": "contradicts schedule.steps=100",
    "schedule.steps=null": "neither epochs nor steps",
    "schedule=1x schedule.epochs=2": "schedule.reference_batch=null",
    "schedule.decay=cosin": "did you mean schedule.decay=cosine?",
    "schedule.decay=step schedule.drops=[0.9,0.5]": "rising shares",
    "num_keypoints=0": "is not from 1 to 17",
    "num_keypoints=18": "is not from 1 to 17",
    "num_keypoints=7.5": "neither a number nor a list",
    "num_keypoints=nose": "num_keypoints=[nose]",
    "num_keypoints=[nose,noze]": "did you mean nose?",
    "num_keypoints=[nose,nose]": "names nose twice",
    "'num_keypoints=\"7,17\"'": "add -m for a sweep",
    "task=detection head=mask": "needs head=box",
    "task=keypoint head=box": "needs head=keypoint",
    "task=multitask head=mask": "needs head=mask_keypoint",
    "head.masks=false": "head.name=mask: contradicts head.masks=false",
    "head.name=maks": "did you mean head.name=mask?",
    "backbone.norm=frozen": "never learn",
    "backbone.norm=grup": "did you mean backbone.norm=group?",
    "backbone.frozen_stages=2": "would never train",
    "backbone=mobilenetv2_fpn backbone.norm=group": "choose backbone.norm=batch",
    "backbone=applications_fpn backbone.network=ResNet51": "did you mean backbone.network=ResNet50?",
    "backbone.network=ResNet50": "choose backbone=applications_fpn",
    "backbone=resnet18_fpn weights.backbone=imagenet backbone.norm=frozen": "there are none by name",
    "backbone=resnet50_fpn weights.backbone=imagenet": "choose backbone.norm=frozen",
    "weights.backbone=imagnet": "did you mean imagenet?",
    "weights.backbone=no/such.weights.h5": "there is no such file",
    "pyramid.levels=4": "backbone.name=small has 3 maps",
    "pyramid.channels=12 pyramid.norm=group": "give a multiple of 8",
    "anchors.sizes=[[16],[32]]": "the proposal network has 4 levels",
    "anchors.sizes=[[16],[32],[64],[128,256]]": "all levels need equally many sizes",
    "anchors.ratios=[0.5,-1]": "-1 in [0.5,-1] is not above 0",
    "rpn.negative_iou=0.8": "is above rpn.positive_iou=0.7",
    "rpn.post_nms_train=90000": "can give (1200)",
    "roi.batch_per_image=2": "leaves no positive",
    "roi.canonical_level=5": "the pyramid has levels 2 to 4",
    "reader.mask_size=8": "is not from 14",
    "image.short_side=800 image.long_side=600": "give image.long_side=800",
    "image.short_side=8 image.long_side=100": "the stride of 16 of the coarsest map",
    "augmentation.scale=[2,0.5]": "write augmentation.scale=[0.5,2.0]",
    "augmentation.crop=[100]": "holds 1 numbers, expected 0 or 2",
    "augmentation.short_sides=[4]": "4 is not between",
    "conventions.pixel_mean=[1,2]": "holds 2 numbers, expected 3",
    "dataset=coco_json": "give dataset.train.annotations=FILE",
    "dataset=coco_json dataset.train.annotations=no.json dataset.train.images=.": "there is no such file",
    "dataset=coco_json dataset.train.annotations=. dataset.train.images=.": "is a folder, not a file",
    "dataset.train.annotations=no.json": "add dataset=coco_json",
    "dataset.val.fraction=1": "is not at least 0 and below 1",
    "dataset.categories=[]": "null stands for all",
    "dataset.categories=[person,person]": "names person twice",
    "dataset.faults=ignore": "known: fail, drop",
    "dataset.keypoints=5": "the embedded data have their own joints",
    "experiment=coco_person_cpu dataset.root=no/such": "set MASKRCNN_DATA or dataset.root=FOLDER",
    "tracking.uri=localhost": "such as http://localhost:5000",
    "tracking.uri=htp://localhost": "did you mean http://",
    "tracking.uri=file:./mlruns": "plain folders",
    "tracking.uri=http://": "names no server",
    "from_run=nosuch": "no run 'nosuch'",
    "-m seed=1,-2": "seed=-2",
    "-m num_keypoints=7,19": "num_keypoints=19",
    "-m task=detection,keypoint head=mask": "task=keypoint: needs head=keypoint",
}

OTHER_COMMANDS = [
    (evaluate.main, "", 2, "write run=ID"),
    (evaluate.main, "rn=last", 2, "rn=last: run= is missing"),
    (evaluate.main, "run=last dataset=coc_json", 2, "did you mean dataset=coco_json?"),
    (evaluate.main, "run=last evaluation.batchsize=3", 2, "did you mean evaluation.batch_size?"),
    (evaluate.main, "run=a run=b", 2, "run is given twice"),
    (evaluate.main, "run=", 2, "no value after the ="),
    (evaluate.main, "run=last", 1, "no run 'last'"),
    (predict.main, "", 2, "run=: is missing"),
    (predict.main, "run=last", 2, "images=: is missing"),
    (predict.main, "run=last image=x.jpg", 2, "did you mean images=…?"),
    (predict.main, "run=last images=no.jpg", 1, "there is no such file or folder"),
    (predict.main, "run=last images=. score=high", 2, "'high' is not a number"),
    (predict.main, "run=last images=. score=2", 2, "is not from 0 to 1"),
    (predict.main, "run=last images=. --score=0.3", 2, "write score=0.3"),
    (report.main, "", 2, "write run=RUN, sweep=last or sync=true"),
    (report.main, "syn=true", 2, "did you mean sync=…?"),
    (report.main, "sync=perhaps", 2, "'perhaps' is not true or false"),
]


@pytest.fixture(autouse=True)
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that is not refused fails its test at once instead of training for minutes."""
    stand_in = ModuleType("maskrcnn.workflows.train")
    monkeypatch.setitem(sys.modules, "maskrcnn.workflows.train", stand_in)  # has no `train` to import


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MASKRCNN_DATA", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def answer(
    main: Callable[[list[str]], int], line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[int, str]:
    """Exit code and stderr of a command line."""
    monkeypatch.setattr(sys, "argv", ["command", *shlex.split(line)])
    with pytest.raises(SystemExit) as ended:
        run_command(main)
    printed = capsys.readouterr()
    assert printed.out == ""
    return int(str(ended.value.code)), printed.err


@pytest.mark.parametrize("line", WRONG_USAGE)
def test_wrong_usage_is_told_with_the_nearest_name_and_exit_code_2(line, capsys, monkeypatch, empty_folder):
    code, errors = answer(run.main, line, capsys, monkeypatch)
    assert (code, len(errors.splitlines())) == (2, 1), errors
    assert WRONG_USAGE[line] in errors
    assert not list(empty_folder.iterdir())


@pytest.mark.parametrize("line", CONTRADICTIONS)
def test_a_contradiction_is_told_with_its_keys_and_exit_code_1(line, capsys, monkeypatch, empty_folder):
    code, errors = answer(run.main, line, capsys, monkeypatch)
    assert code == 1, errors
    assert CONTRADICTIONS[line] in errors
    assert "Traceback" not in errors
    assert not list(empty_folder.iterdir())


@pytest.mark.parametrize(("main", "line", "code", "words"), OTHER_COMMANDS)
def test_the_other_commands_tell_wrong_usage_in_one_line(main, line, code, words, capsys, monkeypatch):
    found, errors = answer(main, line, capsys, monkeypatch)
    assert (found, len(errors.splitlines())) == (code, 1), errors
    assert words in errors


def test_several_mistakes_are_told_at_once_one_line_each(capsys, monkeypatch):
    code, errors = answer(run.main, "learning_rate=1 task=pose seed=x head=box,mask", capsys, monkeypatch)
    assert code == 2
    assert [line.partition(":")[0] for line in errors.splitlines()] == [
        "learning_rate=1",
        "task=pose",
        "seed=x",
        "head=box,mask",
    ]


def test_several_contradictions_are_told_at_once_one_line_each(capsys, monkeypatch):
    line = "schedule.epochs=2 schedule.steps=3 optimizer.learning_rate=-1 num_keypoints=18 backbone.norm=frozen"
    code, errors = answer(run.main, line, capsys, monkeypatch)
    assert code == 1
    assert len(errors.splitlines()) == 4, errors


def test_a_malformed_address_in_the_environment_is_refused_without_its_password(capsys, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "htp://me:secret@host")
    code, errors = answer(run.main, "", capsys, monkeypatch)
    assert code == 1
    assert "MLFLOW_TRACKING_URI=htp://host" in errors
    assert "secret" not in errors


@pytest.mark.parametrize("main", [run.main, evaluate.main, predict.main, report.main])
def test_help_prints_a_page_with_an_example(main, capsys):
    assert main(["--help"]) == 0
    assert "python -m maskrcnn." in capsys.readouterr().out


def test_help_of_run_names_every_group_and_option(capsys):
    from maskrcnn.config.groups import GROUPS, options

    assert run.main(["-h"]) == 0
    page = capsys.readouterr().out
    missing = [name for group in GROUPS for name in (group, *options(group)) if name not in page]
    assert not missing


def test_cfg_prints_the_configuration_and_starts_nothing(capsys, empty_folder):
    assert run.main(["--cfg", "job", "task=keypoint", "-p", "head"]) == 0
    assert "keypoints: true" in capsys.readouterr().out
    assert not list(empty_folder.iterdir())


def test_cfg_with_resolve_shows_values_instead_of_references(capsys):
    assert run.main(["--cfg=job", "--resolve", "experiment=coco_person_cpu", "dataset.root=/photos"]) == 0
    printed = capsys.readouterr().out
    assert "annotations: /photos/coco/person_train.json" in printed
    assert "${" not in printed


HEAVY = ("tensorflow", "keras", "mlflow", "matplotlib", "cv2", "jax")


@pytest.mark.parametrize(
    ("line", "code"),
    [("--help", 0), ("--version", 0), ("--cfg job", 0), ("nosuch=1", 2), ("backbone.norm=frozen", 1), ("head=b,c", 2)],
)
def test_answers_without_training_import_nothing_heavy(line, code, empty_folder):
    program = (
        "import sys\n"
        "from maskrcnn.cli import run_command\n"
        "from maskrcnn.run import main\n"
        "try:\n    run_command(main)\n"
        f"finally:\n    print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, *line.split()], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == code, ended.stderr
    assert ended.stderr.splitlines()[-1] == "[]"


def test_the_module_itself_answers_with_code_and_one_line():
    ended = subprocess.run(
        [sys.executable, "-m", "maskrcnn.run", "backbone=resnet51_fpn"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert "did you mean backbone=resnet50_fpn?" in ended.stderr
