"""PSFEx models and their files, as PSFEx writes them."""

from __future__ import annotations

import numpy as np
from astropy.io import fits

from lenspipe.core.types import PsfModel


def make_model(degree: int, step: float, side: int = 41, centre=(2000.0, 2000.0)) -> PsfModel:
    """Return a round star whose width grows along x and y, as far as the degree lets it."""
    offsets = (np.arange(side) - side // 2) * step
    r2 = offsets[:, None] ** 2 + offsets[None, :] ** 2

    def star(sigma: float) -> np.ndarray:
        image = np.exp(-0.5 * r2 / sigma**2)
        return image / image.sum()

    wider = star(2.2) - star(1.9)
    images = {(0, 0): star(1.9), (1, 0): 0.5 * wider, (0, 1): 0.3 * wider}
    images |= {(2, 0): 0.1 * wider, (1, 1): -0.1 * wider, (0, 2): 0.05 * wider}
    terms = [(i, j) for j in range(degree + 1) for i in range(degree + 1 - j)]
    return PsfModel(np.array([images[term] for term in terms]), degree, centre, centre, step)


def write_psfex(path, model: PsfModel) -> None:
    """Write a model as PSFEx does: a table of one row."""
    shape = model.basis.shape
    column = fits.Column(
        "PSF_MASK",
        f"{model.basis.size}E",
        dim=str(shape[::-1]).replace(" ", ""),
        array=model.basis[None].astype(np.float32),
    )
    table = fits.BinTableHDU.from_columns([column], name="PSF_DATA")
    header = table.header
    header["POLNAXIS"] = 2
    for axis, name in enumerate(("X_IMAGE", "Y_IMAGE")):
        header[f"POLGRP{axis + 1}"], header[f"POLNAME{axis + 1}"] = 1, name
        header[f"POLZERO{axis + 1}"], header[f"POLSCAL{axis + 1}"] = model.zero[axis], model.scale[axis]
    header["POLNGRP"], header["POLDEG1"] = 1, model.degree
    header["PSF_FWHM"], header["PSF_SAMP"], header["PSFNAXIS"] = 4.0, model.step, 3
    for axis, length in enumerate(shape[::-1]):
        header[f"PSFAXIS{axis + 1}"] = length
    table.writeto(path)
