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


def test_output_is_a_probability_and_the_head_is_stochastic(resnet, stamps):
    first, second = (resnet.predict(stamps, verbose=0) for _ in range(2))
    np.testing.assert_allclose(first.sum(axis=1), 1, rtol=1e-6)
    assert first.dtype == np.float32
    assert not np.array_equal(first, second)
    trunk = resnet.get_layer("trunk")
    np.testing.assert_array_equal(
        trunk.predict(stamps["image"], verbose=0), trunk.predict(stamps["image"], verbose=0)
    )


def test_save_and_load_give_the_same_bits(resnet, stamps, tmp_path):
    from lenspipe.networks.assemble import trunk_of

    resnet.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras", compile=False, safe_mode=True)
    for before, after in zip(resnet.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(
        trunk_of(resnet).predict(stamps, verbose=0), trunk_of(loaded).predict(stamps, verbose=0)
    )
