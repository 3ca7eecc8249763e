"""The same weights give the same scores on TensorFlow and JAX."""

import os
import subprocess
import sys

import numpy as np
import pytest

from lenspipe.networks.registry import ARCHITECTURES, build_network
from lenspipe.training.load import save_model, split_network
from lenspipe.training.posterior import posteriors_with
from lenspipe.training.scores import score_with

SCRIPT = """
import sys
import numpy as np
from lenspipe.training.load import load_network
from lenspipe.training.posterior import posteriors_with
from lenspipe.training.scores import score_with
folder = sys.argv[1]
stamps = np.load(folder + "/stamps.npz")
args = stamps["image"], stamps["noise_sigma"], 3, 1, 4
scores = {
    name: score_with([load_network(f"{folder}/{name}.keras", "fold-0")], *args, stamps["mask"])[0]
    for name in sys.argv[2:]
}
targets = ["theta_e", "sigma_v", "z_lens", "z_src"]
theta = posteriors_with([load_network(folder + "/regressor.keras", "fold-0")], targets, *args)["theta_e"]
import keras
assert keras.config.backend() == "jax"
np.savez(folder + "/jax.npz", **scores, mean=theta.mean, sigma=theta.sigma)
"""


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_tensorflow_and_jax_agree(inception, stamps, tmp_path):
    detectors = {
        entry.name: build_network(
            "detector", entry.name, 32, 3, dropout=0.5, seed=5, channels=("noise", "mask")
        )
        for entry in ARCHITECTURES.values()
        if entry.task == "detector"
    }
    for name, network in (*detectors.items(), ("regressor", inception)):
        save_model(network, tmp_path / f"{name}.keras")
    mask = np.random.default_rng(1).integers(0, 3, stamps["image"].shape).astype(np.uint8)
    np.savez(tmp_path / "stamps.npz", **stamps, mask=mask)
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), *detectors]
    subprocess.run(command, env=environment, check=True, timeout=400)
    jax = np.load(tmp_path / "jax.npz")
    args = stamps["image"], stamps["noise_sigma"], 3, 1, 4
    for name, network in detectors.items():
        score = score_with([split_network(network, "fold-0")], *args, mask)[0]
        np.testing.assert_allclose(score, jax[name], rtol=0, atol=1e-5, err_msg=name)
    theta = posteriors_with(
        [split_network(inception, "fold-0")], ["theta_e", "sigma_v", "z_lens", "z_src"], *args
    )["theta_e"]
    np.testing.assert_allclose(theta.mean, jax["mean"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(theta.sigma, jax["sigma"], rtol=1e-5, atol=1e-5)
