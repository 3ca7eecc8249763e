"""The configuration: frozen sections, one a stage; a recipe holds only what differs from the defaults.

Unknown keys are refused with the nearest known one. Each field's unit and meaning stands in its
description, which `lenspipe config --defaults` prints.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import PydanticUndefined

from lenspipe.core.errors import ConfigError
from lenspipe.core.survey import load_survey, merge

TARGETS = ("theta_e", "sigma_v", "z_lens", "z_src")


class Section(BaseModel):
    """Base of all sections: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class RunSection(Section):
    """What holds for the whole run."""

    seed: int = Field(1, ge=0, lt=2**63, description="seed of every random stream")
    stages: tuple[str, ...] = Field(
        (), description="stages to run; empty = all that the recipe has inputs for"
    )
    retries: int = Field(1, ge=0, description="how often a failed unit is tried again")
    threads: int = Field(1, ge=1, description="threads of a network at prediction, per worker")


class TilesSection(Section):
    """Mock survey tiles with injected lenses."""

    count: int = Field(0, ge=0, description="number of overlapping tiles; 0 = none")
    size: int = Field(1000, ge=128, description="side of a tile [px]")
    overlap: float = Field(30.0, ge=0, description="overlap of neighbours [arcsec]")
    galaxies_per_arcmin2: float = Field(
        60.0,
        ge=0,
        description="field galaxies, as deep as this density goes: 12 to i = 23, 60 to 25.5 [arcmin^-2]",
    )
    stars_per_arcmin2: float = Field(2.0, ge=0, description="stars [arcmin^-2]")
    lenses: int = Field(12, ge=0, description="lenses injected per tile")


#: Kinds of non-lenses and their shares of the default mixture: those that finders mistake for lenses lead.
MIXTURE = {
    "companion": 0.18, "spiral": 0.18, "elliptical": 0.12, "group": 0.1, "merger": 0.1, "ring": 0.08,
    "disc": 0.06, "edge_on": 0.06, "star": 0.02, "double": 0.03, "spike": 0.02, "artifact": 0.04, "empty": 0.01,
}  # fmt: skip


class RealismSection(Section):
    """What full scenes have and plain ones have not."""

    misaligned: bool = Field(True, description="lens light is not exactly shaped and turned like its mass")
    clumps: bool = Field(True, description="sources have star-forming knots and a bulge")
    satellites: float = Field(0.25, ge=0, le=1, description="share of early types that have a satellite")
    neighbours: bool = Field(True, description="galaxies and stars along the line of sight")
    correlated_noise: bool = Field(True, description="noise as resampling leaves it, see noise_correlation")
    astrometry: float = Field(0.1, ge=0, description="offsets between the bands along an axis, rms [px]")
    masked: float = Field(
        0.1, ge=0, le=1, description="share of stamps with unusable pixels in a band, filled as ingest does"
    )
    cosmic_rays: float = Field(
        0.02, ge=0, le=1, description="share of stamps with cosmic rays left in a band"
    )
    missing_bands: float = Field(
        0.01, ge=0, le=1, description="share of stamps one of whose bands is all zero"
    )


#: Nothing but a lens galaxy, a source, PSF and noise.
PLAIN = RealismSection(
    misaligned=False, clumps=False, satellites=0.0, neighbours=False, correlated_noise=False,
    astrometry=0.0, masked=0.0, cosmic_rays=0.0, missing_bands=0.0,
)  # fmt: skip


class SimulateSection(Section):
    """Training sets and mock tiles."""

    count: int = Field(0, ge=0, description="number of stamps; 0 = none")
    into: str = Field(
        "", description="run whose ingested stamps of real galaxies get lensed sources; empty = none"
    )
    kind: Literal["lens", "nonlens", "mixed"] = Field("mixed", description="classes; mixed = half lenses")
    scene: Literal["full", "plain"] = Field(
        "full", description="plain = lens galaxy and one source only; full = all of simulate.realism too"
    )
    noiseless: bool = Field(False, description="leave out sky and Poisson noise, and the detector's faults")
    size: int = Field(0, ge=0, description="side of a stamp [px]; 0 = the survey's stamp_size")
    shard_size: int = Field(512, ge=1, description="stamps per file")
    min_snr: float = Field(20.0, ge=0, description="least signal-to-noise of the lensed source, best band")
    mixture: dict[str, float] = Field(
        MIXTURE, description="kind of non-lens -> share, made to add up to 1; kinds not named are left out"
    )
    realism: RealismSection = RealismSection()
    tiles: TilesSection = TilesSection()

    @field_validator("mixture")
    @classmethod
    def _known_kinds(cls, mixture: dict[str, float]) -> dict[str, float]:
        for kind, share in mixture.items():
            if kind not in MIXTURE:
                raise ValueError(f"no kind of non-lens is called {kind!r}; there are {', '.join(MIXTURE)}")
            if not 0.0 <= share < float("inf"):
                raise ValueError(f"the share of {kind} must be 0 or more, received {share}")
        if not sum(mixture.values()) > 0:
            raise ValueError("at least one kind of non-lens needs a share above 0")
        return mixture

    def effects(self) -> RealismSection:
        """Return the realism of these scenes: none of it where they are plain."""
        return self.realism if self.scene == "full" else PLAIN


