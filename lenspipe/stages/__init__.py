"""The stages, in the order in which they run. A stage's name is its verb, its section and its folder."""

from lenspipe.core.types import Stage
from lenspipe.stages import catalog, find, ingest, model, report, simulate, slip, train

STAGES: dict[str, Stage] = {
    module.STAGE.name: module.STAGE
    for module in (simulate, ingest, train, find, model, catalog, slip, report)
}
