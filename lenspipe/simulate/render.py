"""From the parameters of scenes to their noise-free images: one pure function on a batch.

Unlensed light is drawn as Gaussians (`foreground`), lensed light through a window of rays (`arcs`); both go
straight to the detector's pixels, in float32, without a convolution; through Fourier space (`spectrum`)
only where the PSF is an image. `python -m benchmarks.render` prints accuracy and speed beside lenstronomy and
GalSim.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import lru_cache
from typing import Any

import keras
import numpy as np

from lenspipe.lensing.raytrace import Deflector
from lenspipe.simulate.arcs import expose_cells, trace_source
from lenspipe.simulate.foreground import expose_gaussians
from lenspipe.simulate.packing import Light, Scene, pack, passes
from lenspipe.simulate.spectrum import see_through, transform_cells, transform_gaussians

__all__ = ["Light", "Scene", "draw", "pack", "render"]

ops: Any = keras.ops  # its annotations allow None everywhere


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
    psf_sigma = arrays["psf_fwhm"][:, :, None] * arrays["psf_sigma"]
    shift = (arrays["shift_x"], arrays["shift_y"])
    light = _gaussian_light(arrays, pixel_scale)
    shift_px = (arrays["shift_x"] / pixel_scale, arrays["shift_y"] / pixel_scale)
    cells = None
    if profiles:
        source = {name[7:]: value for name, value in arrays.items() if name.startswith("source_")}
        deflector = Deflector(**{field.name: arrays[field.name] for field in fields(Deflector)})
        cells = trace_source(deflector, arrays["window"], source, profiles)
    if "psf_spectrum" not in arrays:
        foreground = expose_gaussians(light, shift_px, size)
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
        far = _seen_through(far, psf_sigma / pixel_scale, arrays["psf_weight"])
        foreground = foreground + expose_gaussians(far, shift_px, size)
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
        first, *others = (
            _compiled(profiles if k == 0 else (), size, pixel_scale, _shapes(part))(part)
            for k, part in enumerate(passes({name: array[rows] for name, array in arrays.items()}))
        )
        foreground[rows], arcs[rows] = sum((light for light, _ in others), first[0]), first[1]
    return foreground, arcs


def _shapes(arrays: Mapping[str, np.ndarray]) -> tuple[Any, ...]:
    return tuple((name, array.shape) for name, array in arrays.items())


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
    return 32 if on_cpu else 1024


def _gaussian_light(arrays: Mapping[str, Any], pixel_scale: float) -> dict[str, Any]:
    """Return what `expose_gaussians` takes, from the components and their terms; lengths in pixels."""
    owner = arrays["term_owner"]
    part = {
        name: ops.take_along_axis(arrays[f"light_{name}"], owner, axis=1)
        for name in ("x", "y", "r_eff", "q", "phi")
    }
    flux = ops.take_along_axis(arrays["light_flux"], owner[:, :, None], axis=1)
    seen = {
        name: ops.take_along_axis(
            ops.swapaxes(arrays[f"blur_{name}"], 1, 2), arrays["term_blur"][:, :, None], axis=1
        )
        for name in ("sigma", "weight")
    }
    return {
        "x": part["x"] / pixel_scale, "y": part["y"] / pixel_scale, "q": part["q"], "phi": part["phi"],
        "variance": ops.square(arrays["term_sigma"] * part["r_eff"] / pixel_scale),
        "flux": flux * arrays["term_weight"][:, :, None] * seen["weight"],
        "blur": ops.square(seen["sigma"] * arrays["psf_fwhm"][:, None, :] / pixel_scale),
    }  # fmt: skip


def _seen_through(light: Mapping[str, Any], sigma: Any, weight: Any) -> dict[str, Any]:
    """Return light seen through all Gaussians of a PSF, sigma [px] and weight (n, b, m)."""
    count = sigma.shape[2]
    terms = light["x"].shape[1]
    out = {name: ops.concatenate([values] * count, axis=1) for name, values in light.items()}
    sigma, weight = (ops.repeat(ops.swapaxes(values, 1, 2), terms, axis=1) for values in (sigma, weight))
    return {**out, "flux": out["flux"] * weight, "blur": ops.square(sigma)}
