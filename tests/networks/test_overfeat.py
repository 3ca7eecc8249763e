from support import convolutions

from lenspipe.networks.registry import build_network


def test_overfeat_is_the_published_list():
    model = build_network("regressor", "overfeat", 192, 1, target_mean=[0.0] * 5, target_std=[1.0] * 5)
    sides = [(11, 64), (5, 256), (3, 512), (3, 1024), (3, 1024), (2, 3072)]
    assert convolutions(model) == [(side, side, width) for side, width in sides]
