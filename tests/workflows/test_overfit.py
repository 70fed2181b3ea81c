"""The small network learns eight embedded images by heart: nothing between pixels and COCO's figures is wrong."""

import dataclasses

from maskrcnn.config.compose import compose
from maskrcnn.data.embedded import load_embedded
from maskrcnn.evaluation.coco import evaluate
from maskrcnn.prediction.predictor import Predictor
from maskrcnn.training.checkpoints import Progress
from maskrcnn.training.loop import compile_model, make_deterministic, train
from maskrcnn.workflows.build import TrainingLength, build_detector, build_optimizer_for, build_reader
from maskrcnn.workflows.datasets import Data

STEPS = 240
OVERRIDES = [
    "augmentation.flip=0",
    "augmentation.permute_channels=false",
    "augmentation.brightness=0",
    "augmentation.scale=[1,1]",
    "augmentation.crop=[]",
    "schedule.warmup_steps=20",
]


def test_eight_images_are_learnt_by_heart(tmp_path):
    config = compose(OVERRIDES)
    make_deterministic(0, True)
    whole, _ = load_embedded(train_images=24, test_images=1, image_size=128, seed=0, cache=tmp_path, processes=1)
    several = [record for record in whole.images if len(record.annotations) > 1]
    images = dataclasses.replace(whole, images=tuple(several[:8]))
    data = Data(images, dataclasses.replace(images, images=()), images, ())
    detector = build_detector(config, data)
    compile_model(detector, build_optimizer_for(config, TrainingLength(STEPS, 1), detector))
    train(
        detector,
        build_reader(config, images, training=True),
        stops=[STEPS],
        progress=Progress(),
        make_callbacks=lambda start: [],
        on_stop=lambda step: None,
        save=lambda: None,
    )
    found = Predictor(detector, batch_size=8).predict_dataset(images)
    metrics = evaluate(images, found, ["bbox", "segm"]).metrics
    shown = {name: metrics[name] for name in ("box/AP", "box/AP50", "mask/AP", "mask/AP50")}
    assert shown["box/AP50"] >= 0.95, shown
    assert shown["mask/AP50"] >= 0.95, shown
    assert shown["box/AP"] >= 0.75, shown
    assert shown["mask/AP"] >= 0.75, shown
