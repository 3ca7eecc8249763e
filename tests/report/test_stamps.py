import base64
import io

import matplotlib.image
import numpy as np
import pytest

from lenspipe.report.stamps import colour_stamp

RNG = np.random.default_rng(5)


def pixels(uri: str) -> np.ndarray:
    kind, _, content = uri.partition(";base64,")
    assert kind == "data:image/png"
    return matplotlib.image.imread(io.BytesIO(base64.b64decode(content)), format="png")[..., :3]


def test_stamp_is_shown_with_y_up_and_bands_in_their_colours():
    image = np.zeros((16, 16, 3))
    image[12, 3, 0] = 500.0  # first band, upper left
    shown = pixels(colour_stamp(image, np.ones(3), (0, 1, 2)))
    assert shown.shape == (16, 16, 3)
    row, column, channel = np.unravel_index(np.argmax(shown - np.median(shown)), shown.shape)
    assert (row, column, channel) == (3, 3, 0)
    assert np.argmax(pixels(colour_stamp(image, np.ones(3), (2, 1, 0)))[3, 3]) == 2


@pytest.mark.parametrize(
    ("shape", "indices"), [((9, 9, 1), (0, 0, 0)), ((9, 9), (0, 0, 0)), ((9, 9, 1), (2, 1, 0))]
)
def test_one_band_is_grey(shape, indices):
    image = RNG.uniform(0, 50, shape)
    shown = pixels(colour_stamp(image, np.ones(1), indices))
    assert np.ptp(shown, axis=2).max() == 0
    assert np.ptp(shown) > 0.1


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8, 3)),
        np.full((8, 8, 3), 7.0),
        np.full((8, 8, 3), np.nan),
        np.full((8, 8, 3), 1e30),
        np.where(np.arange(192).reshape(8, 8, 3) % 5, 1.0, np.inf),
        -np.ones((8, 8, 3)),
    ],
    ids=["zero", "constant", "nan", "huge", "inf", "negative"],
)
@pytest.mark.parametrize("sigma", [1.0, 0.0, np.nan, np.inf, -1.0])
def test_no_pixel_breaks_the_stamp(image, sigma):
    assert pixels(colour_stamp(image, np.full(3, sigma), (0, 1, 2))).shape == (8, 8, 3)


def test_brightness_is_in_units_of_the_noise():
    image = (
        RNG.normal(0, 1, (32, 32, 3)) + 10 * np.exp(-np.hypot(*np.indices((32, 32)) - 16.0) / 3)[..., None]
    )
    same = (
        colour_stamp(image, np.ones(3), (0, 1, 2)),
        colour_stamp(1000 * image, np.full(3, 1000.0), (0, 1, 2)),
    )
    assert np.abs(pixels(same[0]) - pixels(same[1])).max() < 0.01
