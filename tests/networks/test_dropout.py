import keras
import numpy as np
import pytest
from scipy.special import logit

from lenspipe.networks.dropout import ConcreteDropout, MCDropout, fixed_masks


def _roundtrip(model, tmp_path):
    model.save(tmp_path / "m.keras")
    return keras.saving.load_model(tmp_path / "m.keras", compile=False, safe_mode=True)


def _dropout_model(rate, seed=0):
    inputs = keras.Input((1000,))
    x = keras.layers.BatchNormalization(name="bn")(inputs)
    return keras.Model(inputs, MCDropout(rate, seed=seed, name="drop")(x))


@pytest.mark.parametrize("saved", [False, True])
def test_dropout_drops_its_rate_under_predict_and_leaves_batch_norm_alone(saved, tmp_path):
    model = _dropout_model(0.3)
    model = _roundtrip(model, tmp_path) if saved else model
    out = model.predict(np.full((50, 1000), 7.0, np.float32), verbose=0)
    dropped = np.mean(out == 0)
    assert abs(dropped - 0.3) < 5 * np.sqrt(0.21 / 50_000)
    # inference-mode batch norm of fresh statistics is the identity to epsilon; batch statistics would give 0
    np.testing.assert_allclose(out[out != 0], 7.0 / 0.7 / np.sqrt(1.001), rtol=1e-5)
    np.testing.assert_array_equal(model.get_layer("bn").moving_mean, np.zeros(1000))


def test_the_keras_dropout_that_the_layer_replaces_drops_nothing_under_predict():
    """Trap 1. Should Keras mend this, `MCDropout` can go."""
    inputs = keras.Input((1000,))
    model = keras.Model(inputs, keras.layers.Dropout(0.3)(inputs, training=True))
    assert np.all(model.predict(np.ones((5, 1000), np.float32), verbose=0) != 0)


def test_fixed_masks_replace_the_random_ones_inside_the_block_only():
    layer = MCDropout(0.5, name="drop")
    mask = np.array([1, 0, 1, 0], np.float32)
    with fixed_masks({"drop": mask}):
        np.testing.assert_array_equal(layer(np.ones((2, 4), np.float32)), np.tile(mask * 2, (2, 1)))
    assert 300 < np.sum(keras.ops.convert_to_numpy(layer(np.ones((1, 1000), np.float32))) == 0) < 700


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_dropout_refuses_an_impossible_rate(rate):
    with pytest.raises(ValueError, match="rate"):
        MCDropout(rate)


def _concrete(rate=0.2, groups=2, **settings):
    inputs = keras.Input((1000,))
    return keras.Model(inputs, ConcreteDropout(rate, groups, seed=1, name="drop", **settings)(inputs))


@pytest.mark.parametrize("saved", [False, True])
def test_learnt_rates_are_those_of_each_group_at_prediction(saved, tmp_path):
    model = _concrete()
    model.get_layer("drop").logit.assign(logit([0.1, 0.6]))
    model = _roundtrip(model, tmp_path) if saved else model
    layer = model.get_layer("drop")
    np.testing.assert_allclose(layer.rates(), np.repeat([0.1, 0.6], 500), rtol=1e-5)
    out = model.predict(np.ones((100, 1000), np.float32), verbose=0)
    for rate, part in ((0.1, out[:, :500]), (0.6, out[:, 500:])):
        assert abs(np.mean(part == 0) - rate) < 5 * np.sqrt(rate * (1 - rate) / part.size)
        np.testing.assert_allclose(part[part != 0], 1 / (1 - rate), rtol=1e-5)
    with fixed_masks({"drop": np.ones(1000, np.float32)}):
        np.testing.assert_allclose(
            layer(np.ones((1, 1000), np.float32))[0, ::500], [1 / 0.9, 1 / 0.4], rtol=1e-5
        )


def test_a_rate_falls_where_dropping_costs_and_rises_to_a_half_where_it_does_not():
    """One group of units carries the answer, the other nothing; the entropy is largest at a half."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(512, 16)).astype(np.float32)
    x[:, 8:] = 0
    inputs = keras.Input((16,))
    layer = ConcreteDropout(0.3, groups=2, samples=100, seed=2)
    outputs = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones", trainable=False)(layer(inputs))
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.Adam(0.05), "mse", jit_compile=False)
    model.fit(x, x.sum(axis=1, keepdims=True), epochs=15, batch_size=128, verbose=0)
    useful, useless = layer.rates()[[0, 8]]
    assert useful < 0.1
    assert 0.4 < useless < 0.6


@pytest.mark.parametrize("settings", [{"rate": 0.0}, {"rate": 0.1, "groups": 0}, {"rate": 0.1, "samples": 0}])
def test_learnt_dropout_refuses_what_makes_no_sense(settings):
    with pytest.raises(ValueError, match="ConcreteDropout expects"):
        ConcreteDropout(**settings)


def test_groups_must_share_the_units_equally():
    with pytest.raises(ValueError, match="equal groups"):
        ConcreteDropout(0.1, groups=3)(np.ones((1, 10), np.float32))
