"""Recipes in, settings out: TOML files, overrides, hashes."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticUndefined

from lenspipe.config.sections import Config
from lenspipe.core.errors import ConfigError
from lenspipe.core.survey import load_survey, merge


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


def load_run(run_dir: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Return the configuration that a run was made with, with overrides laid over it.

    Raises
    ------
    ConfigError
        If the folder is not a run's, or as `load_config`.
    """
    recipe = Path(run_dir) / "config.toml"
    if not recipe.is_file():
        raise ConfigError(
            f"{run_dir} is no run: it has no config.toml; give the folder that `lenspipe run` or `scan` wrote"
        )
    return load_config(recipe, overrides)


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
    message = item["msg"].removeprefix("Value error, ")
    if isinstance(item["input"], dict):  # a whole section is not what is wrong
        return f"{key}: {message}"
    return f"{key}: {message}, received {item['input']!r}"


#: Settings that name a file or folder, or several.
_PATHS = (
    *("survey", "targets.table", "simulate.into", "ingest.images"),
    *(
        f"train.{task}.{name}"
        for task in ("detector", "regressor")
        for name in ("data", "graded", "graded_run")
    ),
    *("catalog.known", "slip.spectroscopy", "slip.lenses"),
)
#: Settings that name a model's folder, or several, or a packaged model.
_MODELS = ("train.detector.start", "train.regressor.start", "find.detector", "model.regressor")


def with_absolute_paths(config: Config) -> Config:
    """Return the configuration with its paths absolute: workers and later commands may run elsewhere."""
    data = config.model_dump()
    for key in (*_PATHS, *_MODELS):
        *sections, name = key.split(".")
        section = data
        for part in sections:
            section = section[part]
        value = section[name]
        if isinstance(value, tuple):
            section[name] = tuple(_absolute(key, item) for item in value)
        elif value:
            section[name] = _absolute(key, value)
    return Config.model_validate(data)


def _absolute(key: str, value: str) -> str:
    packaged = key == "survey" and not value.endswith(".toml")
    packaged |= key in _MODELS and Path(value).name == value and not Path(value).exists()
    return value if packaged else str(Path(value).absolute())


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
    text = json.dumps(value, ensure_ascii=False)  # TOML's strings, numbers, booleans and arrays are JSON's
    # but no TOML can hold a file's name that is not UTF-8: it is spelt out
    return re.sub("[\ud800-\udfff]", lambda match: f"\\\\u{ord(match[0]):04x}", text)


def config_hash(config: Config) -> str:
    """Return 12 hex digits that stand for the whole configuration, the survey's numbers included."""
    survey = load_survey(config.survey).model_dump_json()
    return hashlib.sha256((json.dumps(config.model_dump(mode="json")) + survey).encode()).hexdigest()[:12]


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
