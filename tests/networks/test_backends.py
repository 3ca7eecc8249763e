"""The same weights give the same scores on TensorFlow and JAX."""

import os
import subprocess
import sys

import numpy as np
import pytest

from lenspipe.training.load import split_network
from lenspipe.training.predict import posteriors_with, score_with

SCRIPT = """
import sys
import numpy as np
from lenspipe.training.load import load_network
from lenspipe.training.predict import posteriors_with, score_with
folder = sys.argv[1]
stamps = np.load(folder + "/stamps.npz")
args = stamps["image"], stamps["noise_sigma"], 3, 1, 4
score = score_with([load_network(folder + "/detector.keras", "fold-0")], *args)[0]
targets = ["theta_e", "sigma_v", "z_lens", "z_src"]
theta = posteriors_with([load_network(folder + "/regressor.keras", "fold-0")], targets, *args)["theta_e"]
import keras
assert keras.config.backend() == "jax"
np.savez(folder + "/jax.npz", score=score, mean=theta.mean, sigma=theta.sigma)
"""


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_tensorflow_and_jax_agree(resnet, inception, stamps, tmp_path):
    resnet.save(tmp_path / "detector.keras")
    inception.save(tmp_path / "regressor.keras")
    np.savez(tmp_path / "stamps.npz", **stamps)
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path)], env=environment, check=True, timeout=170)
    jax = np.load(tmp_path / "jax.npz")
    args = stamps["image"], stamps["noise_sigma"], 3, 1, 4
    score = score_with([split_network(resnet, "fold-0")], *args)[0]
    theta = posteriors_with(
        [split_network(inception, "fold-0")], ["theta_e", "sigma_v", "z_lens", "z_src"], *args
    )["theta_e"]
    np.testing.assert_allclose(score, jax["score"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(theta.mean, jax["mean"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(theta.sigma, jax["sigma"], rtol=1e-5, atol=1e-5)
