"""What must hold for the detector of every architecture."""

import random

import keras
import numpy as np
import pytest

from lenspipe.networks.dropout import dropout_layers
from lenspipe.networks.registry import ARCHITECTURES, build_network
from lenspipe.training.load import load_model, save_model, split_network
from lenspipe.training.scores import score_with

NAMES = [entry.name for entry in ARCHITECTURES.values() if entry.task == "detector"]


@pytest.fixture(scope="module", params=NAMES)
def network(request) -> keras.Model:
    return build_network("detector", request.param, 32, 3, dropout=0.5, bn_momentum=0.8, seed=5)


def test_outputs_are_probabilities_and_only_the_head_is_stochastic_at_prediction(network, stamps):
    first, second = (network.predict(stamps, verbose=0) for _ in range(2))
    np.testing.assert_allclose(first.sum(axis=1), 1, rtol=1e-6)
    assert not np.array_equal(first, second)
    assert len(dropout_layers(network)) == 1
    trunk = split_network(network, "fold-0").trunk
    # also where the architecture has dropout of its own
    np.testing.assert_array_equal(*(trunk.predict(stamps, verbose=0) for _ in range(2)))


def test_every_batch_norm_has_the_momentum_asked_for(network):
    norms = [v for v in network.get_layer("trunk").layers if isinstance(v, keras.layers.BatchNormalization)]
    assert norms
    assert {norm.momentum for norm in norms} == {0.8}


def test_weights_depend_on_the_seed_alone(network):
    random.seed(99)
    again = build_network("detector", network.name, 32, 3, seed=5)
    assert random.random() == random.Random(99).random()
    other = build_network("detector", network.name, 32, 3, seed=6)
    for a, b in zip(network.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(network.trainable_weights[0], other.trainable_weights[0])


def test_save_and_load_give_the_same_bits(network, stamps, tmp_path):
    save_model(network, tmp_path / "m.keras")
    loaded = load_model(tmp_path / "m.keras")
    before, after = (
        score_with([split_network(model, "fold-0")], stamps["image"], stamps["noise_sigma"], 4, 1, 8)
        for model in (network, loaded)
    )
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)
    assert np.all(before[1] > 0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("size", "bands"), [(45, 1), pytest.param(101, 5, marks=pytest.mark.slow)])
def test_stamps_of_any_size_and_number_of_bands(name, size, bands):
    model = build_network("detector", name, size, bands)
    out = model.predict(
        {"image": np.ones((2, size, size, bands)), "noise_sigma": np.ones((2, bands))}, verbose=0
    )
    assert out.shape == (2, 2)
    assert np.all(np.isfinite(out))


@pytest.mark.parametrize("name", NAMES)
def test_a_noise_channel_lets_a_network_tell_deep_stamps_from_shallow_ones(name, stamps, tmp_path):
    def score(model, flux_unit):
        image, noise = flux_unit * stamps["image"], flux_unit * stamps["noise_sigma"]
        return score_with([split_network(model, "fold-0")], image, noise, 2, 1, 8)[0]

    blind = build_network("detector", name, 32, 3, seed=5)
    np.testing.assert_allclose(score(blind, 64), score(blind, 1), atol=1e-6)
    network = build_network("detector", name, 32, 3, seed=5, channels=("noise",))
    assert network.get_layer("trunk").input_shape == (None, 32, 32, 6)
    assert np.abs(score(network, 64) - score(network, 1)).max() > 1e-6
    save_model(network, tmp_path / "m.keras")
    np.testing.assert_array_equal(score(load_model(tmp_path / "m.keras"), 1), score(network, 1))
