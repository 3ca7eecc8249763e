import keras
import pytest

from lenspipe.networks.registry import build_network


@pytest.fixture(scope="module")
def trunk():
    return build_network("detector", "cmu_deeplens", 45, 3).get_layer("trunk")


def test_it_has_46_convolutions_and_projects_four_shortcuts(trunk):
    convolutions = [v.name for v in trunk.layers if isinstance(v, keras.layers.Conv2D)]
    shortcuts = [name for name in convolutions if name.endswith("shortcut")]
    assert len(convolutions) - len(shortcuts) == 46
    assert shortcuts == [f"stage{k}_block1_shortcut" for k in (2, 3, 4, 5)]


@pytest.mark.parametrize(
    ("stage", "side", "channels"), [(1, 45, 32), (2, 23, 64), (3, 12, 128), (4, 6, 256), (5, 3, 512)]
)
def test_the_first_block_of_each_stage_but_the_first_halves_the_map(trunk, stage, side, channels):
    for block in (1, 2, 3):
        maps = trunk.get_layer(f"stage{stage}_block{block}_add").output
        assert maps.shape == (None, side, side, channels)
    inner = trunk.get_layer(f"stage{stage}_block1_conv2")
    assert (inner.filters, inner.kernel_size) == (channels // 2, (3, 3))


def test_the_stem_has_32_windows_of_7_px(trunk):
    assert (trunk.get_layer("stem").filters, trunk.get_layer("stem").kernel_size) == (32, (7, 7))
