"""Scenes for the renderer's tests, from scalars or lists, and the same for the oracles."""

from __future__ import annotations

import numpy as np

from lenspipe.simulate.render import Light, Scene

PIXEL = 0.263
GAIN, SKY = 12.5, 14.9  # DES i band: electrons per nJy, nJy per empty pixel
DEFLECTOR = ("theta_e", "q", "phi", "x_lens", "y_lens", "gamma_ext", "phi_ext")


def light(flux, x=0.0, y=0.0, r_eff=1.0, n=1.0, q=1.0, phi=0.0) -> Light:
    """Return one component an object, in one band; flux (n,), or (n, m) for m alike ones."""
    flux = np.asarray(flux, float)
    flux = flux.reshape(len(flux), -1)
    values = {"x": x, "y": y, "r_eff": r_eff, "n": n, "q": q, "phi": phi}
    columns = {k: np.reshape(v, (-1, 1)) if np.ndim(v) else v for k, v in values.items()}
    return Light(flux=flux[:, :, None], **{k: np.broadcast_to(v, flux.shape) for k, v in columns.items()})


def nothing(count: int) -> Light:
    """Return no components for `count` objects."""
    return light(np.zeros((count, 0)))


def scene(foreground: Light, source: Light, fwhm=0.88, beta=np.inf, psf_image=None, **deflector) -> Scene:
    """Return a scene; what is not given of the deflector is 0, and q = 1."""
    count = foreground.flux.shape[0]
    values = {
        name: np.broadcast_to(np.asarray(deflector.get(name, float(name == "q")), float), (count,))
        for name in DEFLECTOR
    }
    bands = foreground.flux.shape[2]
    return Scene(
        **values, light=foreground, source=source, psf_fwhm=np.full((count, bands), fwhm),
        psf_beta=np.full(count, beta), psf_image=psf_image,
    )  # fmt: skip


def component(part: Light, i: int) -> dict[str, float]:
    """Return the parameters of object i for the oracles."""
    return {name: float(getattr(part, name)[i, 0]) for name in ("x", "y", "r_eff", "n", "q", "phi")} | {
        "flux": float(part.flux[i, 0, 0])
    }
