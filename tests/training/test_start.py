import numpy as np
import pytest

from lenspipe.core.errors import ModelMismatch, UserError
from lenspipe.io.cards import read_card, weights_of
from lenspipe.networks.registry import build_network
from lenspipe.training.load import load_model
from lenspipe.training.start import start_from
from lenspipe.training.worker import run_fold


def build(detector, size, bands=3):
    architecture = read_card(detector.path)["architecture"]
    return build_network("detector", architecture, size, bands, seed=5)


def test_a_network_for_other_stamps_begins_with_the_weights_of_a_fold(detector):
    network = build(detector, 40)
    assert len(weights_of(detector.path)) == 2
    for fold, file in ((0, 0), (1, 1), (2, 0)):
        start_from(network, detector.path, "detector", fold, ["another set"])
        for mine, theirs in zip(
            network.get_weights(), load_model(weights_of(detector.path)[file]).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(mine, theirs)


def test_other_bands_and_other_tasks_are_refused(detector):
    with pytest.raises(ModelMismatch, match=r"weights of its trunk do not fit.* for the bands g, r, i; give"):
        start_from(build(detector, 32, bands=2), detector.path, "detector", 0, ["another set"])
    with pytest.raises(ModelMismatch, match=r"a regressor is needed, but .* is a detector"):
        start_from(build(detector, 32), detector.path, "regressor", 0, ["another set"])


def test_a_model_that_knows_the_held_out_stamps_is_refused(detector, data, tmp_path, new_job):
    job = new_job("detector", data, tmp_path / "again", start=str(detector.path), epochs=1)
    with pytest.raises(UserError, match="was trained on one of these sets and knows the stamps"):
        run_fold(job)


def test_a_training_that_hardly_moves_ends_where_it_began(detector, new_set, tmp_path, new_job):
    data = new_set(tmp_path / "more", n=60)
    how = {"learning_rate": 1e-12, "epochs": 1, "weight_decay": 0.0, "precision": "float32"}
    start = {"start": str(detector.path)}
    begun = run_fold(new_job("detector", data, tmp_path / "begun", **how, **start))
    anew = run_fold(new_job("detector", data, tmp_path / "anew", **how))
    last = [result["last_epoch"]["loss"] for result in (begun, anew)]
    assert last[0] < last[1]
    trained = load_model(weights_of(detector.path)[0]).trainable_variables
    for mine, theirs in zip(
        load_model(tmp_path / "begun" / "fold-0.keras").trainable_variables, trained, strict=True
    ):
        np.testing.assert_allclose(mine.numpy(), theirs.numpy(), atol=1e-6)
    assert begun["start"] == str(detector.path)
    assert begun["key"] != anew["key"]
