"""What a whole model takes, and what reaches its trunk."""

import keras
import numpy as np
import pytest
from support import small_swift

from lenspipe.networks.assemble import assemble, name_inputs, trunk_of
from lenspipe.networks.registry import build_network
from lenspipe.training.batchnorm import fuse_batch_norms
from lenspipe.training.load import load_model, save_model


@pytest.fixture(scope="module")
def masked(stamps):
    """Inputs of a network that looks at masks."""
    mask = np.random.default_rng(3).integers(0, 3, stamps["image"].shape).astype(np.uint8)
    return {**stamps, "mask": mask}


def inputs_of(model):
    return {t.name: (t.shape[1:], t.dtype) for t in model.inputs}


PLAIN = {"image": ((32, 32, 3), "float32"), "noise_sigma": ((3,), "float32")}


@pytest.mark.parametrize("channels", [(), ("noise",), ("mask",), ("noise", "mask"), ("mask", "noise")])
def test_a_mask_is_an_input_where_it_is_a_channel_and_nowhere_else(channels, masked, tmp_path):
    model = small_swift(32, 3, dropout=0.0, channels=channels)
    expected = PLAIN | ({"mask": ((32, 32, 3), "uint8")} if "mask" in channels else {})
    save_model(model, tmp_path / "m.keras")
    given = {name: masked[name] for name in expected}
    features = []
    for one in (model, load_model(tmp_path / "m.keras"), fuse_batch_norms(model)):
        trunk = trunk_of(one)
        assert inputs_of(one) == inputs_of(trunk) == expected
        features.append(trunk.predict(given, verbose=0))
    np.testing.assert_array_equal(features[1], features[0])
    np.testing.assert_allclose(features[2], features[0], rtol=1e-5, atol=1e-6)
    assert model.get_layer("trunk").input_shape == (None, 32, 32, 3 * (1 + len(channels)))


def test_the_trunk_sees_the_channels_in_their_order(masked):
    model = small_swift(32, 3, channels=("mask", "noise"))
    seen = keras.Model(model.inputs, model.get_layer("sky_symmetry").output)
    out = seen.predict(masked, verbose=0)
    np.testing.assert_array_equal(out[..., 3:6], masked["mask"] != 0)
    assert len(np.unique(out[..., 6:])) == 1
    trunk = trunk_of(model)
    direct = model.get_layer("trunk").predict(out, verbose=0)
    np.testing.assert_allclose(trunk.predict(masked, verbose=0), direct, rtol=1e-5, atol=1e-6)


def test_a_mask_is_turned_with_its_stamp():
    size = 8
    inputs = keras.Input((size, size, 2))
    nothing = {name: keras.Model(inputs, keras.layers.Activation("linear")(inputs)) for name in ("a", "b")}
    model = assemble(*nothing.values(), size, 1, seed=1, name="open", channels=("mask",))
    mask = np.random.default_rng(0).integers(0, 2, (1, size, size, 1)).astype(np.uint8)
    mask = np.repeat(mask, 60, axis=0)
    given = name_inputs(100 * mask.astype("f4"), np.ones((60, 1), "f4"), mask)
    out = keras.ops.convert_to_numpy(model(given, training=True))
    np.testing.assert_array_equal(out[..., 0] > 0, out[..., 1] == 1)
    assert len({stamp.tobytes() for stamp in out[..., 1]}) == 8


def test_a_regressor_has_it_too(masked):
    model = build_network("regressor", "inception", 32, 3, channels=("mask",))
    trunk = trunk_of(model)
    blank = {**masked, "mask": np.zeros_like(masked["mask"])}
    assert np.abs(trunk.predict(masked, verbose=0) - trunk.predict(blank, verbose=0)).max() > 1e-3


def test_a_network_that_sees_the_middle_does_not_see_the_rest():
    model = small_swift(40, 2, dropout=0.0, crop=33, channels=("mask",))
    assert model.get_layer("trunk").input_shape == (None, 33, 33, 4)
    rng = np.random.default_rng(3)
    image = rng.normal(0, 10, (2, 40, 40, 2)).astype(np.float32)
    other = image.copy()
    other[:, :3], other[:, 36:], other[:, :, :3], other[:, :, 36:] = 1, 2, 3, 4
    noise, mask = np.full((2, 2), 10, np.float32), np.zeros((2, 40, 40, 2), np.uint8)
    for network in (model, trunk_of(model)):
        seen = [np.asarray(network(name_inputs(stamps, noise, mask))) for stamps in (image, other)]
        np.testing.assert_array_equal(*seen)
    other[:, 20, 20] += 100
    trunk = trunk_of(model)
    features = [np.asarray(trunk(name_inputs(stamps, noise, mask))) for stamps in (image, other)]
    assert not np.array_equal(*features)
