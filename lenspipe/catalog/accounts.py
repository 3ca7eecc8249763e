"""The books of a run: what was found in each tile is scored, or named in the quarantine table, or cut away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lenspipe.core.errors import Rejected
from lenspipe.core.types import DUPLICATE, Done

#: Reason code of a tile that lost too many of its objects.
TOO_MANY_REJECTS = "too_many_rejects"
#: Reason codes that are no fault of a tile's: the stamp reaches beyond it (the neighbouring tile has it whole),
#: or the source is a star too bright for the detector.
NATURAL = ("edge", "saturated")
#: So few lost objects are no sign of a bad tile, however few it has.
_FEW = 5


@dataclass(frozen=True)
class TileAccount:
    """What became of a tile's objects.

    Parameters
    ----------
    tile : str
    found : int
        Targets on the tile, or sources detected.
    stored : int
        Stamps kept.
    not_selected : int
        Sources that `targets.where` took away.
    quarantined : mapping of str to int
        Objects left out, by reason code.
    refused : str
        Reason code, if the whole tile was left out.
    scored : int or None
        None: not scored so far.
    """

    tile: str
    found: int = 0
    stored: int = 0
    not_selected: int = 0
    quarantined: Mapping[str, int] = field(default_factory=dict)
    refused: str = ""
    scored: int | None = None


@dataclass(frozen=True)
class Balance:
    """The books: a line for each tile, one for all of them, and the tiles at fault with the reason."""

    lines: tuple[str, ...]
    total: str
    faults: Mapping[str, str]


def account_tile(tile: str, ingested: Done, scored: Done | None) -> TileAccount:
    """Return the account of a tile from what its units of *ingest* and *find* handed back.

    `ingested` counts ``found``, ``objects`` (stored) and ``not_selected``; `scored` counts ``scored``.
    """
    lost = Counter(row.reason for row in ingested.quarantined if row.object)
    whole = (row.reason for row in ingested.quarantined if not row.object and row.reason != DUPLICATE)
    refused = next(whole, "")
    counts = ingested.counts
    return TileAccount(
        tile,
        found=counts.get("found", 0),
        stored=counts["objects"],
        not_selected=counts.get("not_selected", 0),
        quarantined=dict(lost),
        refused=refused,
        scored=None if scored is None else scored.counts.get("scored", 0),
    )


def balance_tiles(accounts: Iterable[TileAccount]) -> Balance:
    """Return the books of a run: in each tile, found = scored + quarantined + not selected.

    A tile is at fault if its books do not balance, or if it was refused because it lost too many objects.
    """
    accounts = sorted(accounts, key=lambda account: account.tile)
    faults = {account.tile: fault for account in accounts if (fault := _find_fault(account))}
    lines = tuple(f"{account.tile}: {_describe(account)}" for account in accounts)
    whole = [account for account in accounts if not account.refused]
    lost = sum((Counter(account.quarantined) for account in whole), Counter())
    scored = None if any(account.scored is None for account in whole) else sum(a.scored or 0 for a in whole)
    sums = [sum(getattr(account, name) for account in whole) for name in ("found", "stored", "not_selected")]
    total = f"{len(whole):,} tile(s): {_describe(TileAccount('', *sums, lost, scored=scored))}"
    refused = Counter(account.refused for account in accounts if account.refused)
    if refused:
        total += f"; {refused.total():,} tile(s) refused ({_list(refused)})"
    return Balance(lines, total, faults)


def check_rejects(found: int, quarantined: Mapping[str, int], largest: float) -> None:
    """Refuse a tile that lost more than a share `largest` of its objects, for other reasons than natural ones.

    Something is wrong with such a tile, and what is left of it may be wrong too. A handful of lost objects
    is allowed in any tile, so that a small one is not refused for a single star.

    Parameters
    ----------
    found : int
        Objects on the tile.
    quarantined : mapping of str to int
        Those left out, by reason code.
    largest : float
        `ingest.max_rejected`.

    Raises
    ------
    Rejected
        With the reason ``too_many_rejects``.
    """
    lost = {reason: number for reason, number in quarantined.items() if reason not in NATURAL}
    number = sum(lost.values())
    inside = found - sum(quarantined.get(reason, 0) for reason in NATURAL)
    if number > _FEW and number > largest * inside:
        raise Rejected(
            TOO_MANY_REJECTS,
            f"{number:,} of {inside:,} objects (edges and bright stars apart) cannot be used ({_list(lost)}), "
            f"more than {100 * largest:g} %; mend the tile, or raise ingest.max_rejected",
        )


def _find_fault(account: TileAccount) -> str:
    if account.refused == TOO_MANY_REJECTS:
        return "lost too many of its objects"
    if account.refused:
        kept = account.stored + (account.scored or 0)
        return f"refused ({account.refused}), but has {kept:,} stamps or scores" if kept else ""
    lost = sum(account.quarantined.values())
    if account.found != account.stored + account.not_selected + lost:
        return (
            f"found {account.found:,} objects, but stored {account.stored:,}, quarantined {lost:,} and "
            f"cut away {account.not_selected:,}"
        )
    if account.scored is not None and account.scored != account.stored:
        return f"stored {account.stored:,} objects, but scored {account.scored:,}"
    return ""


def _describe(account: TileAccount) -> str:
    if account.refused:
        return f"refused ({account.refused})"
    lost = sum(account.quarantined.values())
    verb, kept = ("stored", account.stored) if account.scored is None else ("scored", account.scored)
    text = f"{account.found:,} found = {kept:,} {verb} + {lost:,} quarantined"
    text += f" ({_list(account.quarantined)})" if lost else ""
    return text + (f" + {account.not_selected:,} not selected" if account.not_selected else "")


def _list(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {reason}" for reason, number in sorted(numbers.items()))
