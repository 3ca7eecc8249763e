import keras
import numpy as np
import pytest

from lenspipe.config import FULL, PLAIN, SimulateSection
from lenspipe.core.survey import load_survey
from lenspipe.simulate.live import LiveStamps, pack_truth, turn_scenes
from lenspipe.simulate.render import draw, render
from lenspipe.simulate.scene import build_scene, draw_truth

SURVEY, BANDS, SIZE = load_survey("des"), ("g", "r", "i"), 48


@pytest.fixture(scope="module")
def full():
    """Six full scenes, lenses and others in turn, with their truth."""
    truth = draw_truth(SURVEY, 5, range(6), SimulateSection(), BANDS)
    return truth, pack_truth(SURVEY, 5, truth, BANDS, SIZE, FULL)


def drawn(scenes, arrays):
    packed = {name: values for name, values in arrays.items() if name != "sky_sigma"}
    return keras.ops.convert_to_numpy(sum(draw(packed, scenes.profiles, SIZE, scenes.pixel_scale)))


def test_lenses_and_others_are_drawn_as_their_truth_says(full):
    truth, scenes = full
    image = drawn(scenes, scenes.arrays)
    is_lens = np.asarray(truth["kind"], str) == "lens"
    assert is_lens.tolist() == [True, False] * 3
    for some in (is_lens, ~is_lens):
        expected = sum(
            render(build_scene(SURVEY, 5, truth[some], BANDS, SIZE, FULL), SIZE, SURVEY.pixel_scale)
        )
        peak = expected.max(axis=(1, 2, 3), keepdims=True)
        np.testing.assert_allclose(image[some] / peak, expected / peak, atol=2e-5)


@pytest.mark.parametrize(
    ("angle", "sign", "turn"),
    [
        (90.0, 1.0, lambda image: np.rot90(image, -1, axes=(1, 2))),  # rows run upwards
        (180.0, 1.0, lambda image: image[:, ::-1, ::-1]),
        (0.0, -1.0, lambda image: image[:, :, ::-1]),
        (90.0, -1.0, lambda image: np.rot90(image[:, :, ::-1], -1, axes=(1, 2))),
    ],
)
def test_turned_parameters_give_turned_images(angle, sign, turn):
    """Without offsets between the bands, which are the detector's."""
    truth = draw_truth(SURVEY, 5, range(4), SimulateSection(scene="plain"), BANDS)
    scenes = pack_truth(SURVEY, 5, truth, BANDS, SIZE, PLAIN)
    count = len(truth)
    turned = turn_scenes(
        {name: keras.ops.convert_to_tensor(values) for name, values in scenes.arrays.items()},
        keras.ops.full((count,), angle), keras.ops.full((count,), sign),
    )  # fmt: skip
    before = drawn(scenes, scenes.arrays)
    peak = before.max(axis=(1, 2, 3), keepdims=True)
    # arcs are sampled on a grid along the axes: turned by any other angle they differ by as much as from the truth
    np.testing.assert_allclose(drawn(scenes, turned) / peak, turn(before) / peak, atol=1e-4)


def test_a_scene_is_another_image_each_time_in_training_and_else_only_its_noise(full):
    truth, scenes = full
    layer = LiveStamps(scenes, seed=1)
    seen = [
        [keras.ops.convert_to_numpy(layer(scenes.arrays, training=training)) for _ in range(2)]
        for training in (False, True)
    ]
    exact = drawn(scenes, scenes.arrays)
    sky = np.asarray(scenes.arrays["sky_sigma"])[:, None, None, :]
    gain = scenes.electrons_per_njy
    sigma = np.sqrt(sky**2 + np.maximum(exact, 0.0) / gain)
    noise = (seen[0][0] - exact) / sigma
    assert np.std(noise) == pytest.approx(1.0, rel=0.03)
    assert not np.array_equal(*seen[0])
    along = np.mean(noise[:, :, 1:] * noise[:, :, :-1])  # DES: 0.24 at one pixel
    assert along == pytest.approx(SURVEY.noise_correlation[0], abs=0.02)
    moved = np.abs((seen[1][0] - exact) / sigma).max(axis=(1, 2, 3))
    assert np.all(moved[np.asarray(truth["kind"], str) == "lens"] > 5.0)
    # turned and moved by a pixel, nothing is lost in the middle
    middle = np.s_[:, 8:-8, 8:-8]
    assert seen[1][0][middle].sum() == pytest.approx(exact[middle].sum(), rel=0.2)
