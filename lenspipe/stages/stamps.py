"""What stamps a run works on: bands, size and pixel scale, agreed between images and models."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from lenspipe.config import Config
from lenspipe.core.errors import InputError, ModelMismatch
from lenspipe.core.survey import Survey, load_survey, same_scale
from lenspipe.core.types import StampFormat
from lenspipe.io.cards import check_same_stamps, find_bundle, read_card, stamps_of
from lenspipe.io.store import Store


def stamp_format(config: Config) -> StampFormat:
    """Return the stamps that a run's detector expects, or the survey's where it trains its own.

    Raises
    ------
    ModelMismatch
        If the detector was made for bands or a pixel scale that the survey does not have, or those of a
        committee for different stamps.
    """
    survey = load_survey(config.survey)
    if config.find.detector:
        models = [(folder, stamps_of(read_card(folder, "detector"))) for folder in config.find.detector]
        check_same_stamps(models)
        wanted = models[0][1]
        _check_survey(wanted, survey, config)
        return wanted
    size = config.ingest.size or config.simulate.size or survey.stamp_size
    return StampFormat(config.ingest.bands or survey.model_bands, size, survey.pixel_scale)


def _check_survey(wanted: StampFormat, survey: Survey, config: Config) -> None:
    missing = [band for band in wanted.bands if band not in survey.bands]
    if missing:
        raise ModelMismatch(
            f"the detector {config.find.detector[0]} needs the bands {', '.join(wanted.bands)}, but "
            f"{survey.name} has {', '.join(survey.bands)}; use a model made for this survey"
        )
    if not same_scale(wanted.pixel_scale, survey.pixel_scale) and not config.ingest.resample:
        raise ModelMismatch(
            f"the detector {config.find.detector[0]} was made for {wanted.pixel_scale:g} arcsec per pixel, "
            f"{survey.name} has {survey.pixel_scale:g}; use a model made for it, or --resample"
        )


def open_bundle(folder: Path):
    """Return a bundle; a worker that scores a thousand tiles reads its networks once."""
    return _open_bundle(str(folder), (folder / "bundle.json").stat().st_mtime_ns)


@lru_cache(maxsize=16)  # a committee and a regressor
def _open_bundle(folder: str, _written: int):
    from lenspipe.training.bundle import load_bundle

    return load_bundle(folder)


def bundle_files(bundle: str | Path) -> tuple[str, ...]:
    """Return the files of a bundle that predictions depend on."""
    folder = Path(bundle)
    return (str(folder / "bundle.json"), *(str(path) for path in sorted(folder.glob("fold-*.keras"))))


def existing(path: str, setting: str) -> str:
    """Return the absolute path of a file that a setting names; `InputError` if it is not there."""
    if not Path(path).is_file():
        raise InputError(f"{setting} names {path}, which is not there")
    return str(Path(path).absolute())


def detector_folders(config: Config, store: Store) -> tuple[Path, ...]:
    """Return the detectors that a run uses: those given, else its own; none if it has neither."""
    folds = config.train.detector.folds
    folders = [_model_folder("detector", given, folds, store) for given in config.find.detector or ("",)]
    return tuple(folder for folder in folders if folder is not None)


def regressor_folder(config: Config, store: Store) -> Path | None:
    """Return the regressor that a run uses: the one given, else its own; None if it has neither."""
    return _model_folder("regressor", config.model.regressor, config.train.regressor.folds, store)


def _model_folder(task: str, given: str, folds: int, store: Store) -> Path | None:
    if given:
        read_card(given, task)  # a mistyped folder is told before anything runs
        return find_bundle(given)
    own = store.folder(task)
    return own if folds or (own / "bundle.json").exists() else None


def check_regressor(config: Config) -> None:
    """Refuse a regressor that was made for other stamps than the run's; `ModelMismatch`."""
    if not config.model.regressor:
        return
    made_for, form = stamps_of(read_card(config.model.regressor, "regressor")), stamp_format(config)
    if (
        made_for.bands != form.bands
        or made_for.size != form.size
        or not same_scale(made_for.pixel_scale, form.pixel_scale)
    ):
        raise ModelMismatch(
            f"the regressor {config.model.regressor} was made for {_describe(made_for)}, but the run works on "
            f"{_describe(form)}; use a detector and a regressor made for the same stamps"
        )


def _describe(form: StampFormat) -> str:
    return f"{form.size} px of {form.pixel_scale:g} arcsec in {''.join(form.bands)}"