class IngestSection(Section):
    """Tiles and cutouts to stamps."""

    images: tuple[str, ...] = Field(
        (), description="files, folders or glob patterns; empty = the run's mock tiles"
    )
    targets: str = Field("", description="table with ra, dec [deg] (and id); empty = detect sources")
    kind: Literal["auto", "tile", "cutout"] = Field(
        "auto", description="auto = an image at most 4 stamps wide is a cutout of its central object"
    )
    size: int = Field(0, ge=0, description="side of a stamp [px]; 0 = the detector's, else the survey's")
    bands: tuple[str, ...] = Field(
        (), description="bands to cut, in order; empty = the detector's, else the survey's"
    )
    resample: bool = Field(False, description="resample images whose pixel scale is not the model's")
    detect_sigma: float = Field(
        3.0, gt=0, description="detection threshold per pixel after smoothing [sigma]"
    )
    detect_pixels: int = Field(8, ge=1, description="least connected pixels of a source")
    min_snr: float = Field(10.0, ge=0, description="least signal-to-noise of a source in the detection band")
    max_mag: float = Field(23.0, description="faintest magnitude of a target in the detection band [mag]")
    deblend: bool = Field(True, description="separate touching sources")
    max_bad_fraction: float = Field(
        0.25, ge=0, le=1, description="largest fraction of unusable pixels in any band of a stamp"
    )


class TrainSection(Section):
    """One network, k-fold."""

    data: str = Field("", description="folder of a simulated set; empty = the run's own simulations")
    architecture: str = Field("", description="network by name; empty = the task's default")
    folds: int = Field(0, ge=0, description="number of folds; 0 = this network is not trained")
    epochs: int = Field(20, ge=1, description="passes over the training folds")
    batch_size: int = Field(64, ge=1, description="stamps per step")
    learning_rate: float = Field(1e-3, gt=0, description="peak learning rate; cosine decay, linear warm-up")
    weight_decay: float = Field(1e-4, ge=0, description="AdamW weight decay")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="detector only")
    dropout: float = Field(0.1, ge=0, lt=1, description="MC dropout rate of the head")
    bn_momentum: float = Field(0.9, gt=0.5, lt=1, description="batch-norm momentum, Keras convention")
    precision: Literal["auto", "float32", "mixed_bfloat16"] = Field(
        "auto", description="auto = mixed_bfloat16 where the processor has it"
    )
    threads: int = Field(
        1, ge=1, description="threads per fold on a CPU; another number changes the last bits of the weights"
    )
    targets: tuple[Literal["theta_e", "sigma_v", "z_lens", "z_src"], ...] = Field(
        TARGETS, description="regressor only: what to predict"
    )


class TrainSections(Section):
    """Both networks."""

    detector: TrainSection = TrainSection()
    regressor: TrainSection = TrainSection()


class FindSection(Section):
    """Scores."""

    detector: str = Field("", description="model bundle; empty = the run's own")
    mc_samples: int = Field(20, ge=1, description="dropout passes per network")
    batch_size: int = Field(64, ge=1, description="stamps at once")


class ModelSection(Section):
    """Posteriors of the lens parameters."""

    regressor: str = Field("", description="model bundle; empty = the run's own")
    mc_samples: int = Field(200, ge=2, description="dropout passes per network")
    batch_size: int = Field(64, ge=1, description="stamps at once")


class CatalogSection(Section):
    """Candidates."""

    threshold: float = Field(0.5, ge=0, le=1, description="least score of a candidate")
    top: int = Field(0, ge=0, description="keep at most so many, best first; 0 = all")
    merge_radius: float = Field(1.0, gt=0, description="detections closer than this are one object [arcsec]")
    known: str = Field("", description="table of known lenses to match: name, ra, dec")
    known_radius: float = Field(3.0, gt=0, description="match radius [arcsec]")
    prefix: str = Field("LP", description="acronym in IAU names")


class SlipSection(Section):
    """The gravitational slip."""

    model: Literal["sis"] = Field("sis", description="mass model of the likelihood")
    realizations: int = Field(100, ge=1, description="bootstrap resamplings of the sample")
    spectroscopy: str = Field(
        "", description="table with ra, dec, z_lens, z_src, sigma_v, sigma_v_err; empty = the mock tiles'"
    )
    match_radius: float = Field(2.0, gt=0, description="match radius [arcsec]")


class ReportSection(Section):
    """The page."""

    candidates: int = Field(100, ge=1, description="candidates shown")
    stretch: float = Field(12.0, gt=0, description="Lupton stretch [sigma of the noise]")
    softening: float = Field(8.0, gt=0, description="Lupton Q")
    note: str = Field("", description="a line of your own at the head of the page")


class Config(Section):
    """A whole recipe."""

    survey: str = Field("des", description="packaged survey, or path of a survey file")
    run: RunSection = RunSection()
    simulate: SimulateSection = SimulateSection()
    ingest: IngestSection = IngestSection()
    train: TrainSections = TrainSections()
    find: FindSection = FindSection()
    model: ModelSection = ModelSection()
    catalog: CatalogSection = CatalogSection()
    slip: SlipSection = SlipSection()
    report: ReportSection = ReportSection()


