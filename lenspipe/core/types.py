"""The frozen records that layers hand to each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Unit:
    """What can be done alone: a tile, a shard, a fold.

    Parameters
    ----------
    name : str
        Unique within its stage; names the unit's outputs and its done-marker.
    payload : mapping
        What `Stage.work` needs to know, JSON-able: paths, ranges, never pixels.
    inputs : tuple of str
        Files read; their fingerprints are part of the unit's key.
    settings : mapping
        The configuration that the result depends on; part of the unit's key.
    """

    name: str
    payload: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Done:
    """What a unit of work hands back: counts for the summary and the files it wrote."""

    outputs: tuple[Path, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    quarantined: tuple[Quarantined, ...] = ()


#: Reason code of a file that is not read because the same one stands beside it in another form.
DUPLICATE = "duplicate_file"


@dataclass(frozen=True)
class Quarantined:
    """One row of the quarantine table: an input that was left out, and why."""

    path: str
    reason: str
    detail: str = ""
    hdu: str = ""
    unit: str = ""
    object: str = ""


@dataclass(frozen=True)
class Stage:
    """A step of the pipeline, as data.

    `plan(config, store)` lists the units; `work(unit, config, store)` reads, calls a pure function
    and writes one unit; `gather(config, store)`, where there is one, joins what the units wrote (a
    model bundle of its folds, one truth table of its shards) once all of them are done. `writes` and
    `reads` name datasets; `counts` is the name of the count that says how many objects came out.
    `disposable` outputs are removed before a unit is done again or when it is planned no more; training
    sets and networks, which cost hours, are overwritten in place instead, and removed only by --force. `rates`
    names quotients of two counts, reported in per cent. `resources` says what a unit occupies of a worker that
    offers it, ``{"GPU": 1}``: as many run there at once as there are.
    """

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    plan: Callable[..., list[Unit]]
    work: Callable[..., Done]
    gather: Callable[..., Done] | None = None
    counts: str = ""
    rates: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    disposable: bool = True
    resources: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ImageFile:
    """A file of an image set, with what its name says: the band and what the pixels mean, if anything.

    A file of a collection's table also has the `object` that it shows, and its place on the sky [deg] where the
    table gives one.
    """

    path: str
    band: str = ""
    role: str = ""
    object: str = ""
    ra: float | None = None
    dec: float | None = None


@dataclass(frozen=True)
class ImageSet:
    """The files that together are one tile, one cutout or one collection of cutouts.

    `duplicates` are paths of the same files in another form, ``T_g.fits.gz`` beside ``T_g.fits``: they are not read.
    """

    name: str
    files: tuple[ImageFile, ...]
    duplicates: tuple[str, ...] = ()


@dataclass(frozen=True)
class RawBand:
    """Pixels of a part of a band as they stand in the files, or stamps cut from them: (..., y, x).

    `noise` holds the noise map, if there is one, `mask` the bit mask, `sky` the background to be
    subtracted [the file's units].
    """

    data: np.ndarray
    noise: np.ndarray | None = None
    mask: np.ndarray | None = None
    sky: np.ndarray | None = None


@dataclass(frozen=True)
class PsfModel:
    """A PSF that varies over an image, as PSFEx describes it (Bertin 2011, ADASS XX, 435).

    Parameters
    ----------
    basis : ndarray (n, k, k)
        One image for each term x^i y^j, i + j <= degree, i running fastest; n = (degree + 1)(degree + 2) / 2.
    degree : int
    zero, scale : (x, y)
        A position in pixels, counted from 1, enters the polynomial as (position - zero) / scale.
    step : float
        Pixels of the image per pixel of the basis.
    """

    basis: np.ndarray
    degree: int
    zero: tuple[float, float]
    scale: tuple[float, float]
    step: float


@dataclass(frozen=True)
class Calibration:
    """What turns a band's pixels into nJy.

    Parameters
    ----------
    band, path : str
    njy_per_count : float
    noise_kind : str
        What the noise map holds: ``weight`` (inverse variance), ``variance``, ``rms``; empty = there is none.
    bad_bits : int or None
        Mask bits that make a pixel unusable; None = any.
    saturation : float
        Pixels of so much are saturated [the file's units]; inf where it is not known.
    wcs : astropy.wcs.WCS or None
        None for a stamp without sky coordinates.
    pixel_scale, psf_fwhm : float
        arcsec per pixel; arcsec.
    electrons_per_njy : float
        Gain.
    flags : int
        Flag bits of `core.schema.FLAGS` that hold for the whole band.
    noise : float
        Noise of an empty pixel, used where there is no noise map [nJy].
    sky : float or None
        Constant background [the file's units]; None where it has to be measured as a map.
    psf_image : ndarray (k, k), float32, optional
        A star on the band's pixels: k odd, its centre on the middle one, sum 1. None where the survey gives none.
    """

    band: str
    path: str
    njy_per_count: float
    noise_kind: str
    bad_bits: int | None
    saturation: float
    wcs: Any
    pixel_scale: float
    psf_fwhm: float
    electrons_per_njy: float
    flags: int = 0
    noise: float = float("nan")
    sky: float | None = 0.0
    psf_image: np.ndarray | None = None


@dataclass(frozen=True)
class BandImage:
    """One band of a tile or cutout, calibrated.

    Parameters
    ----------
    band : str
    flux : ndarray (y, x), float32
        nJy per pixel; bad pixels are NaN.
    sigma : ndarray (y, x), float32
        Noise [nJy per pixel]; bad pixels are inf.
    wcs : astropy.wcs.WCS or None
        None for a stamp without sky coordinates.
    pixel_scale : float
        arcsec per pixel.
    psf_fwhm : float
        arcsec.
    saturated : ndarray (y, x), bool
    flags : int
        Flag bits of `core.schema.FLAGS` that hold for the whole band.
    electrons_per_njy : float
        Gain; NaN where it is not known.
    psf_image : ndarray (k, k), float32, optional
        A star on the band's pixels: k odd, its centre on the middle one, sum 1. None where the survey gives none.
    """

    band: str
    flux: np.ndarray
    sigma: np.ndarray
    wcs: Any
    pixel_scale: float
    psf_fwhm: float
    saturated: np.ndarray
    flags: int = 0
    electrons_per_njy: float = float("nan")
    psf_image: np.ndarray | None = None


@dataclass(frozen=True)
class StampFormat:
    """What stamps a run works on: bands in order, side [px] and pixel scale [arcsec]."""

    bands: tuple[str, ...]
    size: int
    pixel_scale: float
