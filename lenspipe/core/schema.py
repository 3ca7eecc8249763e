"""The one registry of catalog columns and flag bits.

What is written here makes the FITS, ECSV, VOTable and Parquet files, their units, UCDs and
descriptions, and the documentation in `catalogs/README.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntFlag

#: Version of the files that lenspipe writes; raised when a reader would notice the change.
SCHEMA_VERSION = 1


class Flag(IntFlag):
    """Flag bits of an object. Zero means that nothing is known against it."""

    PADDED = 1
    MASKED = 2
    SATURATED = 4
    NOISE_ESTIMATED = 8
    ZERO_POINT_ASSUMED = 16
    PSF_ASSUMED = 32
    SKY_SUBTRACTED = 64
    RESAMPLED = 128
    REPROJECTED = 256
    NO_WCS = 512
    DUPLICATE = 1024
    POINT_LIKE = 2048
    UNLIKE_TRAINING = 4096
    FIT_FAILED = 8192
    FIT_DISAGREES = 16384


FLAGS: dict[Flag, str] = {
    Flag.PADDED: "the stamp reaches beyond the image; the rest is padded with zeros (sky)",
    Flag.MASKED: "some pixels of the stamp are masked or not finite and were filled from their neighbours",
    Flag.SATURATED: "saturated pixels in the stamp",
    Flag.NOISE_ESTIMATED: "no weight map: the noise was estimated from the pixels",
    Flag.ZERO_POINT_ASSUMED: "no zero point in the header, or an absurd one: the survey's was used",
    Flag.PSF_ASSUMED: "no PSF with the image: the survey's median FWHM was used",
    Flag.SKY_SUBTRACTED: "a smooth background was found and subtracted",
    Flag.RESAMPLED: "resampled to the model's pixel scale, flux conserved",
    Flag.REPROJECTED: "at least one band was reprojected onto the grid of the first",
    Flag.NO_WCS: "the image has no sky coordinates; ra and dec are NaN",
    Flag.DUPLICATE: "the same object is scored in another tile, whose row is the one ranked",
    Flag.POINT_LIKE: "no larger than the PSF in the detection band: most likely a star or a quasar",
    Flag.UNLIKE_TRAINING: "unlike what the regressor was trained on (novelty above 1): do not trust its numbers",
    Flag.FIT_FAILED: "the model fitted to the pixels did not converge, its chi squared per degree exceeds 2, or the "
    "lens galaxy alone explains them as well (fit_snr_src below 5)",
    Flag.FIT_DISAGREES: "theta_e of the model fitted to the pixels and of the network differ by more than 3 sigma",
}


#: Grades of people who looked, best first, in numbers; and those that call an object a lens.
GRADES = {"A": 3, "B": 2, "C": 1, "X": 0}
LENS_GRADES = ("A", "B")


@dataclass(frozen=True)
class Column:
    """One column of the catalog: name, numpy dtype, unit, UCD, description."""

    name: str
    dtype: str
    unit: str
    ucd: str
    description: str


_TARGETS = {
    "theta_e": ("arcsec", "phys.angSize", "Einstein radius, intermediate axis sqrt(ab) of the SIE"),
    "sigma_v": ("km / s", "phys.veloc.dispersion", "velocity dispersion of the lens inferred from its image"),
    "z_lens": ("", "src.redshift.phot", "redshift of the lens inferred from its image"),
    "z_src": ("", "src.redshift.phot", "redshift of the source inferred from its image"),
    "e1": ("", "phys.size.axisRatio", "ellipticity of the mass, (1 - q) / (1 + q) cos 2t, t from +x"),
    "e2": ("", "phys.size.axisRatio", "ellipticity of the mass, (1 - q) / (1 + q) sin 2t, t from +x"),
    "x_lens": ("arcsec", "pos.cartesian.x", "centre of the mass from that of the stamp, to the right"),
    "y_lens": ("arcsec", "pos.cartesian.y", "centre of the mass from that of the stamp, up"),
    "q": ("", "phys.size.axisRatio", "axis ratio of the lens mass"),
    "phi": ("deg", "pos.posAng", "position angle of the lens mass, East of North in (-90, 90]"),
}

_NOVELTY = Column(
    "novelty",
    "f4",
    "",
    "stat.fit.goodness",
    "distance of the network's features from those of its training, in units of that of the most unlike hundredth",
)

_SIS_PULL = Column(
    "sis_pull",
    "f4",
    "",
    "stat.fit.residual",
    "theta_e less that of an isothermal sphere of sigma_v and the redshifts in general relativity, in errors of both",
)
#: What it takes to tell it.
SIS_TARGETS = ("theta_e", "sigma_v", "z_lens", "z_src")

_FIT = {
    "theta_e": ("arcsec", "phys.angSize", "Einstein radius", True),
    "q": ("", "phys.size.axisRatio", "axis ratio of the mass", True),
    "phi": ("deg", "pos.posAng", "position angle of the mass, counter-clockwise from +y", True),
    "gamma_ext": ("", "stat.fit.param", "external shear", True),
    "phi_ext": ("deg", "pos.posAng", "direction of the shear, counter-clockwise from +y", False),
    "x_lens": (
        "arcsec",
        "pos.cartesian.x",
        "centre of lens and galaxy from that of the stamp, to the right",
        True,
    ),
    "y_lens": ("arcsec", "pos.cartesian.y", "centre of lens and galaxy from that of the stamp, up", True),
    "r_lens": ("arcsec", "phys.angSize", "half-light radius of the lens galaxy", False),
    "n_lens": ("", "stat.fit.param", "Sersic index of the lens galaxy", False),
    "x_src": ("arcsec", "pos.cartesian.x", "place of the source, unlensed, to the right", False),
    "y_src": ("arcsec", "pos.cartesian.y", "place of the source, unlensed, up", False),
    "r_src": ("arcsec", "phys.angSize", "half-light radius of the source, unlensed", False),
    "snr_src": (
        "",
        "stat.snr",
        "signal-to-noise of the source: what it gains over the lens galaxy alone",
        False,
    ),
    "chi2": ("", "stat.fit.chi2", "chi squared per degree of freedom", False),
}

_IDENTITY = (
    Column("name", "str", "", "meta.id;meta.main", "IAU-style designation, truncated"),
    Column("object_id", "str", "", "meta.id", "identifier from the target table, or tile and number"),
    Column("tile", "str", "", "meta.id.parent", "tile or cutout that the stamp was cut from"),
    Column("ra", "f8", "deg", "pos.eq.ra;meta.main", "right ascension, ICRS"),
    Column("dec", "f8", "deg", "pos.eq.dec;meta.main", "declination, ICRS"),
    Column("x", "f8", "pix", "pos.cartesian.x;instr.pixel", "column in the tile, 0-based"),
    Column("y", "f8", "pix", "pos.cartesian.y;instr.pixel", "row in the tile, 0-based"),
)


def score_columns(n_folds: int) -> list[Column]:
    """Return the detector's columns for an ensemble of `n_folds` networks."""
    return [
        Column("score", "f8", "", "stat.probability", "mean network score over folds and dropout passes"),
        Column("score_err", "f4", "", "stat.error;stat.probability", "standard deviation of the score"),
        *(
            Column(f"score_fold_{k}", "f4", "", "stat.probability", f"mean score of the network of fold {k}")
            for k in range(n_folds)
        ),
        Column("p_lens", "f8", "", "stat.probability", "probability of being a lens at the survey's prior"),
    ]


