"""From the parameters of scenes to their noise-free images: one pure function on a batch.

Unlensed light is drawn as Gaussians (`foreground`), lensed light through a window of rays (`arcs`); both go
straight to the detector's pixels, in float32, without a convolution. `python -m benchmarks.render` prints
accuracy and speed beside lenstronomy and GalSim.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import keras
import numpy as np

from lenspipe.lensing.gaussians import moffat_gaussians, sersic_gaussians
from lenspipe.lensing.light import sersic_constants
from lenspipe.lensing.raytrace import Deflector
from lenspipe.simulate.arcs import bound_window, expose_cells, trace_source
from lenspipe.simulate.foreground import CHUNK, expose_gaussians
from lenspipe.simulate.spectrum import (
    see_through,
    transform_cells,
    transform_gaussians,
    transform_psf,
)

ops: Any = keras.ops  # its annotations allow None everywhere

#: Gaussians narrower than this share of the PSF are drawn as one of their mean width.
_UNRESOLVED = 0.3
#: Numbers of Gaussians that the renderer is compiled for.
_SIZES = (16, 32, 64, 96, 144, 256)


@dataclass(frozen=True)
class Light:
    """Sersic components, m of them an object (padded with flux 0 where an object has fewer).

    A component with n = 0.5 is a Gaussian, twenty times cheaper than another one: what has no name of its
    own (arms, knots, bars, rings, tails) is made of these. Fluxes may be negative.

    Parameters
    ----------
    x, y : array (n, m)
        Centre [arcsec] from the stamp's centre; of a source, its unlensed position.
    r_eff : array (n, m)
        Half-light radius on the intermediate axis [arcsec]; 0 = a star (give it n = 0.5).
    n : array (n, m)
        Sersic index, 0.5 to 6.
    q, phi : array (n, m)
        Axis ratio and position angle [deg, counter-clockwise from +y].
    flux : array (n, m, b)
        Total flux [nJy].
    """

    x: Any
    y: Any
    r_eff: Any
    n: Any
    q: Any
    phi: Any
    flux: Any


@dataclass(frozen=True)
class Scene:
    """A batch of n scenes in b bands.

    Parameters
    ----------
    theta_e, q, phi, x_lens, y_lens, gamma_ext, phi_ext : array (n,)
        The deflector, as in `lensing.raytrace.Deflector`; theta_e = 0: no lens.
    light : Light
        Foreground components.
    source : Light
        Source components, unlensed.
    psf_fwhm : array (n, b)
        [arcsec]
    psf_beta : array (n,)
        Moffat index; inf or NaN = Gaussian.
    shift_x, shift_y : array (n, b), optional
        Astrometric offset of each band's image [arcsec].
    psf_image : array (n, b, k, k), optional
        Stars as the detector's pixels see them, on the middle one of k x k pixels, k odd. It stands in for the
        profile of `psf_fwhm` and `psf_beta`, which still bound what is resolved.
    """

    theta_e: Any
    q: Any
    phi: Any
    x_lens: Any
    y_lens: Any
    gamma_ext: Any
    phi_ext: Any
    light: Light
    source: Light
    psf_fwhm: Any
    psf_beta: Any
    shift_x: Any = None
    shift_y: Any = None
    psf_image: Any = None


def pack(scene: Scene, size: int, pixel_scale: float) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Return a scene as flat arrays for `draw`, and the forms of its source components.

    All that must be done on the host, in float64, is done here: Sersic constants, sums of Gaussians, the
    window of the rays. Floats get Keras' default dtype.
    """
    arrays: dict[str, Any] = {field.name: getattr(scene, field.name) for field in fields(Deflector)}
    arrays["psf_fwhm"] = np.asarray(scene.psf_fwhm, np.float64)
    arrays |= _psf_terms(np.asarray(scene.psf_beta, np.float64))
    for name in ("shift_x", "shift_y"):
        moved = getattr(scene, name)
        arrays[name] = np.zeros_like(arrays["psf_fwhm"]) if moved is None else moved
    light, source = ({f.name: np.asarray(getattr(part, f.name)) for f in fields(Light)}
                     for part in (scene.light, scene.source))  # fmt: skip
    if not light["n"].shape[1]:
        light = {name: _nothing(values) for name, values in light.items()}
    narrowest = np.min(arrays["psf_fwhm"] * arrays["psf_sigma"][:, :1], axis=1)
    arrays |= _gaussian_terms(light, narrowest)
    arrays |= {f"light_{name}": values for name, values in light.items() if name != "n"}
    if scene.psf_image is not None:
        arrays["psf_spectrum"] = transform_psf(np.asarray(scene.psf_image, np.float64), size)
    reach = 0.5 * size * pixel_scale + 3.0 * np.max(arrays["psf_fwhm"], axis=1)
    reach = reach + np.maximum(np.abs(arrays["x_lens"]), np.abs(arrays["y_lens"]))
    arrays["window"] = bound_window(arrays, source, reach)
    source["b_n"], source["norm"] = sersic_constants(source["n"])
    arrays |= {f"source_{name}": values for name, values in source.items()}
    packed = {name: np.asarray(values, keras.config.floatx()) for name, values in arrays.items()}
    packed["term_owner"] = arrays["term_owner"].astype(np.int32)
    return _fit_terms(packed), tuple(_form(source["n"][:, c]) for c in range(source["n"].shape[1]))


