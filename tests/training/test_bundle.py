import json
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from astropy.table import Table

from lenspipe.core.errors import InputError, ModelMismatch
from lenspipe.io.tables import read_table
from lenspipe.training.bundle import _calibrate_detector, load_bundle, write_bundle
from lenspipe.training.calibrate import lens_probability
from lenspipe.training.datasets import load_stamps
from lenspipe.training.load import load_model
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


def test_a_regressor_has_metrics_and_a_scale_for_each_target(regressor):
    assert regressor.targets == ("theta_e", "z_src")
    assert set(regressor.calibration["sigma_scale"]) == {"theta_e", "z_src"}
    assert set(regressor.metrics["theta_e"]["coverage"]) == {"0.5", "0.68", "0.9", "0.95"}
    assert regressor.card["targets"] == {"theta_e": "arcsec", "z_src": ""}


def test_normalisation_comes_from_the_training_folds_only(regressor, data):
    oof = read_table(regressor.path / "oof.parquet")
    oof = oof[oof["fold"] == 0]
    lenses = load_stamps(data, lenses_only=True)
    train = ~np.isin(np.asarray(lenses.truth["sample_id"]), np.asarray(oof["sample_id"]))
    scale = regressor.networks()[0].passes.head.get_layer("target_scale")
    log_theta = np.log(lenses.targets(["theta_e"])[:, 0])
    np.testing.assert_allclose(scale.mean[0], log_theta[train].mean(), rtol=1e-6)
    assert abs(scale.mean[0] - log_theta.mean()) > 1e-4


@pytest.mark.parametrize(
    ("bands", "pixel_scale", "size", "message"),
    [
        (("g", "i", "r"), 0.263, 32, r"bands g,r,i, received g,i,r"),
        (("g", "r"), 0.263, 32, r"bands g,r,i, received g,r"),
        (("g", "r", "i"), 0.2, 32, r"0\.263, received 0\.2"),
        (("g", "r", "i"), float("nan"), 32, r"received nan"),
        (("g", "r", "i"), 0.263, 64, r"32, received 64"),
    ],
)
def test_other_data_are_refused(detector, bands, pixel_scale, size, message):
    detector.check(("g", "r", "i"), 0.2631, 32)
    with pytest.raises(ModelMismatch, match=message):
        detector.check(bands, pixel_scale, size)


def test_a_missing_network_is_an_error_that_names_the_file(detector, tmp_path):
    copy = shutil.copytree(detector.path, tmp_path / "copy")
    (copy / "fold-1.keras").unlink()
    with pytest.raises(InputError, match=r"fold-1\.keras is missing"):
        load_bundle(copy)


def test_a_foreign_network_is_an_error(detector, tmp_path):
    copy = shutil.copytree(detector.path, tmp_path / "copy")
    shutil.copy(copy / "fold-0.keras", copy / "fold-1.keras")
    with pytest.raises(InputError, match=r"fold-1\.keras is not the network"):
        load_bundle(copy)


def test_a_folder_without_a_bundle_is_named(tmp_path):
    with pytest.raises(InputError, match="is not a model bundle, or its training has not ended"):
        load_bundle(tmp_path)


def test_a_file_with_a_lambda_is_refused_before_keras_sees_it(tmp_path):
    inputs = keras.Input((2,))
    keras.Model(inputs, keras.layers.Lambda(lambda x: x)(inputs)).save(tmp_path / "evil.keras")
    with pytest.raises(InputError, match="holds Lambda"):
        load_model(tmp_path / "evil.keras")


def test_a_card_can_be_read_without_keras(detector):
    code = (
        "import sys; from lenspipe.training.bundle import load_bundle; "
        f"load_bundle({str(detector.path)!r}); assert 'keras' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


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
