"""Settings of the stages, and the whole configuration."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from lenspipe.config.base import Section
from lenspipe.config.simulation import SimulateSection
from lenspipe.config.slip import SlipSection
from lenspipe.core.expressions import parse_cut

#: Targets that turn with the sky, and what with.
TURNING = {"x_lens": "y_lens", "y_lens": "x_lens", "e1": "e2", "e2": "e1"}
#: What regressors predict unless told otherwise.
TARGETS = ("theta_e", "sigma_v", "z_lens", "z_src")


class RunSection(Section):
    """What holds for the whole run."""

    seed: int = Field(1, ge=0, lt=2**63, description="seed of every random stream")
    stages: tuple[str, ...] = Field(
        (), description="stages to run; empty = all that the recipe has inputs for"
    )
    retries: int = Field(1, ge=0, description="how often a failed unit is tried again")
    threads: int = Field(1, ge=1, description="threads of a network at prediction, per worker")


class TargetsSection(Section):
    """The objects that are looked at."""

    table: str = Field("", description="table with ra, dec [deg] (and id); empty = detect sources")
    where: str = Field(
        "",
        description="cut on the table's columns, or on those of detected sources: x, y, edge_distance [px], "
        "ra, dec [deg], mag_<band>, snr_<band>, flags; e.g. mag_r < 22 and mag_g - mag_r > 0.8; empty = all",
    )

    @field_validator("where")
    @classmethod
    def _where_is_a_cut(cls, text: str) -> str:
        if text.strip():
            parse_cut(text, "targets.where")
        return text


class IngestSection(Section):
    """Tiles and cutouts to stamps."""

    images: tuple[str, ...] = Field(
        (), description="files, folders or glob patterns; empty = the run's mock tiles"
    )
    keep: bool = Field(
        True, description="store all stamps; false = score them as they are cut, store only the candidates'"
    )
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
    mask_saturated: bool = Field(True, description="leave out detected sources with saturated pixels")
    max_bad_fraction: float = Field(
        0.25, ge=0, le=1, description="largest fraction of unusable pixels in any band of a stamp"
    )
    max_rejected: float = Field(
        0.05, ge=0, le=1, description="a tile that loses more of its objects, those at its edge apart, fails"
    )


class TrainSection(Section):
    """One network, k-fold."""

    data: tuple[str, ...] = Field(
        (), description="folder of a simulated set, or several; empty = the run's own simulations"
    )
    graded: tuple[str, ...] = Field(
        (), description="detector only: tables of graded candidates (object_id or name, grade), to learn from"
    )
    graded_run: str = Field("", description="run that holds the graded stamps; empty = each table's folder")
    graded_weight: float = Field(
        5.0, gt=0, description="how many simulated stamps a graded one counts for in training"
    )
    architecture: str = Field(
        "",
        description="network by name: resnet50 (default), inception_detector, cmu_deeplens, lensdetectnet, "
        "efficientnet or swift for the detector; inception (default), alexnet, overfeat, network4, inception_v4 or "
        "swift_regressor for the regressor",
    )
    start: str = Field(
        "",
        description="model whose weights training begins with, a packaged one's name or a bundle's folder, of the "
        "same architecture and number of bands, trained on other data; empty = from random ones",
    )
    channels: tuple[Literal["noise", "mask"], ...] = Field(
        (),
        description="what the network sees beside the bands: noise = a channel per band with its noise level, "
        "mask = one with the pixels that could not be used",
    )
    folds: int = Field(0, ge=0, description="number of folds; 0 = this network is not trained")
    train_folds: int = Field(
        0, ge=0, description="how many of the folds are trained, a network each; 0 = all (1: a held-out set)"
    )
    epochs: int = Field(20, ge=1, description="passes over the training folds")
    batch_size: int = Field(64, ge=1, description="stamps per step")
    learning_rate: float = Field(1e-3, gt=0, description="peak learning rate; cosine decay, linear warm-up")
    weight_decay: float = Field(1e-4, ge=0, description="weight decay of adamw and muon")
    optimizer: Literal["adamw", "adam", "sgd", "muon"] = Field(
        "adamw",
        description="sgd has Nesterov momentum 0.9; muon (Jordan et al. 2024) may need fewer steps, "
        "each of which costs more, the more the larger the network",
    )
    schedule: Literal["cosine", "constant"] = Field("cosine", description="of the rate after the warm-up")
    warm_up: float = Field(0.05, ge=0, lt=1, description="share of all steps in which the rate rises from 0")
    ema: float = Field(
        0.0, ge=0, lt=1, description="momentum of the running mean of the weights that is kept; 0 = the last"
    )
    patience: int = Field(
        0,
        ge=0,
        description="epochs without a better held-out loss after which training ends, the best weights kept "
        "(chosen on the held-out fold: its scores become a little too good); 0 = all epochs, the last weights",
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="detector only")
    kinds: bool = Field(
        True,
        description="detector only: in training the network is also taught what kind of object a stamp shows, "
        "where the truth tells more than two; it learns faster, and what is saved is the same",
    )
    balance: bool = Field(False, description="detector only: lenses and non-lenses equally often in an epoch")
    hard_share: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="detector only: share of an epoch drawn by how badly stamps are classified",
    )
    crop: int = Field(
        0, ge=0, description="side of the middle of a stamp that the network sees [px]; 0 = all of it"
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="MC dropout rate of the head")
    bn_momentum: float = Field(0.9, gt=0.5, lt=1, description="batch-norm momentum, Keras convention")
    views: Literal[1, 8] = Field(
        8,
        description="detector only: orientations in which a stamp that may show a lens is looked at when it is scored",
    )
    precision: Literal["auto", "float32", "mixed_bfloat16"] = Field(
        "auto", description="auto = mixed_bfloat16 where the processor has it"
    )
    threads: int = Field(
        1, ge=1, description="threads per fold on a CPU; another number changes the last bits of the weights"
    )
    live: bool = Field(
        False,
        description="draw the training stamps on the device, each time at another angle and place and with other "
        "noise, from the truth of one simulated set",
    )
    jitter: float = Field(1.0, ge=0, description="largest offset of a live stamp along an axis [px]")
    devices: int = Field(1, ge=1, description="accelerators per fold; each gets its share of every batch")
    tensorboard: bool = Field(False, description="write events for TensorBoard beside the folds")
    calibration: Literal["temperature", "isotonic"] = Field(
        "temperature",
        description="detector only: scores to probabilities, by one number or by any rising function",
    )
    targets: tuple[Literal["theta_e", "sigma_v", "z_lens", "z_src", "e1", "e2", "x_lens", "y_lens"], ...] = (
        Field(
            TARGETS,
            min_length=1,
            description="regressor only: what to predict; e1 and e2 are the mass's ellipticity (1 - q) / (1 + q) times "
            "cos and sin of twice its angle from +x",
        )
    )
    trunks: Literal["shared", "each"] = Field(
        "shared", description="regressor only: one tower of convolutions, or one for each target"
    )
    covariance: bool = Field(
        False, description="regressor only: errors of the targets may be correlated (full covariance)"
    )
    learn_dropout: bool = Field(
        False,
        description="regressor only: the dropout rate is learnt, of each target with a branch, from dropout on",
    )
    zero_point_error: float = Field(
        0.025,
        ge=0,
        lt=1,
        description="regressor only: fraction (rms) by which each band's calibration varies in training",
    )
    shift: int = Field(
        1, ge=0, le=4, description="regressor only: largest offset of a stamp in training [px]"
    )

    @property
    def trained(self) -> int:
        """How many networks are trained."""
        return min(self.train_folds or self.folds, self.folds)

    @field_validator("channels")
    @classmethod
    def _channels_differ(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            raise ValueError("each channel can be given once")
        return names

    @model_validator(mode="after")
    def _learnt_dropout_begins_somewhere(self) -> TrainSection:
        if self.learn_dropout and not self.dropout > 0:
            raise ValueError("learn_dropout begins with dropout, which must be above 0")
        return self

    @model_validator(mode="after")
    def _targets_that_turn(self) -> TrainSection:
        turning = sorted(set(self.targets) & set(TURNING))
        for name, pair in TURNING.items():
            if name in turning and pair not in turning:
                raise ValueError(f"{name} and {pair} turn into each other with the sky: give both as targets")
        if turning and (self.live or self.covariance):
            why = "live stamps are turned by any angle" if self.live else "a covariance cannot be turned back"
            raise ValueError(f"targets {', '.join(turning)} turn with the sky, but {why}: leave that out")
        return self

    @model_validator(mode="after")
    def _live_stamps_have_no_masks(self) -> TrainSection:
        if self.live and "mask" in self.channels:
            raise ValueError('live stamps have no unusable pixels: leave out live, or "mask" of channels')
        return self

    @model_validator(mode="after")
    def _equal_shares(self) -> TrainSection:
        if self.batch_size % self.devices:
            raise ValueError(
                f"{self.devices} devices cannot share a batch of {self.batch_size} equally; give a batch_size that "
                "is a multiple of devices"
            )
        return self

    @model_validator(mode="after")
    def _no_more_than_there_are(self) -> TrainSection:
        if 0 < self.folds < self.train_folds:
            raise ValueError(f"train_folds is {self.train_folds}, but there are only {self.folds} folds")
        return self

    @field_validator("data", mode="before")
    @classmethod
    def _data_may_be_one(cls, value: object) -> object:
        return ((value,) if value else ()) if isinstance(value, str) else value


class TrainSections(Section):
    """Both networks."""

    detector: TrainSection = TrainSection()
    regressor: TrainSection = TrainSection()


class FindSection(Section):
    """Scores."""

    detector: tuple[str, ...] = Field(
        (), description="model bundle, or several that score as a committee; empty = the run's own"
    )
    mc_samples: int = Field(20, ge=1, description="dropout passes per network")
    batch_size: int = Field(64, ge=1, description="stamps at once")

    @field_validator("detector", mode="before")
    @classmethod
    def _one_or_many(cls, detector: object) -> object:
        return ((detector,) if detector else ()) if isinstance(detector, str) else detector


class ModelSection(Section):
    """Posteriors of the lens parameters."""

    regressor: str = Field("", description="model bundle; empty = the run's own")
    mc_samples: int = Field(200, ge=2, description="dropout passes per network")
    batch_size: int = Field(64, ge=1, description="stamps at once")
    refine: bool = Field(
        False,
        description="fit an SIE with shear, a Sersic lens galaxy and an exponential source to the pixels of each "
        "candidate, from the network's posterior; seconds each",
    )


class CatalogSection(Section):
    """Candidates."""

    threshold: float = Field(0.5, ge=0, le=1, description="least score of a candidate")
    top: int = Field(0, ge=0, description="keep at most so many, best first; 0 = all")
    merge_radius: float = Field(
        1.0, gt=0, le=30, description="detections in different tiles closer than this are one object [arcsec]"
    )
    known: str = Field("", description="table of known lenses to match: name, ra, dec")
    known_radius: float = Field(3.0, gt=0, description="match radius [arcsec]")
    prefix: str = Field("LP", description="acronym in IAU names")


class ReportSection(Section):
    """The page."""

    candidates: int = Field(100, ge=1, description="candidates shown")
    stretch: float = Field(12.0, gt=0, description="Lupton stretch [sigma of the noise]")
    softening: float = Field(8.0, gt=0, description="Lupton Q")
    published: dict[str, str] = Field(
        {}, description="target -> the 68 % scatter that a study reports, to stand beside the regressor's own"
    )
    note: str = Field("", description="a line of your own at the head of the page")


class Config(Section):
    """A whole recipe."""

    survey: str = Field("des", description="packaged survey, or path of a survey file")
    run: RunSection = RunSection()
    simulate: SimulateSection = SimulateSection()
    targets: TargetsSection = TargetsSection()
    ingest: IngestSection = IngestSection()
    train: TrainSections = TrainSections()
    find: FindSection = FindSection()
    model: ModelSection = ModelSection()
    catalog: CatalogSection = CatalogSection()
    slip: SlipSection = SlipSection()
    report: ReportSection = ReportSection()