def target_columns(targets: Sequence[str]) -> list[Column]:
    """Return the regressor's columns: median, 16/84 distances and the parts of the variance."""
    columns = []
    for target in targets:
        unit, ucd, text = _TARGETS[target]
        base = ucd.split(";")[0]
        columns += [
            Column(target, "f4", unit, ucd, f"{text}, posterior median"),
            Column(f"{target}_err_lo", "f4", unit, f"stat.error;{base}", "median minus 16th percentile"),
            Column(f"{target}_err_hi", "f4", unit, f"stat.error;{base}", "84th percentile minus median"),
            Column(
                f"{target}_lo95", "f4", unit, f"{base};stat.min", "lower end of the conformal 95 % interval"
            ),
            Column(
                f"{target}_hi95", "f4", unit, f"{base};stat.max", "upper end of the conformal 95 % interval"
            ),
            Column(f"{target}_aleatoric", "f4", unit, f"stat.error;{base}", "error from the data's noise"),
            Column(
                f"{target}_epistemic", "f4", unit, f"stat.error;{base}", "error from the network's ignorance"
            ),
        ]
    if set(SIS_TARGETS) <= set(targets):
        columns.append(_SIS_PULL)
    return [*columns, _NOVELTY] if columns else []


def refined_columns() -> list[Column]:
    """Return the columns of models fitted to the pixels (`model.refine`)."""
    columns = []
    for name, (unit, ucd, text, has_error) in _FIT.items():
        columns.append(Column(f"fit_{name}", "f4", unit, ucd, f"{text}, fitted to the pixels"))
        if has_error:
            columns.append(Column(f"fit_{name}_err", "f4", unit, f"stat.error;{ucd}", "its error (Laplace)"))
    return columns


