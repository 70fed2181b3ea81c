"""`training.from_data`: the rule of `config.finetune` on the training part at hand, told before anything trains."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from maskrcnn.config.arguments import typed_keys
from maskrcnn.config.finetune import Choice, apply, choose
from maskrcnn.config.schema import Config
from maskrcnn.data.records import Dataset


def fitted(config: Config, train: Dataset, overrides: Sequence[str]) -> Config:
    """The configuration with the values that follow from the training part; printed, typed ones marked.

    Args:
        overrides: as typed; their keys keep the user's values.
    """
    if not config.training.from_data:
        return config
    instances = sum(not a.is_crowd for record in train.images for a in record.annotations)
    choices = choose(config, len(train), instances, train.num_classes)
    changed, kept = apply(config, choices, typed_keys(overrides))
    print(f"derived from {len(train)} images with {instances} instances of {train.num_classes} categories:")
    print(to_text(changed, choices, kept), flush=True)
    return changed


def to_text(config: Config, choices: Sequence[Choice], kept: Collection[str]) -> str:
    """One line a key: its value and why."""
    lines = []
    for choice in choices:
        group, _, name = choice.key.partition(".")
        value = getattr(getattr(config, group), name)
        shown = f"{value:g}" if isinstance(value, float) else str(value).lower()
        lines.append(f"  {choice.key:<24} {shown:<12} {'as typed' if choice.key in kept else choice.reason}")
    return "\n".join(lines)
