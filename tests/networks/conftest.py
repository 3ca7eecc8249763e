import keras
import numpy as np
import pytest

from lenspipe.networks.registry import build_network


@pytest.fixture(scope="session")
def resnet() -> keras.Model:
    return build_network("detector", "resnet50", 32, 3, dropout=0.5, bn_momentum=0.9, seed=5)


@pytest.fixture(scope="session")
def inception() -> keras.Model:
    return build_network(
        "regressor",
        "inception",
        32,
        3,
        dropout=0.2,
        seed=5,
        target_mean=[0.2, 5.5, 0.4, 1.0],
        target_std=[0.3, 0.2, 0.1, 0.25],
    )


@pytest.fixture(scope="session")
def stamps() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    image = rng.normal(0, 30, (6, 32, 32, 3)).astype(np.float32)
    return {"image": image, "noise_sigma": np.full((6, 3), 10.0, np.float32)}
