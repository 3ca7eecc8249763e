"""What is to be drawn, as astronomers say it (`Scene`) and as flat arrays (`pack`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import keras
import numpy as np

from lenspipe.lensing.gaussians import moffat_gaussians, sersic_gaussians
from lenspipe.lensing.light import sersic_constants
from lenspipe.lensing.raytrace import Deflector
from lenspipe.simulate.arcs import bound_window
from lenspipe.simulate.foreground import CHUNK
from lenspipe.simulate.spectrum import transform_psf

#: Gaussians narrower than this share of one of the PSF's are drawn as one of their mean width, and so are the PSF's
#: that are so much narrower than a Gaussian of the light.
_UNRESOLVED = 0.3
#: Gaussians of one pass of the renderer; scenes of up to the smaller number take the smaller pass.
_PASSES = (16, 64)


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
        Axis ratio, above 0, and position angle [deg, counter-clockwise from +y].
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
    psf_beta : array (n, b) or (n,)
        Moffat index; inf or NaN = Gaussian. (n,): the same in all bands.
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

    Raises
    ------
    ValueError
        If an axis ratio of a lens or of a component that shines is not above 0 (a line has no image), or a
        radius is below 0; the message names the object.
    """
    arrays: dict[str, Any] = {field.name: getattr(scene, field.name) for field in fields(Deflector)}
    arrays["psf_fwhm"] = np.asarray(scene.psf_fwhm, np.float64)
    beta = np.asarray(scene.psf_beta, np.float64)
    arrays |= _psf_terms(np.broadcast_to(beta.reshape(len(beta), -1), arrays["psf_fwhm"].shape))
    for name in ("shift_x", "shift_y"):
        moved = getattr(scene, name)
        arrays[name] = np.zeros_like(arrays["psf_fwhm"]) if moved is None else moved
    light, source = ({f.name: np.asarray(getattr(part, f.name)) for f in fields(Light)}
                     for part in (scene.light, scene.source))  # fmt: skip
    light, source = _checked(light, "light"), _checked(source, "source")
    _refuse(
        "lens", "q", "above 0", scene.q, (np.asarray(scene.theta_e) != 0.0) & ~(np.asarray(scene.q) > 0.0)
    )
    if not light["n"].shape[1]:
        light = {name: _nothing(values) for name, values in light.items()}
    sigma, weight = arrays["psf_sigma"], arrays["psf_weight"]
    if (
        scene.psf_image is not None
    ):  # the PSF comes later; of its profile the narrowest tells what it resolves
        sigma, weight = sigma[:, :, :1], np.ones_like(weight[:, :, :1])
    arrays |= _blurred_terms(light, arrays["psf_fwhm"], sigma, weight)
    arrays |= {f"light_{name}": light[name] for name in _COMPONENT}
    if scene.psf_image is not None:
        arrays["psf_spectrum"] = transform_psf(np.asarray(scene.psf_image, np.float64), size)
    reach = 0.5 * size * pixel_scale + 3.0 * np.max(arrays["psf_fwhm"], axis=1)
    reach = reach + np.maximum(np.abs(arrays["x_lens"]), np.abs(arrays["y_lens"]))
    arrays["window"] = bound_window(arrays, source, reach)
    source["b_n"], source["norm"] = sersic_constants(source["n"])
    if source["n"].shape[1]:
        arrays |= {f"source_{name}": values for name, values in source.items()}
    packed = {name: np.asarray(values, keras.config.floatx()) for name, values in arrays.items()}
    packed |= {name: arrays[name].astype(np.int32) for name in ("term_owner", "term_blur")}
    packed = choose_terms(packed, 0, packed["term_weight"].shape[1])
    return packed, tuple(_form(source["n"][:, c]) for c in range(source["n"].shape[1]))


