"""The page that `python -m maskrcnn.run --help` prints, made from the folder of the groups."""

from __future__ import annotations

from maskrcnn.config.groups import GROUPS, options

_PAGE = """\
Train, test and log Mask R-CNN: python -m maskrcnn.run [group=option] [key=value] [-m]

Groups (the default first):
{groups}

Examples:
  python -m maskrcnn.run                                      the small network on generated scenes, in minutes
  python -m maskrcnn.run task=detection                       boxes without masks
  python -m maskrcnn.run head=keypoint num_keypoints=7        persons with 7 joints
  python -m maskrcnn.run dataset=coco_json dataset.train.annotations=FILE dataset.train.images=FOLDER
  python -m maskrcnn.run dataset=coco_person head=keypoint    persons of COCO with 17 joints; fetches about 1.5 GB
  python -m maskrcnn.run backbone=resnet50_fpn optimizer=sgd schedule=1x
  python -m maskrcnn.run experiment=coco_person_cpu schedule.epochs=2
  python -m maskrcnn.run from_run=RUN optimizer.learning_rate=0.001
  python -m maskrcnn.run -m head=box,mask seed=0,1            a sweep of four runs

Options:
  -m, --multirun      run every combination of the values that commas separate
  --cfg job           print the configuration and stop (--resolve: with values for ${{…}}; -p KEY: one part)
  --version           print the version and stop
  -h, --help          print this page and stop

Keys are those that --cfg job prints; null stands for none. Paths start at the working directory, those of the
experiments at dataset.root (by default the variable MASKRCNN_DATA, else data/). Runs lie in mlruns/; see `make ui`.
Other commands: maskrcnn.check, maskrcnn.evaluate, maskrcnn.predict, maskrcnn.report, maskrcnn.convert,
maskrcnn.export.
"""
_DEFAULTS = {
    "task": "segmentation",
    "head": "mask",
    "backbone": "small_fpn",
    "dataset": "embedded",
    "optimizer": "muon",
    "schedule": "embedded",
}
_WIDTH = 100


def help_page() -> str:
    """The page: groups with their options, examples, options."""
    return _PAGE.format(groups="\n".join(_group_lines(group) for group in GROUPS))


def _group_lines(group: str) -> str:
    names = options(group)
    default = _DEFAULTS.get(group)
    words = [default, *(name for name in names if name != default)] if default else names
    lines, line = [], f"  {group:<11}"
    for word in words:
        if len(line) + len(word) + 1 > _WIDTH:
            lines.append(line)
            line = " " * 13
        line += f" {word}"
    return "\n".join([*lines, line])
