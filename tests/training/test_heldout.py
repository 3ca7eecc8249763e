import numpy as np

from lenspipe.io.tables import read_table
from lenspipe.training.datasets import load_stamps
from lenspipe.training.posterior import posteriors_with


def test_normalisation_comes_from_the_training_folds_only(regressor, data):
    oof = read_table(regressor.path / "oof.parquet")
    oof = oof[oof["fold"] == 0]
    lenses = load_stamps(data, lenses_only=True)
    train = ~np.isin(np.asarray(lenses.truth["sample_id"]), np.asarray(oof["sample_id"]))
    scale = regressor.networks()[0].passes.head.get_layer("target_scale")
    log_theta = np.log(lenses.targets(["theta_e"])[:, 0])
    np.testing.assert_allclose(scale.mean[0], log_theta[train].mean(), rtol=1e-6)
    assert abs(scale.mean[0] - log_theta.mean()) > 1e-4


def test_held_out_rows_are_what_the_network_says_without_calibration(regressor, data):
    oof = read_table(regressor.path / "oof.parquet")
    oof = oof[oof["fold"] == 1]
    lenses = load_stamps(data, lenses_only=True)
    rows = np.flatnonzero(np.isin(np.asarray(lenses.truth["sample_id"]), np.asarray(oof["sample_id"])))
    found = posteriors_with(
        regressor.networks()[1:],
        regressor.targets,
        **lenses.inputs(rows),
        mc_samples=8,
        seed=3,
        batch_size=16,
        familiar=regressor.familiarities()[1:],
    )
    np.testing.assert_allclose(oof["theta_e_mean"], found["theta_e"].mean, rtol=1e-5)
    np.testing.assert_allclose(oof["z_src_sigma"], found["z_src"].sigma, rtol=1e-5)
    np.testing.assert_allclose(oof["novelty"], found.novelty, rtol=1e-4)
    assert np.max(oof["novelty"]) >= 1.0  # the edge lies within these very stamps
    assert np.median(oof["novelty"]) < 1.0


def test_noise_is_unlike_lenses(regressor, data):
    lenses = load_stamps(data, lenses_only=True)
    image, noise = lenses.image[:8], lenses.noise_sigma[:8]
    empty = np.random.default_rng(0).normal(0, 1, image.shape).astype(np.float32) * noise[:, None, None]
    args = regressor.networks(), regressor.targets
    known = {"familiar": regressor.familiarities()}
    novelty = [
        posteriors_with(*args, stamps, noise, 4, 1, 8, **known).novelty for stamps in (image, 30 * empty)
    ]
    assert np.median(novelty[1]) > 2 * np.median(novelty[0])
