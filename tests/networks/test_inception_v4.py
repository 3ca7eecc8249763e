import pytest
from support import convolutions

from lenspipe.networks.registry import build_network


@pytest.mark.slow
def test_inception_v4_has_its_149convolutions():
    """Szegedy et al. 2017, figures 3 to 9: 11 in the stem, 4 x 7, 4, 7 x 10, 6, 3 x 10."""
    model = build_network("regressor", "inception_v4", 75, 3, target_mean=[0.0] * 5, target_std=[1.0] * 5)
    assert len(convolutions(model)) == 11 + 4 * 7 + 4 + 7 * 10 + 6 + 3 * 10
    assert model.get_layer("trunk").output_shape == (None, 1536)
