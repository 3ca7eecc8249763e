from support import convolutions

from lenspipe.networks.registry import build_network


def test_network4_is_pairs_of_wide_and_of_single_pixels():
    model = build_network("regressor", "network4", 64, 1, target_mean=[0.0] * 5, target_std=[1.0] * 5)
    found = convolutions(model)
    assert found[1::2] == [(1, 1, width) for _, _, width in found[::2]]
    assert [side for side, _, _ in found[::2]] == [3, 5, 10, 10, 10, 10, 10, 3]
