import keras
import pytest

from lenspipe.networks.swift import swift_trunk


def test_it_has_sixteen_convolutions_and_each_stage_halves_the_map():
    trunk = swift_trunk(64, 3)
    convolutions = [v for v in trunk.layers if isinstance(v, keras.layers.Conv2D)]
    assert len(convolutions) == 1 + 2 + (1 + 4) + (1 + 4) + (1 + 2)
    strided = [(v.kernel_size[0], v.filters, v.output.shape[1]) for v in convolutions if v.strides == (2, 2)]
    assert strided == [(5, 24, 32), (3, 48, 16), (3, 96, 8), (3, 160, 4)]


def test_mean_and_maximum_of_the_last_maps_go_to_the_head():
    trunk = swift_trunk(32, 1, widths=(4, 6, 8, 10))
    assert trunk.output_shape == (None, 20)
    joined = trunk.layers[-1]
    assert [type(v._keras_history.operation).__name__ for v in joined.input] == [
        "GlobalAveragePooling2D",
        "GlobalMaxPooling2D",
    ]


def test_another_number_of_widths_is_refused():
    with pytest.raises(ValueError, match=r"4 widths, received \(8, 16\)"):
        swift_trunk(32, 1, widths=(8, 16))