_BAND_UCD = {
    "u": "em.opt.U",
    "g": "em.opt.B",
    "r": "em.opt.R",
    "i": "em.opt.I",
    "z": "em.opt.I",
    "Y": "em.IR.J",
}


def photometry_columns(bands: Sequence[str]) -> list[Column]:
    """Return magnitude and signal-to-noise columns, one of each a band."""
    columns = []
    for band in bands:
        em = _BAND_UCD.get(band, "em.opt")
        columns += [
            Column(
                f"mag_{band}", "f4", "mag", f"phot.mag;{em}", f"AB magnitude in {band}, 3 arcsec aperture"
            ),
            Column(
                f"snr_{band}", "f4", "", f"stat.snr;{em}", f"signal-to-noise in {band}, 3 arcsec aperture"
            ),
        ]
    return columns


_CONTEXT = (
    Column("known_name", "str", "", "meta.id.cross", "nearest known lens of the table given"),
    Column("known_sep", "f4", "arcsec", "pos.angDistance", "distance to it"),
    Column("healpix", "i8", "", "pos.healpix", "HEALPix cell, NSIDE 2048, nested, ICRS; -1 = no position"),
    Column("flags", "i4", "", "meta.code.qual", "sum of flag bits; see the flag table"),
    Column("run_id", "str", "", "meta.id;meta.dataset", "identifier of the run's configuration and code"),
)


_GRADES = (
    Column(
        "grade",
        "str",
        "",
        "meta.code.class",
        "grade of those who looked: A, B (lenses), C, X (none); empty = none",
    ),
    Column("grade_mean", "f4", "", "meta.code.class;stat.mean", "mean grade, A = 3, B = 2, C = 1, X = 0"),
    Column("grade_std", "f4", "", "meta.code.class;stat.stdev", "standard deviation of the graders"),
    Column("n_grades", "i4", "", "meta.number", "how many graded it"),
)


def catalog_columns(
    bands: Sequence[str], n_folds: int, targets: Sequence[str], refined: bool = False, graded: bool = False
) -> list[Column]:
    """Return all columns of a candidate or score table, in order."""
    return [
        *_IDENTITY,
        *score_columns(n_folds),
        *target_columns(targets),
        *(refined_columns() if refined else ()),
        *photometry_columns(bands),
        *(_GRADES if graded else ()),
        *_CONTEXT,
    ]


def object_columns(bands: Sequence[str]) -> list[Column]:
    """Return the columns known after ingest, before any network has looked."""
    return [*_IDENTITY, *photometry_columns(bands), next(c for c in _CONTEXT if c.name == "flags")]


def flag_names(flags: int) -> list[str]:
    """Return the names of the bits that are set, in the registry's order."""
    return [flag.name.lower() for flag in FLAGS if flags & flag]


def document_columns() -> str:
    """Return the registry as Markdown: `catalogs/README.md` is this text."""
    columns = catalog_columns(("g",), 1, tuple(_TARGETS), refined=True, graded=True)
    lines = [
        "# Catalogs",
        "",
        "`lenses.ecsv` and `slacs.ecsv` are real lenses with Einstein radii, velocity dispersions and redshifts, made",
        "by `make_lenses.py`, which tells the sources, the apertures and the three dispersions that were mended.",
        "",
        "The rest of this page says what is in the tables that lenspipe writes. It is made from",
        "`lenspipe/core/schema.py`:",
        "`python -m lenspipe.core.schema > catalogs/README.md`.",
        "",
        "`candidates.fits`, `.ecsv`, `.vot` and `.parquet` hold the same rows and columns, ranked;",
        "`scores.parquet` holds every scored object. `score_fold_<k>` stands once a fold, `mag_<band>` and",
        "`snr_<band>` once a band (shown for fold 0 and g). Missing numbers are NaN.",
        "Those that begin with `fit_` are there with `model.refine`, those of grades after `lenspipe grades merge`.",
        "",
        "| column | unit | UCD | meaning |",
        "|---|---|---|---|",
        *(f"| `{c.name}` | {c.unit} | `{c.ucd}` | {c.description} |" for c in columns),
        "",
        "## Flags",
        "",
        "| bit | name | meaning |",
        "|---|---|---|",
        *(f"| {int(flag)} | `{str(flag.name).lower()}` | {text} |" for flag, text in FLAGS.items()),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(document_columns(), end="")