def passes(arrays: Mapping[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    """Yield packed scenes with some of their Gaussians each, the lensed light with the first.

    All passes have one of few shapes, whatever the scenes hold, so that little has to be compiled.
    """
    needed = int(np.max(np.sum(arrays["term_weight"] != 0.0, axis=1), initial=1))
    step = _PASSES[0] if needed <= _PASSES[0] else _PASSES[1]
    for start in range(0, needed, step):
        part = choose_terms(arrays, start, step)
        owner = part["term_owner"]
        for name in _COMPONENT:  # a component for each Gaussian: their number is no shape any more
            values = part[f"light_{name}"]
            part[f"light_{name}"] = np.take_along_axis(
                values, owner.reshape(*owner.shape, *(1,) * (values.ndim - 2)), axis=1
            )
        part["term_owner"] = np.broadcast_to(np.arange(step, dtype=np.int32), owner.shape)
        if start:
            part = {name: value for name, value in part.items() if not name.startswith("source_")}
        yield part


#: What `draw` needs of a foreground component.
_COMPONENT = ("x", "y", "r_eff", "q", "phi", "flux")


def choose_terms(arrays: Mapping[str, np.ndarray], start: int, count: int) -> dict[str, np.ndarray]:
    """Return packed arrays with `count` of the Gaussians from `start` on, filled up to a multiple of `CHUNK`."""
    out = dict(arrays)
    size = CHUNK * -(-count // CHUNK)
    for name in ("term_owner", "term_blur", "term_sigma", "term_weight"):
        values = arrays[name][:, start : start + count]
        out[name] = np.pad(values, ((0, 0), (0, size - values.shape[1])))
    return out


def _psf_terms(beta: np.ndarray) -> dict[str, np.ndarray]:
    """Return psf_sigma [FWHM] and psf_weight (n, b, m) of indices (n, b), filled up with terms of weight 0."""
    values, inverse = np.unique(np.where(np.isfinite(beta), beta, np.inf), return_inverse=True)
    terms = [moffat_gaussians(value) for value in values]
    sigma, weight = np.ones((2, len(terms), max(len(part) for part, _ in terms)))
    weight[:] = 0.0
    for k, (widths, shares) in enumerate(terms):
        sigma[k, : len(widths)], weight[k, : len(widths)] = widths, shares
    inverse = inverse.reshape(beta.shape)
    return {"psf_sigma": sigma[inverse], "psf_weight": weight[inverse]}


def _blurred_terms(
    light: Mapping[str, np.ndarray], fwhm: np.ndarray, psf_sigma: np.ndarray, psf_weight: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the Gaussians of a foreground as a PSF of `fwhm` (n, b) and Gaussians (n, b, m) [FWHM] shows them.

    ``term_`` owner, sigma [r_eff] and weight (n, g) are a Gaussian's component, width and share of it, ``term_blur``
    which of ``blur_`` sigma [FWHM] and weight (n, b, 2 m) it is seen through: one of the PSF's Gaussians, narrowest
    first, or its first few together. Light that one of them does not resolve is drawn as one Gaussian of the mean
    width; those of them that are too narrow to change the shape of a Gaussian of the light are one blur of the mean
    width. Components without flux are left out, rows are filled up with weight 0.
    """
    values, inverse = np.unique(light["n"], return_inverse=True)
    terms = [np.stack(parts) for parts in zip(*map(sersic_gaussians, values.tolist()), strict=True)]
    sigma, weight = (part[inverse.reshape(light["n"].shape)] for part in terms)  # (n, c, k)
    weight = np.where(np.any(light["flux"] != 0.0, axis=-1)[:, :, None], weight, 0.0)
    lit = weight != 0.0
    root = np.sqrt(light["q"])[:, :, None]
    major, minor = (sigma * light["r_eff"][:, :, None] * factor for factor in (1.0 / root, root))
    total = np.cumsum(psf_weight, axis=-1)
    together = np.cumsum(psf_weight * psf_sigma**2, axis=-1) / np.where(total == 0.0, 1.0, total)
    blurs = np.concatenate([psf_sigma, np.sqrt(np.maximum(together, 0.0))], axis=-1)
    shares = np.concatenate([psf_weight, total], axis=-1)
    used, count = np.any(psf_weight != 0.0, axis=1), psf_sigma.shape[-1]
    low, high = (
        end(fwhm[:, :, None] * psf_sigma, axis=1) for end in (np.min, np.max)
    )  # (n, m), of all bands
    # how many of the PSF's Gaussians are nothing to one of the light: those count as one blur
    small = np.sum((high[:, None, None] < _UNRESOLVED * minor[..., None]) & used[:, None, None], axis=-1)
    parts = []
    for m in range(count):
        seen = lit & used[:, m][:, None, None] & (small <= m)
        hidden = seen & (major < _UNRESOLVED * low[:, m][:, None, None])
        lump = np.sum(weight * hidden, axis=2, keepdims=True)
        mean = np.sum(weight * hidden * sigma**2, axis=2, keepdims=True) / np.where(lump == 0.0, 1.0, lump)
        parts += [(np.sqrt(np.maximum(mean, 0.0)), lump, np.full(lump.shape, m)),
                  (sigma, np.where(seen & ~hidden, weight, 0.0), np.full(sigma.shape, m))]  # fmt: skip
    parts.append((sigma, np.where(lit & (small > 0), weight, 0.0), count + np.maximum(small, 1) - 1))
    sigma, weight, blur = (np.concatenate(each, axis=2) for each in zip(*parts, strict=True))
    owner = np.broadcast_to(np.arange(sigma.shape[1])[:, None], sigma.shape[1:]).ravel()
    sigma, weight, blur = (each.reshape(len(sigma), -1) for each in (sigma, weight, blur))
    order = np.argsort(weight == 0.0, axis=1, kind="stable")[:, : np.max(np.sum(weight != 0.0, axis=1))]
    sigma, weight, blur = (np.take_along_axis(each, order, axis=1) for each in (sigma, weight, blur))
    terms = {"term_owner": owner[order], "term_blur": blur, "term_sigma": sigma, "term_weight": weight}
    return terms | {"blur_sigma": blurs, "blur_weight": shares}


def _checked(light: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """Return components that can be drawn: those without flux have no shape that could be wrong."""
    lit = np.any(light["flux"] != 0.0, axis=-1)
    q, r_eff = light["q"], light["r_eff"]
    _refuse(name, "q", "above 0", q, lit & ~(q > 0.0))
    _refuse(name, "r_eff", "0 or more", r_eff, lit & ~(r_eff >= 0.0))
    return {**light, "q": np.where(lit, q, 1.0), "r_eff": np.where(lit, r_eff, 0.0)}


def _refuse(name: str, parameter: str, expected: str, values: Any, wrong: np.ndarray) -> None:
    if np.any(wrong):
        first = tuple(int(k) for k in np.argwhere(wrong)[0])
        where = f"object {first[0]}" + (f", component {first[1]}" if len(first) > 1 else "")
        received = np.broadcast_to(values, wrong.shape)[first]
        raise ValueError(f"{name}: {parameter} must be {expected}, received {received:g} for {where}")


def _nothing(values: np.ndarray) -> np.ndarray:
    """Return one component without flux in place of none."""
    return np.full((values.shape[0], 1, *values.shape[2:]), 0.0 if values.ndim == 3 else 0.5)


def _form(n: np.ndarray) -> str:
    """Return the cheapest form that fits all of a component's Sersic indices."""
    if np.all(n == 1.0):
        return "exponential"
    return "gaussian" if np.all(n == 0.5) else "sersic"
