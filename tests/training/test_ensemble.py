import json
import shutil

import numpy as np
import pytest
from astropy.table import Table

from lenspipe.core.errors import InputError
from lenspipe.io.tables import read_table
from lenspipe.training.calibrate import lens_probability
from lenspipe.training.ensemble import _calibrate_detector, write_bundle
from lenspipe.training.metrics import detector_metrics


def test_a_bundle_holds_what_the_contract_says(detector):
    card = json.loads((detector.path / "bundle.json").read_text())
    assert card["task"] == "detector"
    assert card["architecture"] == "inception_detector"
    assert (card["bands"], card["pixel_scale"], card["stamp_size"]) == (["g", "r", "i"], 0.263, 32)
    assert list(card["weights"]) == ["fold-0.keras", "fold-1.keras"]
    assert len(card["training"]["data_hash"]) == 16
    assert set(card["calibration"]) == {"method", "temperature", "train_prior", "lens_prior"}
    metrics = json.loads((detector.path / "metrics.json").read_text())
    assert {"auroc", "auroc_std", "tpr0", "tpr10", "tpr_at_fpr_1e-3", "f_beta", "confusion"} <= set(metrics)
    assert set(metrics) >= {"ece", "ece_err", "ece_before", "ece_before_err", "reliability"}
    assert "reliability" not in card["metrics"]
    assert set(metrics) >= {"auroc_err", "confusion_err", "roc_by_threshold", "completeness", "fpr_by_kind"}
    assert set(metrics["completeness"]) == {"theta_e"}  # the toy set knows neither S/N nor seeing
    kinds = metrics["fpr_by_kind"]
    assert kinds["spiral"]["n"] + kinds["disc"]["n"] == metrics["n_nonlens"] == 32
    assert (detector.path / "history.csv").read_text().count("\n") == 1 + 2 * 3


def test_each_sample_is_out_of_fold_once_and_metrics_are_of_those_rows(detector, data):
    oof = read_table(detector.path / "oof.parquet")
    assert sorted(oof["sample_id"]) == list(range(64))
    for group in set(oof["group"]):
        assert len(set(oof["fold"][oof["group"] == group])) == 1
    assert detector.metrics["auroc"] == detector_metrics(oof)["auroc"]


def test_one_network_with_a_held_out_set_is_a_bundle_too(detector, tmp_path):
    for path in detector.path.glob("fold-0.*"):
        shutil.copy(path, tmp_path)
    with pytest.raises(InputError, match=r"fold-1.json is missing"):
        write_bundle(tmp_path, 1e-3)
    alone = write_bundle(tmp_path, 1e-3, trained=1)
    assert [path.name for path in alone.weights] == ["fold-0.keras"]
    assert alone.metrics["n_lens"] + alone.metrics["n_nonlens"] == alone.card["folds"][0]["n_test"]
    assert alone.card["folds"][0]["train_seconds"] > 0
    assert 0 <= alone.metrics["ece"] <= 1


def test_a_regressor_has_metrics_and_a_calibration_for_each_target(regressor):
    assert regressor.targets == ("theta_e", "z_src")
    assert set(regressor.calibration) == {"line", "sigma_scale", "conformal"}
    assert set(regressor.calibration["sigma_scale"]) == {"theta_e", "z_src"}
    measured = regressor.metrics["theta_e"]
    assert set(measured["coverage"]) == set(measured["coverage_before"]) == {"0.5", "0.68", "0.9", "0.95"}
    assert regressor.card["targets"] == {"theta_e": "arcsec", "z_src": ""}
    told = json.loads((regressor.path / "metrics.json").read_text())["theta_e"]
    assert told.items() >= measured.items()
    assert set(told["baselines"]) == {"mean", "profile"}


def test_networks_that_saw_both_classes_equally_often_give_rates_at_the_prior():
    rng = np.random.default_rng(3)
    label = (rng.uniform(size=30_000) < 0.05).astype(int)
    signal = np.where(label, 1.0, -1.0) + rng.normal(size=label.size)
    oof = Table({"label": label, "score": 1 / (1 + np.exp(-2 * signal)), "fold": label * 0})  # at even odds
    oof["group"] = np.arange(label.size)
    for balanced, ratio in ((True, 1.0), (False, 2.0)):
        calibration, diagram = _calibrate_detector(oof, 0.01, "temperature", 1, balanced)
        told = lens_probability(oof["score"], calibration, 0.05).sum() / label.sum()
        assert (abs(told - ratio) < 0.1) if balanced else (told > ratio)
        assert (diagram["ece"] < 0.01) == balanced
