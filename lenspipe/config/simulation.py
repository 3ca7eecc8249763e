"""Settings of the simulations: training sets, their realism and non-lenses, mock tiles."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from lenspipe.config.base import Section


class TilesSection(Section):
    """Mock survey tiles with injected lenses; of images that get lenses (simulate.into) only `lenses` counts."""

    count: int = Field(0, ge=0, description="number of overlapping tiles; 0 = none")
    size: int = Field(1000, ge=128, description="side of a tile [px]")
    overlap: float = Field(30.0, ge=0, description="overlap of neighbours [arcsec]")
    galaxies_per_arcmin2: float = Field(
        60.0,
        ge=0,
        description="field galaxies, as deep as this density goes: 12 to i = 23, 60 to 25.5 [arcmin^-2]",
    )
    stars_per_arcmin2: float = Field(2.0, ge=0, description="stars [arcmin^-2]")
    lenses: int = Field(12, ge=0, description="lenses injected per tile, mock or real")


#: Kinds of non-lenses and their shares of the default mixture: those that finders mistake for lenses lead.
MIXTURE = {
    "companion": 0.18, "spiral": 0.18, "elliptical": 0.12, "group": 0.1, "merger": 0.1, "ring": 0.08,
    "disc": 0.06, "edge_on": 0.06, "star": 0.02, "double": 0.03, "spike": 0.02, "artifact": 0.04, "empty": 0.01,
}  # fmt: skip


#: Beside these, ordinary galaxies as a survey's detection finds them: easy for a finder that has met any.
KINDS = (*MIXTURE, "field")


class RealismSection(Section):
    """What full scenes have and plain ones have not."""

    misaligned: bool = Field(True, description="lens light is not exactly shaped and turned like its mass")
    varied: bool = Field(
        True, description="lens galaxies of one sigma_v differ in luminosity, size and colour as on the sky"
    )
    clumps: bool = Field(True, description="sources have star-forming knots and a bulge")
    satellites: float = Field(0.25, ge=0, le=1, description="share of early types that have a satellite")
    neighbours: bool = Field(
        True, description="galaxies and stars along the line of sight, as faint as the survey sees"
    )
    correlated_noise: bool = Field(True, description="noise as resampling leaves it, see noise_correlation")
    astrometry: float = Field(0.1, ge=0, description="offsets between the bands along an axis, rms [px]")
    masked: float = Field(
        0.1, ge=0, le=1, description="share of stamps with unusable pixels in a band, filled as ingest does"
    )
    cosmic_rays: float = Field(
        0.02, ge=0, le=1, description="share of stamps with cosmic rays left in a band"
    )
    bleeding: bool = Field(True, description="what saturated pixels cannot hold flows along their columns")
    missing_bands: float = Field(
        0.01, ge=0, le=1, description="share of stamps one of whose bands is all zero"
    )


#: What full scenes have unless told otherwise.
FULL = RealismSection()
#: Nothing but a lens galaxy, a source, PSF and noise.
PLAIN = RealismSection(
    misaligned=False, varied=False, clumps=False, satellites=0.0, neighbours=False, correlated_noise=False,
    astrometry=0.0, masked=0.0, cosmic_rays=0.0, bleeding=False, missing_bands=0.0,
)  # fmt: skip


class SimulateSection(Section):
    """Training sets and mock tiles."""

    count: int = Field(0, ge=0, description="number of stamps; 0 = none")
    into: tuple[str, ...] = Field(
        (),
        description="runs whose ingested stamps of real galaxies get lensed sources, or images of the survey that "
        "do: files, folders, patterns; empty = none",
    )
    kind: Literal["lens", "nonlens", "mixed"] = Field("mixed", description="classes; mixed = half lenses")
    scene: Literal["full", "plain"] = Field(
        "full",
        description="plain = lens galaxy and one source only (non-lenses: what makes their kind, e.g. arms); "
        "full = all of simulate.realism too",
    )
    noiseless: bool = Field(False, description="leave out sky and Poisson noise, and the realism's faults")
    size: int = Field(0, ge=0, description="side of a stamp [px]; 0 = the survey's stamp_size")
    shard_size: int = Field(512, ge=1, description="stamps per file")
    min_snr: float = Field(20.0, ge=0, description="least signal-to-noise of the lensed source, best band")
    offset: float = Field(
        0.5,
        ge=0,
        description="how far from a stamp's middle its object stands, at most, along an axis [px]; one in "
        "ten may stand twice as far",
    )
    lens_light: bool = Field(
        True, description="false = of lenses the arcs only, as in images from which the galaxy was taken out"
    )
    groups: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of simulated lenses whose group or cluster widens theta_e; sigma_v stays the galaxy's",
    )
    mixture: dict[str, float] = Field(
        MIXTURE,
        description="kind of non-lens -> share, made to add up to 1; kinds not named are left out. Beside those of "
        "the default: field, the ordinary galaxies that a search looks at",
    )
    realism: RealismSection = RealismSection()
    tiles: TilesSection = TilesSection()

    @field_validator("into", mode="before")
    @classmethod
    def _one_or_many(cls, into: object) -> object:
        return ((into,) if into else ()) if isinstance(into, str) else into

    @field_validator("size")
    @classmethod
    def _room_for_a_lens(cls, size: int) -> int:
        if 0 < size < 16:
            raise ValueError("a stamp needs 16 pixels a side at least, or 0 for the survey's")
        return size

    @field_validator("mixture")
    @classmethod
    def _known_kinds(cls, mixture: dict[str, float]) -> dict[str, float]:
        for kind, share in mixture.items():
            if kind not in KINDS:
                raise ValueError(f"no kind of non-lens is called {kind!r}; there are {', '.join(KINDS)}")
            if not 0.0 <= share < float("inf"):
                raise ValueError(f"the share of {kind} must be 0 or more, received {share}")
        if not sum(mixture.values()) > 0:
            raise ValueError("at least one kind of non-lens needs a share above 0")
        return mixture

    @model_validator(mode="after")
    def _one_source_of_stamps(self) -> SimulateSection:
        if self.count and self.into:
            raise ValueError("count and into exclude each other: stamps are simulated, or cut from images")
        return self

    @model_validator(mode="after")
    def _light_is_no_label(self) -> SimulateSection:
        if not self.lens_light and (self.kind != "lens" or self.into):
            raise ValueError(
                'lens_light = false is for kind = "lens": of other galaxies the light would stay'
            )
        return self

    def effects(self) -> RealismSection:
        """Return the realism of these scenes: none of it where they are plain."""
        return self.realism if self.scene == "full" else PLAIN
