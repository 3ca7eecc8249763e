"""Surveys as data: pixel scale, bands, zero points, PSF, sky, layout of the files.

The packaged surveys and a user's survey are the same kind of TOML file; ``extends = "des"`` takes
another survey and changes what differs.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError, model_validator

from lenspipe.core.errors import ConfigError

#: AB zero point of a flux in nJy: m = 31.4 - 2.5 log10(f / nJy).
NJY_ZERO_POINT = 31.4
#: FWHM of a Gaussian, in units of its sigma.
FWHM_PER_SIGMA = math.sqrt(8.0 * math.log(2.0))


#: Of the noise: at lags of 1, 2, ... pixels along an axis, or rows [dy][dx] from lag (0, 0) on.
Correlation = tuple[float, ...] | tuple[tuple[float, ...], ...]


class Band(BaseModel):
    """One filter of a survey."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    psf_fwhm: float = Field(gt=0, description="median PSF FWHM of the coadd [arcsec]")
    exposure_blur: float = Field(
        1.0, gt=0, description="median PSF FWHM of one exposure, over that of the coadd"
    )
    psf_scatter: float = Field(0.1, ge=0, description="scatter of ln(PSF FWHM) of one exposure")
    sky_scatter: float = Field(0.15, ge=0, description="scatter of ln(sky noise) of one exposure")
    psf_beta: float = Field(float("inf"), gt=1, description="Moffat index; inf = Gaussian")
    sky: float = Field(description="sky surface brightness [AB mag per arcsec^2]")
    zero_point: float = Field(description="AB zero point of the survey's images [mag]")
    electrons_zero_point: float = Field(
        description="AB magnitude that gives one electron in one second [mag]"
    )
    exposure: float = Field(gt=0, description="total exposure time [s]")
    read_noise: float = Field(0.0, ge=0, description="read noise per exposure [electrons]")
    n_exposures: int = Field(1, ge=1, description="number of exposures in the coadd")
    full_well: float = Field(
        1e5, gt=0, description="charge at which a pixel of one exposure saturates [electrons]; sky included"
    )
    noise_correlation: Correlation | None = Field(
        None, description="correlation of the noise in this band, where it is not the survey's"
    )

    def electrons_per_njy(self) -> float:
        """Return the number of electrons that one nJy gives in the whole exposure."""
        return self.exposure * 10 ** (0.4 * (self.electrons_zero_point - NJY_ZERO_POINT))

    def sky_flux(self, pixel_scale: float) -> float:
        """Return the flux of the sky in a pixel [nJy]."""
        return 10 ** (0.4 * (NJY_ZERO_POINT - self.sky)) * pixel_scale**2

    def saturation(self, pixel_scale: float) -> float:
        """Return the flux, above the sky, that a pixel [nJy] holds: the full well of one exposure.

        Raises
        ------
        ConfigError
            If the sky alone fills the pixels.
        """
        room = self.full_well * self.n_exposures / self.electrons_per_njy() - self.sky_flux(pixel_scale)
        if room <= 0.0:
            raise ConfigError(
                f"the sky alone saturates an exposure of {self.exposure / self.n_exposures:g} s: full_well must "
                f"exceed its {self.full_well - room * self.electrons_per_njy() / self.n_exposures:.3g} electrons, "
                f"received {self.full_well:g}; raise n_exposures (now {self.n_exposures}) or full_well"
            )
        return room

    def exposure_fwhm(self) -> float:
        """Return the median PSF FWHM of a single exposure [arcsec]."""
        return self.psf_fwhm * self.exposure_blur

    def coadd_scatter(self, scatter: float) -> float:
        """Return what is left of an exposure's scatter in the mean of them all."""
        return scatter / self.n_exposures**0.5

    def sky_sigma(self, pixel_scale: float) -> float:
        """Return the noise of an empty pixel [nJy]: sky Poisson and read noise of all exposures."""
        gain = self.electrons_per_njy()
        sky_electrons = gain * self.sky_flux(pixel_scale)
        return (sky_electrons + self.n_exposures * self.read_noise**2) ** 0.5 / gain


