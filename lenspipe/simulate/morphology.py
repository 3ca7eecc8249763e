"""What galaxies look like in detail: knots, arms, bars, rings, tails, a star's spikes, all as Gaussians.

Every function is vectorised over objects and takes its own uniform numbers `u` (n, k). Positions, angles
and radii are those of `render.Light`, lengths in arcsec.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import gammaincinv, ndtri

from lenspipe.core.survey import FWHM_PER_SIGMA
from lenspipe.lensing.light import EXPONENTIAL_RADIUS
from lenspipe.simulate.colours import k_correction
from lenspipe.simulate.render import Light

#: Star-forming knots on a source: how many, and what share of the reddest band's light they have at most.
KNOTS, KNOT_SHARE = 3, 0.45
#: Half-light radius of the smallest knot and bulge [arcsec], some 150 pc: smaller ones would have to be traced on a
#: finer grid than any seeing shows.
LEAST_KNOT = 0.02
#: Most that a source's bulge has of that light.
BULGE_SHARE = 0.3
ARMS, ARM_KNOTS, RING_KNOTS, TAIL_KNOTS = 4, 9, 24, 8
#: HII regions on a spiral's arms, and what share of the arms' light in the reddest band they have.
REGIONS, REGION_SHARE = 16, 0.12
TRAIL_LENGTH, TRAIL_WIDTH = 60.0, 0.3  # arcsec

#: Columns of `u` that the functions need.
CLUMP_UNIFORMS, RING_UNIFORMS, TAIL_UNIFORMS = 2 + 4 * KNOTS, 28, 8
SPIRAL_UNIFORMS = 6 + ARMS * ARM_KNOTS + 4 * REGIONS


def join(lights: Sequence[Light]) -> Light:
    """Return the components of several lights as those of one."""
    return Light(
        **{name: np.concatenate([getattr(part, name) for part in lights], axis=1) for name in _NAMES}
    )


def place(light: Light, rows: np.ndarray, count: int) -> Light:
    """Return a light of some rows (m) as one of `count` rows, the others empty."""
    out = {}
    for name in _NAMES:
        values = np.asarray(getattr(light, name), dtype=float)
        out[name] = np.full((count, *values.shape[1:]), _EMPTY[name])
        out[name][rows] = values
    return Light(**out)


def sersic(x, y, r_eff, n, q, phi, flux) -> Light:
    """Return single components: arrays (m,) and flux (m, b)."""
    columns = np.broadcast_arrays(x, y, r_eff, n, q, phi)
    return Light(
        *(np.array(values, dtype=float)[:, None] for values in columns), np.asarray(flux)[:, None, :]
    )


def gaussians(x, y, width, q, phi, flux) -> Light:
    """Return Gaussians of half-light radius `width`: arrays that broadcast to (m, k), flux (m, k, b)."""
    columns = np.broadcast_arrays(x, y, width, np.full(flux.shape[:2], 0.5), q, phi)
    return Light(*(np.array(values, dtype=float) for values in columns), flux)


def clumpy_disc(
    x: np.ndarray, y: np.ndarray, r_eff: np.ndarray, q: np.ndarray, phi: np.ndarray, z: np.ndarray,
    flux: np.ndarray, bands: Sequence[str], u: np.ndarray, lumpiness: float = 1.0,
) -> Light:  # fmt: skip
    """Return an exponential disc, blue star-forming knots on it, and a redder bulge: 2 + KNOTS components.

    Together they have the flux (m, b) asked for. A quarter of the discs is smooth but for the bulge.

    Parameters
    ----------
    u : ndarray (m, CLUMP_UNIFORMS)
    lumpiness : float
        The knots' share of the light, over that of young galaxies: less in settled discs.
    """
    spare = u[:, 2:].reshape(len(u), 4, KNOTS)
    lumpy = np.clip(2.0 * u[:, 0] - 0.5, 0.0, 1.0)  # a quarter smooth, a quarter as lumpy as they get
    knots = (lumpiness * KNOT_SHARE * lumpy)[:, None]
    bulge = (BULGE_SHARE * u[:, 1] ** 2)[:, None]
    knots, bulge = knots * _tint("starburst", "spiral", bands, z), bulge * _tint("early", "spiral", bands, z)
    total = np.maximum((knots + bulge) / 0.8, 1.0)  # the disc keeps a fifth at least
    knots, bulge = knots / total, bulge / total
    each = (0.2 + spare[:, 3]) / np.sum(0.2 + spare[:, 3], axis=1, keepdims=True)
    # gammaincinv(2, u) is the radius of an exponential disc in scale lengths
    radius = r_eff[:, None] * gammaincinv(2.0, 0.9 * spare[:, 0]) / EXPONENTIAL_RADIUS
    dx, dy = _on_ellipse(radius, 2.0 * np.pi * spare[:, 1], q[:, None], phi[:, None])
    width = np.maximum((r_eff * np.sqrt(q))[:, None] * (0.08 + 0.15 * spare[:, 2]), LEAST_KNOT)
    return join(
        [
            sersic(x, y, r_eff, 1.0, q, phi, flux * (1.0 - knots - bulge)),
            gaussians(
                x[:, None] + dx, y[:, None] + dy, width, 0.8, 0.0, (flux * knots)[:, None] * each[:, :, None]
            ),
            sersic(x, y, np.maximum(0.25 * r_eff, LEAST_KNOT), 1.0, np.maximum(q, 0.6), phi, flux * bulge),
        ]
    )


def spiral(
    x: np.ndarray, y: np.ndarray, r_eff: np.ndarray, q: np.ndarray, phi: np.ndarray, z: np.ndarray,
    flux: np.ndarray, bands: Sequence[str], u: np.ndarray,
) -> Light:  # fmt: skip
    """Return a disc with logarithmic arms, two or four of them, HII regions on these, and half the time a bar.

    Parameters
    ----------
    u : ndarray (m, SPIRAL_UNIFORMS)
    """
    spare = u[:, 6 : 6 + ARMS * ARM_KNOTS].reshape(len(u), ARMS, ARM_KNOTS)
    count = np.where(u[:, 0] < 0.65, 2, ARMS)
    barred = u[:, 1] < 0.5
    pitch = np.radians(13.0 + 20.0 * u[:, 2])
    handed = np.where(u[:, 3] < 0.5, -1.0, 1.0)
    arms = ((0.2 + 0.3 * u[:, 4])[:, None]) * _tint("starburst", "spiral", bands, z)
    bar = np.where(barred, 0.18, 0.0)[:, None] * _tint("early", "spiral", bands, z)
    total = np.maximum((arms + bar) / 0.8, 1.0)
    arms, bar = arms / total, bar / total
    # equal steps in ln r from the bar's end outward, brightness falling as the disc's
    step = np.linspace(0.0, 1.0, ARM_KNOTS)[None, None, :]
    radius = r_eff[:, None, None] * 0.45 * np.exp(1.5 * step + 0.06 * (2.0 * spare - 1.0))
    start = 2.0 * np.pi * (u[:, 5, None] + np.arange(ARMS) / count[:, None])
    angle = start[:, :, None] + (handed / np.tan(pitch))[:, None, None] * 1.5 * step
    weight = (0.1 + 1.8 * spare**2) * np.exp(-0.8 * radius / r_eff[:, None, None]) * radius
    weight = np.where((np.arange(ARMS) < count[:, None])[:, :, None], weight, 0.0)
    share = weight / weight.sum(axis=(1, 2), keepdims=True)
    dx, dy = _on_ellipse(radius, angle, q[:, None, None], phi[:, None, None])
    # HII regions: bluer than the arms, of whose light they are a part
    young = np.minimum(REGION_SHARE * _tint("starburst", "spiral", bands, z), 0.35)
    knots = (flux * arms * (1.0 - young))[:, None, None] * share[:, :, :, None]
    which, place, size, light = np.moveaxis(u[:, -4 * REGIONS :].reshape(len(u), 4, REGIONS), 1, 0)
    arm = (which * count[:, None]).astype(int)
    r_region = r_eff[:, None] * 0.45 * np.exp(1.5 * place)
    angle = np.take_along_axis(start, arm, axis=1) + (handed / np.tan(pitch))[:, None] * 1.5 * place
    x_region, y_region = _on_ellipse(r_region, angle, q[:, None], phi[:, None])
    bright = (0.2 + light) * np.exp(-0.8 * r_region / r_eff[:, None]) * r_region
    bright = (flux * arms * young)[:, None] * (bright / bright.sum(axis=1, keepdims=True))[:, :, None]
    width = (r_eff * np.sqrt(q))[:, None] * (0.03 + 0.06 * size)
    bar_angle = np.degrees(u[:, 5] * 2.0 * np.pi)  # the arms begin at its ends
    bar_phi = phi + np.degrees(np.arctan(q * np.tan(np.radians(bar_angle))))
    return join(
        [
            sersic(x, y, r_eff, 1.0, q, phi, flux * (1.0 - arms - bar)),
            *(_chain(x, y, dx[:, k], dy[:, k], 0.15 * radius[:, k], knots[:, k]) for k in range(ARMS)),
            gaussians(x[:, None] + x_region, y[:, None] + y_region, width, 0.9, 0.0, bright),
            sersic(x, y, 0.22 * r_eff, 0.5, 0.3, bar_phi, flux * bar),
        ]
    )


def ring(
    x: np.ndarray, y: np.ndarray, radius: np.ndarray, q: np.ndarray, phi: np.ndarray, flux: np.ndarray, u: np.ndarray
) -> Light:  # fmt: skip
    """Return an elliptical ring of RING_KNOTS Gaussians, brighter on one side.

    Parameters
    ----------
    radius : ndarray (m,)
        On the intermediate axis.
    u : ndarray (m, RING_UNIFORMS)
    """
    angle = 2.0 * np.pi * (np.arange(RING_KNOTS) / RING_KNOTS + u[:, :1])
    side = 1.0 + 0.7 * u[:, 1:2] * np.cos(angle - 2.0 * np.pi * u[:, 2:3])
    weight = side * (1.0 + (2.0 * u[:, 4:28] - 1.0) * u[:, 3:4])
    share = weight / weight.sum(axis=1, keepdims=True)
    dx, dy = _on_ellipse(radius[:, None], angle, q[:, None], phi[:, None])
    width = 0.16 * radius[:, None]  # 0.26 lie between knots: smooth
    return gaussians(x[:, None] + dx, y[:, None] + dy, width, 1.0, 0.0, flux[:, None] * share[:, :, None])


def tails(
    x: np.ndarray, y: np.ndarray, x_other: np.ndarray, y_other: np.ndarray, flux: np.ndarray, u: np.ndarray
) -> Light:
    """Return two tidal tails of TAIL_KNOTS Gaussians each, from either galaxy away from the other.

    Parameters
    ----------
    u : ndarray (m, TAIL_UNIFORMS)
    """
    separation = np.hypot(x_other - x, y_other - y)
    outward = np.arctan2(y_other - y, x_other - x)
    step = (np.arange(TAIL_KNOTS) + 0.5) / TAIL_KNOTS
    parts = []
    for k, (x0, y0, away) in enumerate(((x, y, outward + np.pi), (x_other, y_other, outward))):
        length = separation * (0.8 + 1.2 * u[:, k])
        curl = (1.0 + 1.5 * u[:, 2 + k]) * np.where(u[:, 4] < 0.5, -1.0, 1.0)
        turn = (away - 0.5 * curl)[:, None] + curl[:, None] * step
        # the integral of a direction that turns evenly: an arc
        dx = length[:, None] * np.cumsum(np.cos(turn), axis=1) / TAIL_KNOTS
        dy = length[:, None] * np.cumsum(np.sin(turn), axis=1) / TAIL_KNOTS
        share = np.exp(-1.5 * step) / np.exp(-1.5 * step).sum() * (u[:, 5:6] if k else 1.0 - u[:, 5:6])
        width = length[:, None] * (0.05 + 0.06 * step)
        parts.append(_chain(x0, y0, dx, dy, width, flux[:, None] * share[:, :, None]))
    return join(parts)


def spikes(x: np.ndarray, y: np.ndarray, flux: np.ndarray, u: np.ndarray) -> Light:
    """Return what the telescope makes of a bright star: aureole, two crossed spikes, a ghost in one band.

    Parameters
    ----------
    u : ndarray (m, 6)
    """
    n_bands = flux.shape[1]
    tilt = (90.0 * u[:, 0])[:, None] + np.array([0.0, 90.0, 0.0, 90.0])
    length = np.array([4.0, 4.0, 12.0, 12.0])[None, :] * (0.6 + 0.8 * u[:, 1:2])
    width = 0.25
    lines = gaussians(
        x[:, None], y[:, None], np.sqrt(length * width), width / length, tilt,
        flux[:, None] * np.array([4e-3, 4e-3, 3e-3, 3e-3])[:, None],
    )  # fmt: skip
    glow = flux[:, None] * np.array([0.05, 0.02])[:, None]
    aureole = gaussians(x[:, None], y[:, None], np.array([[1.5, 4.0]]), 1.0, 0.0, glow)
    # a reflected pupil: a disc less a smaller one of the same brightness, so that the hole is dark
    away, radius = 3.0 + 5.0 * u[:, 2], 1.5 + 2.0 * u[:, 3]
    band = np.arange(n_bands) == (u[:, 5:6] * n_bands).astype(int)
    pupil = (flux * band)[:, None] * 3e-3 * np.array([1.0, -0.36])[:, None]
    dx, dy = away * np.cos(2.0 * np.pi * u[:, 4]), away * np.sin(2.0 * np.pi * u[:, 4])
    ghost = gaussians(
        (x + dx)[:, None], (y + dy)[:, None], radius[:, None] * np.array([1.0, 0.6]), 1.0, 0.0, pupil
    )
    return join([lines, aureole, ghost])


def trail(x: np.ndarray, y: np.ndarray, peak: np.ndarray, psf_fwhm: np.ndarray, u: np.ndarray) -> Light:
    """Return the trail of a satellite or meteor near a position: a line across the stamp.

    Parameters
    ----------
    peak : ndarray (m, b)
        Surface brightness along the line as the PSF leaves it [nJy / arcsec^2].
    psf_fwhm : ndarray (m, b)
        [arcsec]
    u : ndarray (m, 2)
    """
    length, width = (half / np.sqrt(2.0 * np.log(2.0)) for half in (TRAIL_LENGTH, TRAIL_WIDTH))
    flux = peak * 2.0 * np.pi * length * np.hypot(width, psf_fwhm / FWHM_PER_SIGMA)
    offset, tilt = 2.0 * ndtri(0.02 + 0.96 * u[:, 0]), 180.0 * u[:, 1]
    dx, dy = offset * np.cos(np.radians(tilt)), offset * np.sin(np.radians(tilt))
    return sersic(
        x + dx, y + dy, np.sqrt(TRAIL_LENGTH * TRAIL_WIDTH), 0.5, TRAIL_WIDTH / TRAIL_LENGTH, tilt, flux
    )


_NAMES = ("x", "y", "r_eff", "n", "q", "phi", "flux")
_EMPTY: Mapping[str, float] = {"x": 0.0, "y": 0.0, "r_eff": 1.0, "n": 0.5, "q": 1.0, "phi": 0.0, "flux": 0.0}


def _tint(template: str, other: str, bands: Sequence[str], z: np.ndarray) -> np.ndarray:
    """Return the flux of one template over another's in each band (m, b), 1 in the reddest."""
    ratio = [k_correction(other, band, z) - k_correction(template, band, z) for band in bands]
    magnitudes = np.stack(ratio, axis=-1)
    return 10 ** (0.4 * (magnitudes - magnitudes[:, -1:]))


def _chain(
    x: np.ndarray, y: np.ndarray, dx: np.ndarray, dy: np.ndarray, width: np.ndarray, flux: np.ndarray
) -> Light:
    """Return Gaussians along a curve, offsets (m, k) from (x, y), stretched so that they run into each other."""
    along_x, along_y = np.gradient(dx, axis=1), np.gradient(dy, axis=1)
    length = np.maximum(0.5 * np.hypot(along_x, along_y), width)
    tilt = np.degrees(np.arctan2(along_y, along_x)) - 90.0
    return gaussians(x[:, None] + dx, y[:, None] + dy, np.sqrt(length * width), width / length, tilt, flux)


def _on_ellipse(radius, angle, q, phi) -> tuple[np.ndarray, np.ndarray]:
    """Return offsets of points at `angle` from the major axis; phi is the axis' angle [deg, from +y]."""
    major, minor = radius / np.sqrt(q) * np.cos(angle), radius * np.sqrt(q) * np.sin(angle)
    turn = np.radians(phi)
    return -major * np.sin(turn) - minor * np.cos(turn), major * np.cos(turn) - minor * np.sin(turn)
