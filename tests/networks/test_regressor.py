import keras
import numpy as np
import pytest

from lenspipe.networks.dropout import dropout_layers, fixed_masks
from lenspipe.networks.registry import ARCHITECTURES, build_network

FOUR = {"target_mean": [0.2, 5.5, 0.4, 1.0], "target_std": [0.3, 0.2, 0.1, 0.25]}


def test_output_is_mean_and_log_variance_of_each_target(inception, stamps):
    out = inception.predict(stamps, verbose=0)
    assert out.shape == (6, 4, 2)
    # untrained outputs are standardised numbers of order one about the training mean
    assert np.all(np.abs(out[..., 0] - [0.2, 5.5, 0.4, 1.0]) < 5 * np.array([0.3, 0.2, 0.1, 0.25]))


def test_the_regressor_may_see_the_noise_too(stamps):
    model = build_network("regressor", "inception", 32, 3, channels=("noise",))
    assert model.get_layer("trunk").input_shape == (None, 32, 32, 6)
    assert model.predict(stamps, verbose=0).shape == (6, 4, 2)


def test_one_dropout_stands_before_the_last_layer_and_what_is_before_it_is_sure(inception, stamps):
    (layer,) = dropout_layers(inception)
    assert layer.rates().shape == (4 * 64,)
    trunk = inception.get_layer("trunk")
    x = np.random.default_rng(0).normal(size=(3, 32, 32, 3)).astype(np.float32)
    np.testing.assert_array_equal(trunk(x), trunk(x))
    one, other = (inception.predict(stamps, verbose=0) for _ in range(2))
    assert not np.array_equal(one, other)


def test_each_target_hangs_on_features_of_its_own(inception):
    head = inception.get_layer("head")
    features = np.random.default_rng(1).normal(size=(2, 256)).astype(np.float32)
    touched = features.copy()
    touched[:, 64:128] += 1
    with fixed_masks({"mc_dropout": np.ones(256, np.float32)}):
        before, after = (keras.ops.convert_to_numpy(head(x)) for x in (features, touched))
    changed = np.any(before != after, axis=(0, 2))
    np.testing.assert_array_equal(changed, [False, True, False, False])


def test_a_tower_for_each_target_gives_each_its_own_convolutions():
    shared, each = (
        build_network("regressor", "inception", 32, 3, trunks=t, **FOUR) for t in ("shared", "each")
    )
    towers = [
        sum(isinstance(layer, keras.layers.Conv2D) for layer in model.get_layer("trunk").layers)
        for model in (shared, each)
    ]
    assert towers[1] == 4 * towers[0]
    with pytest.raises(ValueError, match="shared or each"):
        build_network("regressor", "inception", 32, 3, trunks="none")


@pytest.mark.parametrize("learnt", [False, True])
def test_a_full_covariance_has_a_square_beside_the_means(learnt, stamps):
    model = build_network("regressor", "inception", 32, 3, covariance=True, learn_dropout=learnt, **FOUR)
    assert model.predict(stamps, verbose=0).shape == (6, 4, 5)
    (layer,) = dropout_layers(model)
    assert (len(layer.trainable_weights) == 1) is learnt


def test_jitter_is_for_training_only(stamps):
    model = build_network("regressor", "inception", 32, 3, zero_point_error=0.1, shift=2, **FOUR)
    plain = build_network("regressor", "inception", 32, 3, **FOUR)
    assert {"calibration_jitter", "offset"} <= {layer.name for layer in model.layers}
    plain.set_weights(model.get_weights())
    with fixed_masks({"mc_dropout": np.ones(256, np.float32)}):
        np.testing.assert_array_equal(model(stamps), plain(stamps))


def test_all_regressors_have_a_test():
    known = {name for name, entry in ARCHITECTURES.items() if entry.task == "regressor"}
    assert known == {"inception", "alexnet", "overfeat", "network4", "swift_regressor", "inception_v4"}


@pytest.mark.parametrize("name", ["inception", "alexnet", "overfeat", "network4", "swift_regressor"])
def test_each_takes_the_smallest_stamps_and_gives_means_and_errors(name):
    model = build_network("regressor", name, 32, 2, seed=1, target_mean=[0.0] * 5, target_std=[1.0] * 5)
    rng = np.random.default_rng(0)
    stamps = {"image": rng.normal(0, 9, (3, 32, 32, 2)), "noise_sigma": np.ones((3, 2))}
    out = model.predict({key: values.astype(np.float32) for key, values in stamps.items()}, verbose=0)
    assert out.shape == (3, 5, 2)
    assert np.isfinite(out).all()


def test_a_network_whose_answers_turn_is_saved_and_split(stamps, tmp_path):
    from lenspipe.training.load import load_network, save_model

    names = ("theta_e", "e1", "e2", "x_lens", "y_lens")
    model = build_network(
        "regressor", "inception", 32, 3, names=names, shift=1, target_mean=[0.0] * 5, target_std=[1.0] * 5
    )
    assert "offset" not in {layer.name for layer in model.layers}  # positions are targets
    save_model(model, tmp_path / "fold-0.keras")
    network = load_network(tmp_path / "fold-0.keras", "fold-0")
    assert network.passes.head.output_shape == (None, 5, 2)
    with fixed_masks({"mc_dropout": np.ones(320, np.float32)}):
        whole = keras.ops.convert_to_numpy(model(stamps))
        parts = keras.ops.convert_to_numpy(network.passes.head(network.trunk(stamps)))
    np.testing.assert_allclose(whole, parts, rtol=1e-5, atol=1e-6)
