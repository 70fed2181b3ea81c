"""COCO's categories: C = 90 by id, ten of them without a name (torchvision), or the 80 with one in a row (Detectron2).

Source: `golden/model_facts.json`, `coco_categories_91` without its background (torchvision 0.29.1).
"""

COCO_NAMES: tuple[str, ...] = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "N/A", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "N/A", "backpack", "umbrella", "N/A", "N/A", "handbag", "tie",
    "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove",
    "skateboard", "surfboard", "tennis racket", "bottle", "N/A", "wine glass", "cup", "fork", "knife", "spoon",
    "bowl", "banana", "apple", "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake",
    "chair", "couch", "potted plant", "bed", "N/A", "dining table", "N/A", "N/A", "toilet", "N/A", "tv", "laptop",
    "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "N/A",
    "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
NO_NAME = "N/A"


def dense_categories(num_classes: int) -> list[dict[str, int | str]]:
    """`{"id": COCO's, "name": …}` of labels 1…C in detectors that count only the categories that there are.

    80 classes are COCO's, 1 is its person (keypoint detectors); others have no known names.
    """
    known: list[dict[str, int | str]] = [
        {"id": k, "name": name} for k, name in enumerate(COCO_NAMES, start=1) if name != NO_NAME
    ]
    if num_classes in (1, len(known)):
        return known[:num_classes]
    return [{"id": k, "name": f"class {k}"} for k in range(1, num_classes + 1)]
