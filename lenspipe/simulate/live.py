"""Stamps drawn on the device that trains on them, anew each time: infinite data of which only parameters travel.

A set of scenes is packed once. Whenever a scene comes up it is seen at another angle, mirrored or not, a little
off the stamp's middle, and with other noise: turned in its parameters, not its pixels, so that nothing is
interpolated. What the detector and the coaddition do (cosmic rays, holes, missing bands) is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from astropy.table import Table

from lenspipe.config import RealismSection
from lenspipe.core.survey import Survey
from lenspipe.imaging.noise import correlation_factors
from lenspipe.imaging.observe import add_noise
from lenspipe.lensing.coordinates import RADIANS
from lenspipe.simulate.foreground import CHUNK
from lenspipe.simulate.packing import choose_terms
from lenspipe.simulate.parts import stack_columns
from lenspipe.simulate.render import draw, pack
from lenspipe.simulate.scene import build_scene

ops: Any = keras.ops  # its annotations allow None everywhere

#: Pairs of packed arrays that are positions [arcsec], and angles [deg, counter-clockwise from +y].
_POSITIONS = (("x_lens", "y_lens"), ("light_x", "light_y"), ("source_x", "source_y"))
_ANGLES = ("phi", "phi_ext", "light_phi", "source_phi")


@dataclass(frozen=True)
class LiveSet:
    """n scenes as flat arrays.

    Parameters
    ----------
    arrays : dict of ndarray (n, ...)
        As `packing.pack` returns them, and ``sky_sigma`` (n, b) [nJy].
    profiles : tuple of str
        Forms of the source components.
    size : int
        Side of the stamps [px].
    pixel_scale : float
        [arcsec]
    electrons_per_njy : ndarray (b,)
    noise_factors : list of ndarray (f, 2, size, size), one a band
        From `imaging.noise.correlation_factors`.
    """

    arrays: dict[str, np.ndarray]
    profiles: tuple[str, ...]
    size: int
    pixel_scale: float
    electrons_per_njy: np.ndarray
    noise_factors: list[np.ndarray]

    def __len__(self) -> int:
        return len(self.arrays["theta_e"])


def pack_truth(
    survey: Survey, seed: int, truth: Table, bands: Sequence[str], size: int, effects: RealismSection
) -> LiveSet:
    """Return the scenes of truth rows, lenses and others, in their order; parameters as for `scene.build_scene`."""
    is_lens = np.asarray(truth["kind"], str) == "lens"
    arrays: dict[str, np.ndarray] = {}
    profiles: tuple[str, ...] = ()
    for some in (np.flatnonzero(is_lens), np.flatnonzero(~is_lens)):
        if len(some):
            scene = build_scene(survey, seed, truth[some], bands, size, effects)
            part, forms = pack(scene, size, survey.pixel_scale)
            profiles = profiles or forms
            _put(arrays, part, some, len(truth))
    for name in (
        "q",
        "source_q",
        "source_r_eff",
        "light_q",
        "psf_fwhm",
        "window",
        "source_norm",
        "source_b_n",
    ):
        if name in arrays:  # of what is not there: anything that divides
            arrays[name] = np.where(arrays[name] == 0.0, np.float32(1.0), arrays[name])
    terms = int(np.max(np.sum(arrays["term_weight"] != 0.0, axis=1), initial=1))
    arrays = choose_terms(arrays, 0, CHUNK * -(-terms // CHUNK))
    arrays["sky_sigma"] = stack_columns(truth, "sky_sigma", bands).astype(np.float32)
    gain = np.array([survey.bands[band].electrons_per_njy() for band in bands], np.float32)
    factors: list[np.ndarray] = [np.zeros((0, 2, size, size), np.float32)] * len(bands)
    if effects.correlated_noise:
        factors = [correlation_factors(size, values) for values in survey.correlations(bands)]
    return LiveSet(arrays, profiles, size, survey.pixel_scale, gain, factors)


def _put(arrays: dict[str, np.ndarray], part: Mapping[str, np.ndarray], rows: np.ndarray, count: int) -> None:
    """Lay rows into arrays, which grow to the larger of both shapes, with zeros."""
    for name, values in part.items():
        old = arrays.get(name, np.zeros((count, *values.shape[1:]), values.dtype))
        shape = (count, *np.maximum(old.shape[1:], values.shape[1:]))
        new = np.zeros(shape, values.dtype)
        new[tuple(slice(0, side) for side in old.shape)] = old
        new[(rows, *(slice(0, side) for side in values.shape[1:]))] = values
        arrays[name] = new


@keras.saving.register_keras_serializable(package="lenspipe")
class LiveStamps(keras.layers.Layer):
    """Packed scenes to stamps with noise (n, size, size, b), nJy per pixel.

    In training each scene is turned by any angle, mirrored or not, and moved by up to `jitter`; else it is as it
    was drawn. Noise is always drawn anew.

    Parameters
    ----------
    scenes : LiveSet
        Only its settings are used.
    jitter : float
        Largest offset along an axis [px].
    seed : int, optional
    batch : int, optional
        Scenes in every batch: shapes must be known where a graph is compiled.
    """

    def __init__(
        self,
        scenes: LiveSet,
        jitter: float = 1.0,
        seed: int | None = None,
        batch: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.scenes, self.jitter, self.batch = scenes, float(jitter), batch
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, arrays: Mapping[str, Any], training: bool = False) -> Any:
        """Draw the stamps of some rows of `LiveSet.arrays`."""
        scenes = self.scenes
        arrays = {
            name: ops.reshape(v, (self.batch or v.shape[0], *v.shape[1:])) for name, v in arrays.items()
        }
        sky = arrays.pop("sky_sigma")
        if training:
            arrays = self._turn(arrays)
        light, arcs = draw(arrays, scenes.profiles, scenes.size, scenes.pixel_scale)
        flux = light + arcs
        normal = keras.random.normal(ops.shape(flux), seed=self.seed_generator, dtype="float32")
        return add_noise(flux, sky, scenes.electrons_per_njy, self._correlate(normal))

    def _turn(self, arrays: dict[str, Any]) -> dict[str, Any]:
        count = ops.shape(arrays["theta_e"])[0]
        angle = keras.random.uniform((count,), 0.0, 360.0, seed=self.seed_generator)
        mirror = keras.random.uniform((count,), seed=self.seed_generator) < 0.5
        sign = ops.where(mirror, -1.0, 1.0)
        moved = keras.random.uniform((2, count), -self.jitter, self.jitter, seed=self.seed_generator)
        arrays = turn_scenes(arrays, angle, sign)
        for k, name in enumerate(("shift_x", "shift_y")):
            arrays[name] = arrays[name] + self.scenes.pixel_scale * moved[k][:, None]
        return arrays

    def _correlate(self, white: Any) -> Any:
        bands = [
            sum(
                (ops.matmul(ops.matmul(a, white[..., b]), ops.transpose(c)) for a, c in factors),
                start=0.0,
            )
            if len(factors)
            else white[..., b]
            for b, factors in enumerate(self.scenes.noise_factors)
        ]
        return ops.stack(bands, axis=-1)

    def compute_output_shape(self, shapes: Mapping[str, Any]) -> tuple[Any, ...]:
        bands = len(self.scenes.electrons_per_njy)
        return (shapes["theta_e"][0], self.scenes.size, self.scenes.size, bands)


def turn_scenes(arrays: Mapping[str, Any], angle: Any, sign: Any) -> dict[str, Any]:
    """Return packed scenes turned counter-clockwise by `angle` (n,) [deg] after a mirror x -> `sign` (n,) x.

    Astrometric offsets of the bands are the detector's and stay.
    """
    out = dict(arrays)
    cos, sin = ops.cos(angle * RADIANS), ops.sin(angle * RADIANS)
    for name_x, name_y in _POSITIONS:
        if name_x in out:
            x, y = out[name_x], out[name_y]
            c, s, m = (v if len(x.shape) == 1 else v[:, None] for v in (cos, sin, sign))
            out[name_x], out[name_y] = c * m * x - s * y, s * m * x + c * y
    for name in _ANGLES:
        if name in out:
            phi = out[name]
            a, m = (v if len(phi.shape) == 1 else v[:, None] for v in (angle, sign))
            out[name] = m * phi + a
    return out