class Layout(BaseModel):
    """How the survey names its files and extensions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pattern: tuple[str, ...] = Field(
        (),
        description="file name patterns such as '{tile}_{band}' or '{tile}_{role}_{band}'; * stands for anything, "
        "and a FITS suffix for any of them",
    )
    ignore: tuple[str, ...] = Field(
        (), description="patterns of files that are no images to be searched (models, depth maps, ...)"
    )
    band_names: dict[str, str] = Field(
        {}, description="what files and headers call a band, where not as this survey does: {HSC-G = 'g'}"
    )
    image: tuple[str, ...] = Field(("SCI", "IMAGE"), description="EXTNAMEs of pixels")
    weight: tuple[str, ...] = Field(("WGT", "WHT", "WEIGHT"), description="EXTNAMEs of inverse variance")
    variance: tuple[str, ...] = Field(("VARIANCE", "VAR"), description="EXTNAMEs of variance")
    rms: tuple[str, ...] = Field(("RMS", "ERR", "SIGMA"), description="EXTNAMEs of the noise's sigma")
    mask: tuple[str, ...] = Field(("MSK", "MASK", "DQ"), description="EXTNAMEs of bit masks")
    psf: tuple[str, ...] = Field(("PSF",), description="EXTNAMEs of PSF images")
    psf_size: tuple[str, ...] = Field(
        ("PSFSIZE",), description="EXTNAMEs of maps of the PSF's FWHM in arcsec"
    )
    psf_model: tuple[str, ...] = Field(("PSF_DATA",), description="EXTNAMEs of PSFEx models (tables)")
    bad_bits: NonNegativeInt | dict[str, NonNegativeInt] | None = Field(
        None, description="mask bits that make a pixel unusable, also a number a band; not given = any bit"
    )
    bad_planes: tuple[str, ...] = Field(
        ("BAD", "SAT", "CR", "EDGE", "NO_DATA"),
        description="the same by name, for masks whose header names their planes (MP_BAD = 0, or MBIT_0 = 'BAD'); "
        "{band} stands for the band in capitals",
    )
    zero_point_per_second: bool = Field(
        False,
        description="zero points of headers are short of 2.5 log10(EXPTIME): they are meant for one count per "
        "second, but the pixels hold those of the whole exposure",
    )


class Survey(BaseModel):
    """Everything lenspipe needs to know of a survey."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    description: str = ""
    source: str = Field("", description="where the numbers come from")
    pixel_scale: float = Field(gt=0, description="arcsec per pixel")
    stamp_size: int = Field(
        64, ge=16, description="default side of a simulated stamp [px]; wider lenses are not drawn"
    )
    model_bands: tuple[str, ...] = Field(description="bands that simulations and models use, in order")
    detection_band: str = Field(description="band in which sources are detected")
    rgb: tuple[str, str, str] = Field(description="bands shown as red, green and blue")
    psf_beta_scatter: float = Field(
        0.0, ge=0, description="scatter of ln(psf_beta) of coadds, all bands alike"
    )
    noise_correlation: Correlation = Field(
        (),
        description="correlation of the noise at 1, 2, ... pixels along an axis; or, where it is not the product "
        "of both axes, its rows [dy][dx] from lag (0, 0) on; empty = none",
    )
    lens_prior: float = Field(5e-4, gt=0, lt=1, description="fraction of targets that are lenses")
    bands: dict[str, Band]
    layout: Layout = Layout()

    @model_validator(mode="after")
    def _bands_exist(self) -> Survey:
        for name in (*self.model_bands, self.detection_band, *self.rgb):
            if name not in self.bands:
                raise ValueError(
                    f"band {name!r} is used but not in [bands]; there are {', '.join(self.bands)}"
                )
        for name in self.layout.band_names.values():
            if name not in self.bands:
                raise ValueError(
                    f"layout.band_names names {name!r}, which is not in [bands]; there are {', '.join(self.bands)}"
                )
        return self

    def correlations(self, bands: Sequence[str]) -> list[Correlation]:
        """Return the noise's correlation in each band."""
        own = [self.bands[band].noise_correlation for band in bands]
        return [self.noise_correlation if values is None else values for values in own]

    def saturation(self, bands: Sequence[str]) -> list[float]:
        """Return the flux [nJy per pixel] from which pixels are saturated, in each band.

        Raises
        ------
        ConfigError
            If the sky alone saturates a band; the message names it.
        """
        levels = []
        for band in bands:
            try:
                levels.append(self.bands[band].saturation(self.pixel_scale))
            except ConfigError as error:
                raise ConfigError(f"survey {self.name!r}, bands.{band}: {error}") from None
        return levels

    def psf_betas(self, bands: Sequence[str]) -> dict[str, float]:
        """Return the truth columns of the PSF's shape: ``psf_beta``, and ``psf_beta_<band>`` where bands differ."""
        values = {band: self.bands[band].psf_beta for band in bands}
        out = {"psf_beta": values[bands[0]]}
        if len(set(values.values())) > 1:
            out |= {f"psf_beta_{band}": value for band, value in values.items()}
        return out

    def reference_band(self, bands: Sequence[str]) -> str:
        """Return the band that stands for all: the detection band, or the last where it is not among them."""
        return self.detection_band if self.detection_band in bands else bands[-1]

    def band_named(self, text: str, any_case: bool = False) -> str:
        """Return the band that a word of a file name or header means, or an empty string.

        With `any_case` capitals do not matter where only one band can be meant (astropy writes EXTNAMEs in them).
        """
        known = {**{band: band for band in self.bands}, **self.layout.band_names}
        if text in known or not any_case:
            return known.get(text, "")
        same = {band for name, band in known.items() if name.lower() == text.lower()}
        return same.pop() if len(same) == 1 else ""


