from __future__ import annotations

import tomllib

import pytest
from support import ROOT

from lenspipe.config import (
    Config,
    config_from,
    config_hash,
    describe,
    load_config,
    load_run,
    settings_of,
    to_toml,
    with_absolute_paths,
)
from lenspipe.core.errors import ConfigError


@pytest.mark.parametrize("path", sorted((ROOT / "pipelines").glob("*.toml")), ids=lambda path: path.name)
def test_every_recipe_is_valid(path):
    config = load_config(path)
    assert load_config(None, [f"survey={config.survey}"])  # its survey is there too


def test_recipes_hold_only_differences():
    defaults = Config().model_dump(mode="json")
    for path in (ROOT / "pipelines").glob("*.toml"):
        for key, value in _leaves(tomllib.loads(path.read_text())):
            default = defaults
            for part in key:
                default = default.get(part)
            assert value != default or key == ("survey",), f"{path.name}: {'.'.join(key)} is the default"


def _leaves(data, prefix=()):
    for key, value in data.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*prefix, key))
        else:
            yield (*prefix, key), value


def test_resolved_config_reads_back_identically(tmp_path):
    config = load_config(None, ["run.seed=5", "ingest.images=['a b.fits','ü😀.fits']", "catalog.prefix=XY"])
    path = tmp_path / "config.toml"
    path.write_text(to_toml(config, comments=True))
    assert load_config(path) == config


def test_later_set_wins_and_bare_words_are_strings():
    config = load_config(None, ["run.seed=1", "run.seed=2", "survey=lsst"])
    assert (config.run.seed, config.survey) == (2, "lsst")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("targets.tabel=x", "unknown key 'targets.tabel'; did you mean 'targets.table'"),
        ("targets.where=mag_r < ", 'targets.where = "mag_r <": at character [0-9]+: invalid syntax'),
        ("targets.where=mag_r.x < 2", "Attribute has no place in a cut"),
        ("run.seed=minus", "run.seed: .*integer.*'minus'"),
        ("run.seed=-1", "run.seed: .*greater than or equal to 0"),
        ("run.seed", "--set expects key=value"),
        ("nonsense.deep.key=1", "unknown key 'nonsense'"),
        ("train.detector.folds=1.5", "train.detector.folds"),
        ("train.regressor={learn_dropout=true, dropout=0.0}", "dropout, which must be above 0"),
        ("train.regressor.targets=['e1']", "e1 and e2 turn into each other with the sky: give both"),
    ],
)
def test_a_mistake_is_named(override, message):
    with pytest.raises(ConfigError, match=message):
        load_config(None, [override])


