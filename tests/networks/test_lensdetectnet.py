import keras
import numpy as np

from lenspipe.networks.registry import build_network


def test_it_is_of_the_size_of_lensdetectnet_with_as_many_parameters_that_are_not_trainable():
    model = build_network("detector", "lensdetectnet", 76, 3)
    assert model.count_params() == 49_180_610
    assert abs(model.count_params() / 49_714_696 - 1) < 0.02
    assert sum(int(np.prod(w.shape)) for w in model.non_trainable_weights) == 2_688


def test_its_batch_normalised_maps_add_up_to_1344():
    trunk = build_network("detector", "lensdetectnet", 32, 1).get_layer("trunk")
    norms = [v for v in trunk.layers if isinstance(v, keras.layers.BatchNormalization)]
    assert sum(norm.gamma.shape[0] for norm in norms) == 1_344
