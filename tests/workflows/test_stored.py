from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from maskrcnn.config.compose import compose
from maskrcnn.config.stored import to_yaml
from maskrcnn.errors import UserError
from maskrcnn.workflows.stored import stored_values


def write_model(path: Path, metadata: object) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps({"config": {"metadata": metadata}}))
    return path


def test_the_configuration_of_a_run_is_found_by_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "mlruns" / "runs" / "first"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(to_yaml(compose(["seed=9"])), encoding="utf-8")
    assert stored_values("mlruns/runs/first")["seed"] == 9
    assert stored_values("last")["seed"] == 9


def test_a_model_file_alone_carries_its_configuration(tmp_path):
    model = write_model(tmp_path / "model.keras", {"config": {"seed": 9, "dataset": {}, "backbone": {}}})
    assert stored_values(str(model))["seed"] == 9


@pytest.mark.parametrize("metadata", [None, {}, {"config": 3}])
def test_a_model_file_without_configuration_is_refused(tmp_path, metadata):
    model = write_model(tmp_path / "model.keras", metadata)
    with pytest.raises(UserError, match="holds no configuration"):
        stored_values(str(model))


def test_a_file_that_is_no_archive_is_refused(tmp_path):
    (tmp_path / "model.keras").write_text("no")
    with pytest.raises(UserError, match="holds no configuration"):
        stored_values(str(tmp_path / "model.keras"))