def test_a_missing_or_broken_recipe_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read the recipe .*nope\.toml'"):
        load_config(tmp_path / "nope.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("[run\nseed=1")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_config(broken)


def test_every_key_has_a_meaning_and_changes_the_hash():
    base = config_hash(Config())
    for key, default, meaning in describe():
        assert meaning, key
        other = _another(key, default)
        if key == "simulate.lens_light":  # of lenses only
            assert config_hash(load_config(None, ["simulate.kind=lens", f"{key}={other}"])) != config_hash(
                load_config(None, ["simulate.kind=lens"])
            )
            continue
        assert config_hash(load_config(None, [f"{key}={other}"])) != base, key


def test_lens_light_cannot_be_left_out_where_it_would_be_a_label():
    with pytest.raises(ConfigError, match='lens_light = false is for kind = "lens"'):
        load_config(None, ["simulate.lens_light=false"])


def _another(key, default):
    special = {
        "survey": '"lsst"',
        "simulate.kind": '"lens"',
        "simulate.into": '["run"]',
        "simulate.scene": '"plain"',
        "simulate.size": "64",
        "simulate.mixture": "{spiral = 1.0}",
        "ingest.kind": '"tile"',
        "train.detector.precision": '"float32"',
        "train.regressor.precision": '"float32"',
        "train.detector.targets": '["theta_e"]',
        "train.regressor.targets": '["theta_e"]',
        "run.stages": '["slip"]',
        "train.detector.channels": '["noise"]',
        "train.regressor.channels": '["noise"]',
        "find.detector": '["a", "b"]',
        **{
            f"train.{task}.{key}": '["a"]' for task in ("detector", "regressor") for key in ("data", "graded")
        },
        **{
            f"train.{task}.{key}": value
            for task in ("detector", "regressor")
            for key, value in (
                ("calibration", '"isotonic"'),
                ("optimizer", '"sgd"'),
                ("views", "1"),
                ("schedule", '"constant"'),
                ("trunks", '"each"'),
            )
        },
        "slip.model": '"powerlaw"',
        **{f"slip.{name}": "[1.9, 0.2]" for name in ("alpha", "beta", "delta", "alpha_prior")},
        "report.published": '{theta_e = "10 %"}',
        "ingest.images": '["a.fits"]',
        "ingest.bands": '["g"]',
        "train.detector.bn_momentum": "0.8",
        "train.regressor.bn_momentum": "0.8",
    }
    if key in special:
        return special[key]
    if isinstance(default, bool):
        return str(not default).lower()
    if isinstance(default, str):
        return '"other"'
    return (default * 0.5 or 0.1) if isinstance(default, float) else default + 1


def test_settings_of_a_stage_hold_its_sections_the_seed_and_the_survey():
    config = load_config(None, ["run.seed=9", "survey=hsc"])
    settings = settings_of(config, "ingest", "train.detector")
    assert settings["seed"] == 9
    assert settings["survey"]["name"] == "hsc"
    assert set(settings) == {"seed", "survey", "ingest", "train.detector"}


def test_paths_become_absolute_and_names_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = with_absolute_paths(load_config(None, ["find.detector=models/d", "ingest.images=['t/*.fits']"]))
    assert config.find.detector == (str(tmp_path / "models/d"),)
    assert config.ingest.images == (str(tmp_path / "t/*.fits"),)
    assert (config.survey, config.catalog.known) == ("des", "")
    named = ["find.detector=des-swift", "train.detector.start=des-swift"]
    config = with_absolute_paths(load_config(None, named))  # a packaged model, unless a folder is called so
    assert (config.find.detector, config.train.detector.start) == (("des-swift",), "des-swift")
    (tmp_path / "des-swift").mkdir()
    assert with_absolute_paths(load_config(None, named)).find.detector == (str(tmp_path / "des-swift"),)
    for one in ("simulate.into=run", "simulate.into=['run']"):
        assert with_absolute_paths(load_config(None, [one])).simulate.into == (str(tmp_path / "run"),)
    assert load_config(None, ["simulate.into=''"]).simulate.into == ()
    assert load_config(None, ["find.detector=''"]).find.detector == ()
    assert load_config(None, ["find.detector=['a', 'b']"]).find.detector == ("a", "b")


def test_stamps_are_either_simulated_or_cut_from_images():
    with pytest.raises(ConfigError, match=r"simulate: count and into exclude each other.*images$"):
        config_from({"simulate": {"count": 4, "into": "run"}})


def test_devices_share_a_batch_equally():
    words = ["train.detector.devices=3", "train.detector.batch_size=64"]
    with pytest.raises(ConfigError, match="3 devices cannot share a batch of 64 equally; give a batch_size"):
        load_config(None, words)
    assert load_config(None, [words[0], "train.detector.batch_size=66"]).train.detector.devices == 3


def test_no_more_folds_are_trained_than_there_are():
    with pytest.raises(ConfigError, match=r"train\.detector: train_folds is 6, but there are only 5 folds"):
        load_config(None, ["train.detector.folds=5", "train.detector.train_folds=6"])


@pytest.mark.parametrize("task", ["detector", "regressor"])
def test_live_stamps_have_no_masks(task):
    words = [f"train.{task}.live=true", f'train.{task}.channels=["noise", "mask"]']
    with pytest.raises(
        ConfigError, match=rf'train\.{task}: live stamps have no unusable pixels: .* "mask" of'
    ):
        load_config(None, words)
    for word in words:
        load_config(None, [word])


@pytest.mark.parametrize("what", ["live", "covariance"])
def test_targets_that_turn_with_the_sky_exclude_what_cannot_turn_them_back(what):
    positions = "train.regressor.targets=['x_lens', 'y_lens']"
    load_config(None, [positions])
    with pytest.raises(ConfigError, match="targets x_lens, y_lens turn with the sky"):
        load_config(None, [positions, f"train.regressor.{what}=true"])


def test_a_run_tells_how_it_was_made(tmp_path):
    with pytest.raises(ConfigError, match=r"is no run: it has no config\.toml; give the folder"):
        load_run(tmp_path)
    (tmp_path / "config.toml").write_text("[run]\nseed = 7\n")
    config = load_run(tmp_path, ["catalog.top=3"])
    assert (config.run.seed, config.catalog.top) == (7, 3)
