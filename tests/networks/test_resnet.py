import keras
import numpy as np


def _count(weights) -> int:
    return int(sum(np.prod(w.shape) for w in weights))


def test_parameters_are_those_of_the_lectures(resnet):
    assert resnet.count_params() == 23_591_810
    assert _count(resnet.trainable_weights) == 23_538_690
    assert _count(resnet.non_trainable_weights) == 53_120


def test_every_batch_norm_has_the_momentum_asked_for(resnet):
    norms = [v for v in resnet.get_layer("trunk").layers if isinstance(v, keras.layers.BatchNormalization)]
    assert len(norms) == 53
    assert {n.momentum for n in norms} == {0.9}