def load_config(path: str | Path | None = None, overrides: Iterable[str] = ()) -> Config:
    """Return the configuration of a recipe, with ``key=value`` overrides laid over it in order.

    Raises
    ------
    ConfigError
        If the file cannot be read or a key or value is not valid: one line that names it.
    """
    data: dict[str, Any] = {}
    where = "the settings"
    if path is not None:
        where = str(path)
        try:
            data = tomllib.loads(Path(path).read_text())
        except OSError as error:
            raise ConfigError(f"cannot read the recipe {where!r}: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{where} is not valid TOML: {error}") from None
    return config_from(merge_overrides(data, overrides), where)


def merge_overrides(data: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Return `data` with ``key=value`` overrides laid over it, in order."""
    for override in overrides:
        data = merge(data, _parse_override(override))
    return data


def config_from(data: dict[str, Any], where: str = "the settings") -> Config:
    """Return the validated configuration of a nested dict; errors name `where`."""
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{where}: " + "; ".join(_explain(item) for item in error.errors())) from None


def _parse_override(text: str) -> dict[str, Any]:
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"--set expects key=value, e.g. run.seed=7; received {text!r}")
    try:
        parsed = tomllib.loads(f"value = {value.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()  # a bare word is a string: --set survey=lsst
    nested: Any = parsed
    for part in reversed(key.strip().split(".")):
        nested = {part: nested}
    return nested


def _explain(item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        close = difflib.get_close_matches(key, [name for name, *_ in describe()], n=1, cutoff=0.5)
        hint = f"; did you mean {close[0]!r}?" if close else "; `lenspipe config --defaults` lists all keys"
        return f"unknown key {key!r}{hint}"
    return f"{key}: {item['msg']}, received {item['input']!r}"


#: Settings that name a file or folder.
_PATHS = (
    *(
        "survey",
        "simulate.into",
        "ingest.targets",
        "train.detector.data",
        "train.regressor.data",
        "find.detector",
    ),
    *("model.regressor", "catalog.known", "slip.spectroscopy"),
)


def with_absolute_paths(config: Config) -> Config:
    """Return the configuration with its paths absolute: workers and later commands may run elsewhere."""
    data = config.model_dump()
    data["ingest"]["images"] = tuple(str(Path(item).absolute()) for item in config.ingest.images)
    for key in _PATHS:
        *sections, name = key.split(".")
        section = data
        for part in sections:
            section = section[part]
        is_path = section[name] and (key != "survey" or section[name].endswith(".toml"))
        section[name] = str(Path(section[name]).absolute()) if is_path else section[name]
    return Config.model_validate(data)


def describe(model: type[BaseModel] = Config, prefix: str = "") -> list[tuple[str, Any, str]]:
    """Return (key, default, meaning) of every key, in order."""
    rows: list[tuple[str, Any, str]] = []
    for name, info in model.model_fields.items():
        key = f"{prefix}{name}"
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            rows += describe(info.annotation, f"{key}.")
        else:
            default = None if info.default is PydanticUndefined else info.default
            rows.append((key, default, info.description or ""))
    return rows


def to_toml(config: Config, comments: bool = False) -> str:
    """Return the configuration as TOML: every key, with its meaning behind it if `comments`."""
    meanings = {key: text for key, _, text in describe()} if comments else {}
    lines: list[str] = []
    _write_section(config.model_dump(mode="json"), "", meanings, lines)
    return "\n".join(lines).strip() + "\n"


def _write_section(data: dict[str, Any], prefix: str, meanings: dict[str, str], lines: list[str]) -> None:
    for key, value in data.items():
        if not isinstance(value, dict):
            meaning = meanings.get(f"{prefix}{key}")
            lines.append(f"{key} = {_toml_value(value)}" + (f"  # {meaning}" if meaning else ""))
    for key, value in data.items():
        if isinstance(value, dict):
            lines += ["", f"[{prefix}{key}]"]
            _write_section(value, f"{prefix}{key}.", meanings, lines)


def _toml_value(value: Any) -> str:
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False)  # TOML's strings, numbers, booleans and arrays are JSON's


def config_hash(config: Config) -> str:
    """Return 12 hex digits that stand for the whole configuration, the survey's numbers included."""
    survey = load_survey(config.survey).model_dump_json()
    return hashlib.sha256((config.model_dump_json() + survey).encode()).hexdigest()[:12]


def settings_of(config: Config, *sections: str) -> dict[str, Any]:
    """Return what a unit's result depends on: the named sections, the survey and the seed.

    `sections` are dotted names such as ``"ingest"`` or ``"train.detector"``.
    """
    data = config.model_dump(mode="json")
    settings: dict[str, Any] = {
        "seed": config.run.seed,
        "survey": load_survey(config.survey).model_dump(mode="json"),
    }
    for section in sections:
        part: Any = data
        for name in section.split("."):
            part = part[name]
        settings[section] = part
    return settings
