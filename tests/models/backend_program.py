"""Run by `test_backends`: losses, sampled rows and detections of one detector on the backend that KERAS_BACKEND names.

Usage: backend_program.py IN.npz OUT.npz; IN holds `weight0…` in the model's order, `batch/…` and `settings` (JSON).
"""

import json
import sys

import numpy as np

from maskrcnn.models.detector import Detector
from maskrcnn.models.roi_sampling import sample_rois
from maskrcnn.structures import DetectorSettings, settings_from_dict


def main() -> None:
    with np.load(sys.argv[1]) as file:
        values = dict(file)
    settings = settings_from_dict(DetectorSettings, json.loads(str(values["settings"])))
    detector = Detector(settings, num_classes=4, num_keypoints=5)
    for number, variable in enumerate(detector.trainable_variables):
        variable.assign(values[f"weight{number}"])
    batch = {name.removeprefix("batch/"): value for name, value in values.items() if name.startswith("batch/")}
    outputs = {f"terms/{name}": np.asarray(value) for name, value in detector(batch, training=True).items()}
    outputs |= {f"found/{name}": np.asarray(value) for name, value in detector(batch, training=False).items()}
    proposals = np.asarray(batch["proposals"])
    rois = sample_rois(proposals, np.ones(proposals.shape[:2], bool), batch, settings.roi)
    outputs |= {"rois/boxes": np.asarray(rois.boxes), "rois/states": np.asarray(rois.states)}
    np.savez(sys.argv[2], **outputs)


if __name__ == "__main__":
    main()
