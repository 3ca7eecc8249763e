import numpy as np

from lenspipe.networks.dropout import dropout_layers


def test_masks_drop_the_rate_of_their_layer_and_grow_with_the_passes(detector):
    network = detector.networks()[0]
    (layer,) = dropout_layers(network.passes.head)
    masks = network.draw_masks(400, seed=1)[layer.name]
    assert masks.shape == (400, 1, 512)
    assert abs(masks.mean() - (1 - layer.rate)) < 0.005
    np.testing.assert_array_equal(network.draw_masks(10, seed=1)[layer.name], masks[:10])
    assert not np.array_equal(detector.networks()[1].draw_masks(10, seed=1)[layer.name], masks[:10])


def test_passes_are_the_same_however_many_go_through_the_head_at_once(detector, data, monkeypatch):
    from lenspipe.training import passes
    from lenspipe.training.datasets import load_stamps

    stamps = load_stamps(data).inputs(slice(0, 5))
    ((_, whole, features),) = passes.run_passes(detector.networks(), stamps, 7, 1, 8)
    assert whole.shape == (5, 2, 7, 2)
    assert [part.shape for part in features] == [(5, 512)] * 2
    monkeypatch.setattr(passes, "AT_ONCE", 24)
    ((_, thirds, _),) = passes.run_passes(detector.networks(), stamps, 7, 1, 8)
    np.testing.assert_allclose(thirds, whole, rtol=1e-6)
    ((_, fewer, _),) = passes.run_passes(detector.networks(), stamps, 3, 1, 8)
    np.testing.assert_allclose(fewer, whole[:, :, :3], rtol=1e-6)
