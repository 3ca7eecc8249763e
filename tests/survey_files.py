"""Small tiles written exactly as the surveys write theirs: names, HDUs, units, masks, PSFs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from psfex_file import make_model, write_psfex

from lenspipe.core.survey import load_survey

SIZE = 260
#: x, y, nJy. The second has a pixel marked as bad, the third one with a mark that means no harm.
SOURCES = [(70.0, 80.0, 60000.0), (190.0, 90.0, 90000.0), (130.0, 190.0, 75000.0)]
NOISE = 20.0  # nJy
BAD, HARMLESS = (92, 194), (192, 134)  # row, column


def make_wcs(scale: float) -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [40.0, -20.0], [SIZE / 2, SIZE / 2]
    wcs.wcs.cd = np.array([[-1, 0], [0, 1]]) * scale / 3600
    return wcs


def make_pixels(band: str) -> np.ndarray:
    """Return an image [nJy] with Gaussian sources."""
    y, x = np.mgrid[:SIZE, :SIZE]
    image = np.random.default_rng(sum(map(ord, band))).normal(scale=NOISE, size=(SIZE, SIZE))
    for x0, y0, flux in SOURCES:
        image += flux / (2 * np.pi * 2.25) * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / 4.5)
    return image.astype(np.float32)


def make_mask(bad: int, harmless: int) -> np.ndarray:
    mask = np.zeros((SIZE, SIZE), np.int32)
    mask[BAD], mask[HARMLESS] = bad, harmless
    return mask


def write_tile(survey: str, folder: Path) -> None:
    """Write the images of a tile in the survey's model bands."""
    folder.mkdir()
    for band in load_survey(survey).model_bands:
        header = make_wcs(load_survey(survey).pixel_scale).to_header()
        globals()[f"_write_{survey}"](folder, band, make_pixels(band), header)


def _write_mef(path: Path, primary: dict, *hdus) -> None:
    fits.HDUList([fits.PrimaryHDU(header=fits.Header(primary)), *hdus]).writeto(path)


def _write_des(folder: Path, band: str, flux: np.ndarray, header: fits.Header) -> None:
    counts = flux * 10 ** (0.4 * (30.0 - 31.4))
    header["MAGZERO"], header["BAND"] = 30.0, "r"  # DES headers may name the wrong band
    header["FWHM"] = (9.9, "Average FWHM in pixels")
    sky = {"compression_type": "RICE_1", "quantize_level": 16.0, "quantize_method": 2, "dither_seed": 5}
    _write_mef(
        folder / f"DES0325-5206_r4969p01_{band}.fits.fz",
        {},
        fits.CompImageHDU(counts, header, name="SCI", **sky),
        fits.CompImageHDU(make_mask(1, 4), name="MSK", compression_type="RICE_1"),
        fits.CompImageHDU(np.full_like(counts, 1 / (NOISE * 10**-0.56) ** 2), name="WGT", **sky),
    )
    write_psfex(
        folder / f"DES0325-5206_r4969p01_{band}_psfcat.psf", make_model(2, 0.8, centre=(SIZE / 2, SIZE / 2))
    )


def _write_lsst(folder: Path, band: str, flux: np.ndarray, header: fits.Header) -> None:
    header["BUNIT"] = "nJy"
    bits = {
        "MP_BAD": 0,
        "MP_SAT": 1,
        "MP_CR": 3,
        "MP_EDGE": 4,
        "HIERARCH MP_DETECTED": 5,
        "HIERARCH MP_NO_DATA": 8,
    }
    _write_mef(
        folder / f"deep_coadd_5063_14_{band}_lsst_cells_v1_LSSTComCam_runs_DRP.fits",
        {"FILTER": f"{band}_03"},
        fits.CompImageHDU(flux, header, name="IMAGE", compression_type="GZIP_2", quantize_level=0),
        fits.CompImageHDU(make_mask(8, 32), fits.Header(bits), name="MASK", compression_type="GZIP_2"),
        fits.CompImageHDU(
            np.full_like(flux, NOISE**2), name="VARIANCE", compression_type="GZIP_2", quantize_level=0
        ),
    )


