"""What a training decides before anything is built."""

from __future__ import annotations

import pytest

from maskrcnn.config.compose import compose
from maskrcnn.workflows import train


@pytest.mark.parametrize("chosen", ["float32", "mixed_bfloat16"])
def test_the_configuration_holds_what_auto_became_and_says_it(
    chosen: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train, "resolve_precision", lambda name, **machine: chosen)
    config = train.with_precision(compose(["training.precision=auto"]))
    assert config.training.precision == chosen
    assert chosen in capsys.readouterr().out


def test_a_named_precision_stays_without_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    asked = compose(["training.precision=mixed_float16"])
    assert train.with_precision(asked) == asked
    assert capsys.readouterr().out == ""
