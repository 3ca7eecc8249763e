"""The books of a run, read from what its units handed back."""

from __future__ import annotations

from collections.abc import Collection

from lenspipe.catalog.accounts import Balance, account_tile, balance_tiles
from lenspipe.config import Config
from lenspipe.io.store import Store


def balance_run(config: Config, store: Store, stages: Collection[str]) -> Balance | None:
    """Return the books of the tiles: found = scored + quarantined + not selected, in each of them.

    None if the run has no tiles, or if neither *ingest* nor *find* is among its `stages`.
    """
    first = "ingest" if config.ingest.keep else "find"
    if first not in stages:
        return None
    ingested = {name: done for name, done in store.finished(first) if "found" in done.counts}
    scored = dict(store.finished("find")) if "find" in stages else {}
    if not ingested:
        return None
    return balance_tiles(account_tile(name, done, scored.get(name)) for name, done in ingested.items())