def draw(
    arrays: Mapping[str, Any], profiles: tuple[str, ...], size: int, pixel_scale: float
) -> tuple[Any, Any]:
    """Return the noise-free images of the foreground and of the lensed source, from packed arrays.

    Pure, differentiable in the physical parameters, and fit to be compiled.

    Parameters
    ----------
    arrays, profiles
        As returned by `pack`.
    size : int
        Side of the stamps [px].
    pixel_scale : float
        [arcsec]

    Returns
    -------
    tuple of two tensors (n, size, size, b)
        nJy per pixel, PSF-convolved and integrated over the pixels.
    """
    arrays = {name: ops.convert_to_tensor(value) for name, value in arrays.items()}
    psf_sigma = arrays["psf_fwhm"][:, :, None] * arrays["psf_sigma"][:, None, :]
    shift = (arrays["shift_x"], arrays["shift_y"])
    light = _gaussian_light(arrays, pixel_scale)
    shift_px = (arrays["shift_x"] / pixel_scale, arrays["shift_y"] / pixel_scale)
    cells = None
    if profiles:
        source = {name[7:]: value for name, value in arrays.items() if name.startswith("source_")}
        deflector = Deflector(**{field.name: arrays[field.name] for field in fields(Deflector)})
        cells = trace_source(deflector, arrays["window"], source, profiles)
    if "psf_spectrum" not in arrays:
        foreground = expose_gaussians(light, psf_sigma / pixel_scale, arrays["psf_weight"], shift_px, size)
        if cells is None:
            arcs = ops.zeros_like(foreground)
        else:
            arcs = expose_cells(cells, psf_sigma, arrays["psf_weight"], shift, size, pixel_scale)
    else:
        psf = arrays["psf_spectrum"]
        frame = psf.shape[-1]
        # what is as wide as the frame would wrap round; the PSF's own shape is nothing to it
        wide = light["variance"] > (frame / 8.0) ** 2
        near, far = ({**light, "flux": light["flux"] * ops.cast(chosen, psf.dtype)[:, :, None]}
                     for chosen in (ops.logical_not(wide), wide))  # fmt: skip
        spectrum = transform_gaussians(near, frame)
        lensed = (ops.zeros_like(spectrum[0]),) * 2
        if cells is not None:
            lensed = transform_cells(cells, pixel_scale, frame)
        foreground, arcs = see_through(spectrum, lensed, psf, shift_px, size)
        foreground = foreground + expose_gaussians(
            far, psf_sigma / pixel_scale, arrays["psf_weight"], shift_px, size
        )
    return ops.moveaxis(foreground, 1, -1), ops.moveaxis(arcs, 1, -1)


