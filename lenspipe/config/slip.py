"""Settings of the gravitational slip."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from lenspipe.config.base import Section


class SlipSection(Section):
    """The gravitational slip."""

    model: Literal["sis", "powerlaw"] = Field(
        "sis",
        description="mass model of the likelihood; powerlaw: slopes and anisotropy scatter, apertures count",
    )
    alpha: tuple[float, float] = Field(
        (2.0, 0.08), description="powerlaw: mean and scatter of the mass's slope, rho ~ r^-alpha"
    )
    beta: tuple[float, float] = Field(
        (0.18, 0.13), description="powerlaw: mean and scatter of the stars' anisotropy"
    )
    delta: tuple[float, float] = Field(
        (2.4, 0.11), description="powerlaw: mean and scatter of the light's slope, nu ~ r^-delta"
    )
    joint: bool = Field(
        False, description="powerlaw: also fit the mean slope and its scatter together with gamma"
    )
    alpha_prior: tuple[float, float] = Field(
        (2.0, 0.05), description="mean and error of the mean slope, where it is fitted together with gamma"
    )
    aperture_radius: float = Field(
        1.5, gt=0, description="powerlaw: radius of the spectra's aperture where the table has none [arcsec]"
    )
    seeing_fwhm: float = Field(
        1.4, ge=0, description="powerlaw: their seeing [arcsec]; 0 = an aperture with an edge"
    )
    half_radius: bool = Field(
        False,
        description="correct sigma_v to half the effective radius, where r_eff is known (Cappellari 2006)",
    )
    sigma_floor: float = Field(
        0.0, ge=0, lt=1, description="added to the errors in quadrature [fraction of the predicted sigma_v]"
    )
    omega_m: float = Field(0.3, gt=0, lt=1, description="matter density of the flat universe")
    realizations: int = Field(100, ge=1, description="resamplings of the sample")
    drawn: int = Field(
        0,
        ge=0,
        description="lenses of each realization, as surveys of so many would find them; 0 = bootstrap: as many as "
        "there are",
    )
    lenses: str = Field(
        "",
        description="table of lenses with theta_e, too, as for lenspipe slip, in place of the run's candidates",
    )
    spectroscopy: str = Field(
        "", description="table with ra, dec, z_lens, z_src, sigma_v, sigma_v_err; empty = the mock tiles'"
    )
    match_radius: float = Field(2.0, gt=0, description="match radius [arcsec]")

    @field_validator("alpha", "beta", "delta", "alpha_prior")
    @classmethod
    def _scatter_is_positive(cls, prior: tuple[float, float]) -> tuple[float, float]:
        if prior[1] < 0:
            raise ValueError(f"expected a mean and a scatter of 0 or more, received {list(prior)}")
        return prior
