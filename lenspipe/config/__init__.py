"""The configuration: frozen sections, one a stage; a recipe holds only what differs from the defaults.

Unknown keys are refused with the nearest known one. Each field's unit and meaning stands in its
description, which `lenspipe config --defaults` prints.
"""

from lenspipe.config.base import Section
from lenspipe.config.recipe import (
    config_from,
    config_hash,
    describe,
    load_config,
    load_run,
    merge_overrides,
    settings_of,
    to_toml,
    with_absolute_paths,
)
from lenspipe.config.sections import (
    TARGETS,
    TURNING,
    CatalogSection,
    Config,
    FindSection,
    IngestSection,
    ModelSection,
    ReportSection,
    RunSection,
    TargetsSection,
    TrainSection,
    TrainSections,
)
from lenspipe.config.simulation import FULL, MIXTURE, PLAIN, RealismSection, SimulateSection, TilesSection
from lenspipe.config.slip import SlipSection

__all__ = [
    "FULL",
    "MIXTURE",
    "PLAIN",
    "TARGETS",
    "TURNING",
    "CatalogSection",
    "Config",
    "FindSection",
    "IngestSection",
    "ModelSection",
    "RealismSection",
    "ReportSection",
    "RunSection",
    "Section",
    "SimulateSection",
    "SlipSection",
    "TargetsSection",
    "TilesSection",
    "TrainSection",
    "TrainSections",
    "config_from",
    "config_hash",
    "describe",
    "load_config",
    "load_run",
    "merge_overrides",
    "settings_of",
    "to_toml",
    "with_absolute_paths",
]