def render(scene: Scene, size: int, pixel_scale: float, batch: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the noise-free images of the foreground and of the lensed source, two arrays (n, size, size, b).

    Compiled by XLA, once for each size of stamp, number of bands and of components. Scenes are drawn
    `batch` at a time, the last batch filled up with copies, so that memory stays flat and a scene is the
    same in any company.

    Parameters
    ----------
    scene : Scene
        NumPy arrays.
    size : int
        Side of the stamps [px].
    pixel_scale : float
        [arcsec]; the PSF's FWHM should span 1.6 pixels or more.
    batch : int
        Scenes drawn at once; 0 = as many as the device likes.
    """
    batch = batch or _batch()
    arrays, profiles = pack(scene, size, pixel_scale)
    count = len(arrays["theta_e"])
    # alike scenes together, so that few are drawn with more Gaussians than they have
    order = np.argsort(np.sum(arrays["term_weight"] != 0.0, axis=1), kind="stable")
    foreground = np.empty((count, size, size, arrays["psf_fwhm"].shape[1]), keras.config.floatx())
    arcs = np.empty_like(foreground)
    for start in range(0, count, batch):
        rows = order[np.minimum(np.arange(start, start + batch), count - 1)]
        part = _fit_terms({name: array[rows] for name, array in arrays.items()})
        shapes = tuple((name, array.shape) for name, array in part.items())
        foreground[rows], arcs[rows] = _compiled(profiles, size, pixel_scale, shapes)(part)
    return foreground, arcs


class _Renderer(keras.Model):
    """`draw` as a model without weights: Keras' one way to compile a function on every backend."""

    def __init__(self, *settings: Any):
        super().__init__(name="renderer")
        self.settings = settings

    def call(self, arrays: Mapping[str, Any]) -> tuple[Any, Any]:
        return draw(arrays, *self.settings)


@lru_cache(maxsize=64)
def _compiled(
    profiles: tuple[str, ...], size: int, pixel_scale: float, shapes: tuple[Any, ...]
) -> Callable[[Any], Any]:
    # one function for each set of shapes: TensorFlow would trace a second set with unknown ones
    renderer = _Renderer(profiles, size, pixel_scale)
    renderer.compile(jit_compile=True)
    return renderer.predict_on_batch


@lru_cache(maxsize=1)
def _batch() -> int:
    """Return how many scenes to draw at once: what a core's cache holds, or what fills an accelerator."""
    on_cpu = all("cpu" in device.lower() for device in keras.distribution.list_devices())
    return 16 if on_cpu else 1024


def _psf_terms(beta: np.ndarray) -> dict[str, np.ndarray]:
    """Return psf_sigma [FWHM] and psf_weight (n, m), as few terms as the PSFs at hand need."""
    values, inverse = np.unique(np.where(np.isfinite(beta), beta, np.inf), return_inverse=True)
    terms = [np.stack(parts) for parts in zip(*map(moffat_gaussians, values), strict=True)]
    needed = 1 if np.all(np.isinf(values)) else terms[0].shape[1]
    return {"psf_sigma": terms[0][inverse, :needed], "psf_weight": terms[1][inverse, :needed]}


def _gaussian_terms(light: Mapping[str, np.ndarray], narrowest: np.ndarray) -> dict[str, np.ndarray]:
    """Return the Gaussians of a foreground, (n, g) each: their component, sigma [r_eff] and weight.

    Those that the PSF, of sigma `narrowest` (n,) [arcsec], does not resolve are drawn as one; those without
    flux are left out. Rows are filled up with weight 0.
    """
    values, inverse = np.unique(light["n"], return_inverse=True)
    terms = [np.stack(parts) for parts in zip(*map(sersic_gaussians, values.tolist()), strict=True)]
    sigma, weight = (part[inverse.reshape(light["n"].shape)] for part in terms)  # (n, m, k)
    major = light["r_eff"] / np.sqrt(light["q"])
    hidden = sigma * major[:, :, None] < _UNRESOLVED * narrowest[:, None, None]
    lump = np.sum(weight * hidden, axis=2, keepdims=True)
    variance = np.sum(weight * hidden * sigma**2, axis=2, keepdims=True) / np.where(lump == 0.0, 1.0, lump)
    sigma = np.concatenate([np.sqrt(np.maximum(variance, 0.0)), sigma], axis=2)
    weight = np.concatenate([lump, np.where(hidden, 0.0, weight)], axis=2)
    weight = np.where(np.any(light["flux"] != 0.0, axis=-1)[:, :, None], weight, 0.0)
    count, components, terms_each = weight.shape
    owner = np.broadcast_to(np.arange(components)[:, None], (components, terms_each)).ravel()
    flat = (count, components * terms_each)
    sigma, weight = sigma.reshape(flat), weight.reshape(flat)
    order = np.argsort(weight == 0.0, axis=1, kind="stable")[:, : np.max(np.sum(weight != 0.0, axis=1))]
    return {
        "term_owner": owner[order],
        "term_sigma": np.take_along_axis(sigma, order, axis=1),
        "term_weight": np.take_along_axis(weight, order, axis=1),
    }


def _fit_terms(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return packed arrays with as many Gaussians as they need, in one of few sizes: each is compiled once."""
    needed = np.max(np.sum(arrays["term_weight"] != 0.0, axis=1), initial=1)
    size = next(size for size in _SIZES if size >= needed) if needed <= _SIZES[-1] else needed
    size = CHUNK * -(-size // CHUNK)
    out = dict(arrays)
    for name in ("term_owner", "term_sigma", "term_weight"):
        values = arrays[name][:, :size]
        out[name] = np.pad(values, ((0, 0), (0, size - values.shape[1])))
    return out


def _gaussian_light(arrays: Mapping[str, Any], pixel_scale: float) -> dict[str, Any]:
    """Return what `expose_gaussians` takes, from the components and their terms; lengths in pixels."""
    owner = arrays["term_owner"]
    part = {
        name: ops.take_along_axis(arrays[f"light_{name}"], owner, axis=1)
        for name in ("x", "y", "r_eff", "q", "phi")
    }
    flux = ops.take_along_axis(arrays["light_flux"], owner[:, :, None], axis=1)
    return {
        "x": part["x"] / pixel_scale, "y": part["y"] / pixel_scale, "q": part["q"], "phi": part["phi"],
        "variance": ops.square(arrays["term_sigma"] * part["r_eff"] / pixel_scale),
        "flux": flux * arrays["term_weight"][:, :, None],
    }  # fmt: skip


def _nothing(values: np.ndarray) -> np.ndarray:
    """Return one component without flux in place of none."""
    return np.full((values.shape[0], 1, *values.shape[2:]), 0.0 if values.ndim == 3 else 0.5)


def _form(n: np.ndarray) -> str:
    """Return the cheapest form that fits all of a component's Sersic indices."""
    if np.all(n == 1.0):
        return "exponential"
    return "gaussian" if np.all(n == 0.5) else "sersic"
