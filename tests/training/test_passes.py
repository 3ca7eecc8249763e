import numpy as np

from lenspipe.networks.layers import dropout_layers


def test_masks_drop_the_rate_of_their_layer_and_grow_with_the_passes(detector):
    network = detector.networks()[0]
    (layer,) = dropout_layers(network.passes.head)
    masks = network.draw_masks(400, seed=1)[layer.name]
    assert masks.shape == (400, 1, 512)
    assert abs(masks.mean() - (1 - layer.rate)) < 0.005
    np.testing.assert_array_equal(network.draw_masks(10, seed=1)[layer.name], masks[:10])
    assert not np.array_equal(detector.networks()[1].draw_masks(10, seed=1)[layer.name], masks[:10])
