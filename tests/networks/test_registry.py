import pytest

from lenspipe.config import TrainSection
from lenspipe.core.errors import ConfigError
from lenspipe.networks.registry import ARCHITECTURES, build_network, find_architecture


def test_an_empty_name_is_the_default_of_the_task():
    assert find_architecture("detector").name == "resnet50"
    assert find_architecture("regressor").name == "inception"


@pytest.mark.parametrize("name", ["resnet", "inception"])
def test_an_unknown_name_lists_the_known_ones_of_the_task(name):
    with pytest.raises(ConfigError, match=f"{name}.*resnet50, inception_detector"):
        find_architecture("detector", name)


def test_small_stamps_are_refused():
    with pytest.raises(ConfigError, match="32 px, received 24"):
        build_network("detector", "resnet50", 24, 3)


@pytest.mark.parametrize(
    ("crop", "message"), [(48, "more than the stamps have: 40"), (24, "32 px, received 24")]
)
def test_a_middle_that_is_no_middle_is_refused(crop, message):
    with pytest.raises(ConfigError, match=message):
        build_network("detector", "swift", 40, 3, crop=crop)


def test_the_settings_text_names_every_architecture():
    text = TrainSection.model_fields["architecture"].description
    assert all(name in text for name in ARCHITECTURES)