def _write_hsc(folder: Path, band: str, flux: np.ndarray, header: fits.Header) -> None:
    scale = 10 ** (0.4 * (27.0 - 31.4))
    bits = {
        "MP_BAD": 0,
        "MP_SAT": 1,
        "MP_CR": 3,
        "MP_EDGE": 4,
        "HIERARCH MP_DETECTED": 5,
        "HIERARCH MP_NO_DATA": 8,
    }
    _write_mef(
        folder / f"calexp-HSC-{band.upper()}-9813-4,4.fits",
        {"FLUXMAG0": 10 ** (0.4 * 27.0), "FILTER": f"HSC-{band.upper()}"},
        fits.ImageHDU(flux * scale, header, name="IMAGE"),
        fits.ImageHDU(make_mask(256, 32), fits.Header(bits), name="MASK"),
        fits.ImageHDU(np.full_like(flux, (NOISE * scale) ** 2), name="VARIANCE"),
    )
    (folder / f"det-HSC-{band.upper()}-9813-4,4.fits").write_bytes(b"a table that is no business of ours")


def _write_kids(folder: Path, band: str, flux: np.ndarray, header: fits.Header) -> None:
    scale = 10 ** (-0.4 * 31.4)
    stem = folder / f"KiDS_DR4.0_181.5_-2.5_{band}"
    fits.writeto(f"{stem}_sci.fits", flux * np.float32(scale), header)
    fits.writeto(f"{stem}_wei.fits", np.full(flux.shape, (NOISE * scale) ** -2, np.float32), header)
    fits.writeto(f"{stem}_msk.fits", make_mask(2, 16), header)


def _write_legacy(folder: Path, band: str, flux: np.ndarray, header: fits.Header) -> None:
    scale = 10 ** (0.4 * (22.5 - 31.4))
    header["BUNIT"] = "nanomaggy"

    def write(kind: str, pixels: np.ndarray, **cards) -> None:
        hdu = fits.CompImageHDU(
            pixels, fits.Header({**header, **cards}), compression_type="RICE_1", quantize_level=16.0
        )
        _write_mef(folder / f"legacysurvey-0350m100-{kind}.fits.fz", {}, hdu)

    write(f"image-{band}", flux * np.float32(scale))
    write(f"invvar-{band}", np.full(flux.shape, (NOISE * scale) ** -2, np.float32))
    write(f"psfsize-{band}", psf_sizes())
    write(f"depth-{band}", np.ones_like(flux))
    bits = {"MBIT_1": "BRIGHT", "MBIT_2": "SATUR_G", "MBIT_5": "ALLMASK_G", "MBIT_6": "ALLMASK_R"}
    if band == "g":
        masks = [
            fits.CompImageHDU(
                make_mask(32, 2), fits.Header(bits), name="MASKBITS", compression_type="HCOMPRESS_1"
            )
        ]
        masks += [fits.CompImageHDU(make_mask(7, 7), name=name) for name in ("WISEM1", "WISEM2")]
        _write_mef(folder / "legacysurvey-0350m100-maskbits.fits.fz", {}, *masks)


def psf_sizes() -> np.ndarray:
    """Return a map of FWHM [arcsec]: wider towards the right, in steps as the overlap of exposures makes them."""
    return np.tile(1.0 + 0.1 * (np.arange(SIZE) // 40), (SIZE, 1)).astype(np.float32)


def _write_cfhtls(folder: Path, band: str, flux: np.ndarray, header: fits.Header) -> None:
    scale = 10 ** (0.4 * (30.0 - 31.4))
    header.update({"MZP_VEGA": 30.098, "MZP_AB": 30.0, "FILTER": f"{band}.MP9401", "EXPTIME": 2501.0})
    stem = folder / f"CFHTLS_W_{band}_021800-050800_T0007_MEDIAN"
    weight = np.full(flux.shape, (NOISE * scale) ** -2, np.float32)
    weight[BAD] = 0.0
    fits.writeto(f"{stem}.fits", flux * np.float32(scale), header)
    fits.writeto(f"{stem}_weight.fits", weight, header)


def _write_euclid(folder: Path, band: str, flux: np.ndarray, header: fits.Header) -> None:
    scale = 10 ** (0.4 * (23.9 - 31.4))
    header.update({"MAGZERO": 23.9, "FILTER": "VIS"})
    names = ("BGSUB-MOSAIC-VIS", "MOSAIC-VIS-RMS", "MOSAIC-VIS-FLAG")
    pixels = (flux * np.float32(scale), np.full(flux.shape, NOISE * scale, np.float32), make_mask(8, 64))
    for k, (name, values) in enumerate(zip(names, pixels, strict=True)):
        fits.writeto(
            folder / f"EUC_MER_{name}_TILE102018211-A{k}CBD_20241018T14271{k}.276838Z_00.00.fits",
            values,
            header,
        )
    (folder / "EUC_MER_CATALOG-PSF-VIS_TILE102018211-A.fits").write_bytes(b"a catalogue")
