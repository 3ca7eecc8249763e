import json

import pytest

from lenspipe.config import config_from
from lenspipe.core.errors import ConfigError
from lenspipe.io.store import Store
from lenspipe.stages import model


def test_refinement_needs_a_regressor_to_begin_with(tmp_path):
    config = config_from({"survey": "des", "model": {"refine": True}})
    with pytest.raises(ConfigError, match="this run has no regressor: give one"):
        model.plan(config, Store(tmp_path))
    assert model.plan(config_from({"survey": "des"}), Store(tmp_path)) == []


def test_refinement_needs_one_that_knows_einstein_radii(tmp_path):
    card = {
        "task": "regressor", "architecture": "a", "bands": ["g"], "pixel_scale": 1.0, "stamp_size": 48, "folds": [{}],
        "targets": {"e1": "", "e2": ""}, "weights": {"fold-0.keras": ""}, "training": {"survey": "des"}, "metrics": {},
        "calibration": {},
    }  # fmt: skip
    (tmp_path / "bundle.json").write_text(json.dumps(card))
    config = config_from({"survey": "des", "model": {"refine": True, "regressor": str(tmp_path)}})
    with pytest.raises(ConfigError, match=r"theta_e, which the regressor .* does not predict"):
        model.plan(config, Store(tmp_path / "run"))