def _data_folder():
    return resources.files("lenspipe.core") / "data" / "surveys"


def survey_names() -> list[str]:
    """Return the names of the packaged surveys."""
    return sorted(p.name[:-5] for p in _data_folder().iterdir() if p.name.endswith(".toml"))


@cache
def load_survey(name_or_path: str) -> Survey:
    """Return a packaged survey by name, or the one described by a TOML file.

    Raises
    ------
    ConfigError
        If there is no such survey, or the file is not valid; the message names the key at fault.
    """
    merged = _read_merged(name_or_path, seen=())
    try:
        survey = Survey.model_validate(merged)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"survey {name_or_path!r}: {key + ': ' if key else ''}{message}") from None
    _check_own_name(name_or_path, survey)
    return survey


def _check_own_name(name_or_path: str, survey: Survey) -> None:
    # shards and models are told apart by the survey's name
    if name_or_path.endswith(".toml") and survey.name in survey_names():
        raise ConfigError(
            f"survey file {name_or_path!r} needs a name of its own: {survey.name!r} is a packaged survey"
        )


def _read_merged(name_or_path: str, seen: tuple[str, ...]) -> dict[str, Any]:
    if name_or_path in seen:
        raise ConfigError(f"survey files extend each other in a circle: {' -> '.join((*seen, name_or_path))}")
    if name_or_path in survey_names():
        text = (_data_folder() / f"{name_or_path}.toml").read_text()
    elif name_or_path.endswith(".toml"):
        try:
            text = Path(name_or_path).read_text()
        except OSError as error:
            raise ConfigError(f"cannot read the survey file {name_or_path!r}: {error.strerror}") from None
    else:
        raise ConfigError(
            f"unknown survey {name_or_path!r}; packaged ones are {', '.join(survey_names())}, "
            "or give the path of a survey file ending in .toml"
        )
    try:
        own = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"survey file {name_or_path!r} is not valid TOML: {error}") from None
    parent = own.pop("extends", None)
    if parent is None:
        return own
    if parent.endswith(".toml") and not Path(parent).is_absolute():
        parent = str(Path(name_or_path).parent / parent)
    return merge(_read_merged(parent, (*seen, name_or_path)), own)


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with `changes` laid over it, table by table."""
    out = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = merge(out[key], value) if both else value
    return out


def same_scale(a: float, b: float) -> bool:
    """Tell whether two pixel scales agree to 1 %, far below what a network can see."""
    return abs(a / b - 1.0) < 0.01
