"""Is it them, or is it us? Pure: counts and answers in, a verdict out; the loop commits it (S7).

Two looks. The first counts: did more units fall at once, in a zone, a provider, a version, an image or the fleet, than
chance explains? Then remedies in that scope are frozen (SUSPECT). The second weighs what canaries, another vantage point
and the provider said: US (nothing is done), LOCAL (too few, ordinary remedies go on) or MASS (recovery in waves).

The test: of n units each falls by itself within the window with the base rate p. The chance that k or more do is at most
exp(-n * KL(k/n || p)) (Chernoff 1952; an upper bound, so no false alarm is more likely than said; closed, so a thousand
scopes cost one call). It must be below one in a million over all scopes looked at together, and besides:
- at least `least` units (5). Below that the vantage points of each unit are enough (S6), and a test of three of four
  units would freeze a small fleet whenever somebody tries a failover by hand.
- at least `share` of the scope (5 %). A rack of forty in a zone of thousands is improbable too, and ordinary remedies
  within their budgets are quicker for it than waves. Kubernetes calls a zone unhealthy at 55 %: that is when it stops
  evicting, on a signal that is forty seconds old; ours is one second old and a freeze ends with a verdict in seconds, so
  it may begin earlier. Heroku's two minutes of checks and orchestrator's one recovery an hour are the other end of it.
The base rate is measured, so a fleet on lossy cables does not cry storm at what is its everyday; it is never taken to be
below one fall a unit and day, and what falls in a storm is not learnt from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

FLEET = "fleet"
COVERS = 0.95
"""A set of scopes explains the fallen when this share of them lies in it, or when the rest is too few to be a storm."""

SCOPES_MAX = 3
"""More than three zones (versions, images) at once are the fleet."""

SHARPER = 1.5
"""A smaller scope must hold this much more of the fallen per unit than the fleet does: else its name explains nothing."""

FALLS_A_DAY = 1.0
MEMORY_S = 3600.0
"""The base rate's floor, and how long a fall is remembered in it."""

ECHO_FRESH_S = 0.4
"""Our own pulse goes out four times a second. A wire that breaks shows in it no later than in the others' silence (1.5 s since
a frame that came up to a second before): an echo that is older than this is awaited before anybody's silence is told."""

LATE_S = 0.4
JUMP_S = 2.0
"""A tick that came this late means that we were stopped; a wall clock that moved this far from the monotonic one jumped."""

ANSWERS = frozenset({"serving", "starting"})
DENIES = frozenset({"refused", "silent"})

Counts = NDArray[np.int64]


class Word(StrEnum):
    """A verdict in a word."""

    CALM = "calm"
    US = "us"
    LOCAL = "local"
    SUSPECT = "suspect"
    MASS = "mass"


@dataclass(frozen=True, slots=True)
class Limits:
    """window_s: what falls within this many seconds fell at once (silence is noticed 1.5 to 8 s after it began). least,
    share, chance: see above.
    """

    window_s: float = 10.0
    least: int = 5
    share: float = 0.05
    chance: float = 1e-6


@dataclass(frozen=True, slots=True)
class Verdict:
    """why: for people. scopes: where, for SUSPECT and MASS. evidence: plain values for the log."""

    word: Word
    why: str
    scopes: tuple[str, ...] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)


class Ourselves(msgspec.Struct, frozen=True):
    """Our own signs. deaf: our own pulse does not come back through the wire. echo_s: how long ago it last did. late_s: how late our last tick was.
    jump_s: how far our wall clock moved besides the monotonic one. store_down: the log cannot be written.
    """

    deaf: bool = False
    late_s: float = 0.0
    jump_s: float = 0.0
    store_down: bool = False
    echo_s: float = 0.0

    @property
    def hears(self) -> bool:
        """Our own pulse came back when the others' should have come: only then does their silence say anything."""
        return not self.deaf and self.echo_s <= ECHO_FRESH_S

    @property
    def fault(self) -> str:
        """Why it is us, '' when nothing says so."""
        if self.deaf:
            return "our own pulse does not come back through the wire"
        if self.late_s > LATE_S:
            return f"this controller did not run for {self.late_s:.1f} s"
        if abs(self.jump_s) > JUMP_S:
            return f"our clock jumped by {self.jump_s:+.1f} s"
        return "the store does not answer" if self.store_down else ""


@dataclass(frozen=True, slots=True, eq=False)
class Dimension:
    """One way to divide the fleet. names: value by code. total, fallen: units by code, shape (len(names),)."""

    kind: str
    names: tuple[str, ...]
    total: Counts
    fallen: Counts

    def scope(self, code: int) -> str:
        """Its scope as people write it: 'zone:a', or 'fleet'."""
        return f"{self.kind}:{self.names[code]}" if self.kind != FLEET else FLEET


def counted(
    kind: str, names: Sequence[str], codes: NDArray[np.integer[Any]], live: NDArray[np.bool_], fallen: NDArray[np.bool_]
) -> Dimension:
    """Count units by code. codes, live, fallen: a unit each, shape (n,); units that are not live count nowhere."""
    size = len(names)
    down = live & fallen
    return Dimension(
        kind, tuple(names), np.bincount(codes[live], minlength=size), np.bincount(codes[down], minlength=size)
    )


def whole(total: int, fallen: int) -> Dimension:
    """The fleet as one scope."""
    return Dimension(FLEET, (FLEET,), np.array([total]), np.array([fallen]))


def improbable(total: Counts, fallen: Counts, base: float) -> NDArray[np.float64]:
    """At most how probable it is that so many fall by themselves; 1 where no more fell than usual. base: 0 < p < 1."""
    n = np.maximum(total, 1).astype(np.float64)
    share = np.clip(fallen / n, 0.0, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        up = np.where(share > 0, share * np.log(share / base), 0.0)
        down = np.where(share < 1, (1 - share) * np.log((1 - share) / (1 - base)), 0.0)
    return np.where(share > base, np.exp(-n * (up + down)), 1.0)


def storms(dimension: Dimension, base: float, limits: Limits, scopes: int) -> NDArray[np.bool_]:
    """Which of its scopes are in a storm. scopes: how many are looked at in all, since each is one more chance to err."""
    enough = (dimension.fallen >= limits.least) & (dimension.fallen >= limits.share * dimension.total)
    if not enough.any():
        return enough  # most looks end here, and logarithms cost
    unlikely = improbable(dimension.total, dimension.fallen, base) < limits.chance / max(scopes, 1)
    return enough & unlikely


def first_look(us: Ourselves, dimensions: Sequence[Dimension], base: float, limits: Limits) -> Verdict:
    """CALM, US, LOCAL or SUSPECT. dimensions: the first is `whole`; a unit may be of no scope in the others."""
    fleet = dimensions[0]
    fallen, total = int(fleet.fallen[0]), int(fleet.total[0])
    if us.fault:
        return Verdict(Word.US, us.fault, (FLEET,), _evidence(fleet, 0, base))
    if not fallen:
        return Verdict(Word.CALM, "nothing fell")
    looked_at = sum(len(each.names) for each in dimensions)
    stormy = [storms(each, base, limits, looked_at) for each in dimensions]
    sets = [
        (each, np.flatnonzero(at))
        for each, at in zip(dimensions[1:], stormy[1:], strict=True)
        if at.any() and len(each.names) > 1
    ]
    chosen = _sharpest(fleet, sets, limits.least, whole_too=bool(stormy[0][0]))
    if chosen is None:
        return Verdict(Word.LOCAL, f"{fallen} of {total} fell: no more than ordinary remedies are for")
    dimension, codes = chosen
    scopes = tuple(dimension.scope(code) for code in codes.tolist())
    down, of = int(dimension.fallen[codes].sum()), int(dimension.total[codes].sum())
    why = f"{down} of {of} in {', '.join(scopes)} fell within {limits.window_s:g} s"
    evidence = {scope: _evidence(dimension, code, base) for scope, code in zip(scopes, codes.tolist(), strict=True)}
    return Verdict(Word.SUSPECT, why, scopes, evidence)


def _sharpest(
    fleet: Dimension, sets: list[tuple[Dimension, NDArray[np.intp]]], least: int, *, whole_too: bool
) -> tuple[Dimension, NDArray[np.intp]] | None:
    """The set of scopes that explains the fallen with the fewest units besides; the fleet when none does."""
    everyone, everything = int(fleet.fallen[0]), max(int(fleet.total[0]), 1)
    usual = everyone / everything
    best: tuple[float, float, Dimension, NDArray[np.intp]] | None = None
    for dimension, codes in sets:
        within, of = int(dimension.fallen[codes].sum()), int(dimension.total[codes].sum())
        covered, sharp = within / everyone, within / max(of, 1)
        enough = covered >= COVERS or (everyone - within < least and 2 * within > everyone)
        explains = enough and len(codes) <= SCOPES_MAX and sharp >= SHARPER * usual
        if whole_too and not explains:
            continue
        if best is None or (round(covered, 2), sharp) > best[:2]:
            best = (round(covered, 2), sharp, dimension, codes)
    if best is not None:
        return best[2], best[3]
    return (fleet, np.array([0])) if whole_too else None


def _evidence(dimension: Dimension, code: int, base: float) -> dict[str, Any]:
    total, fallen = int(dimension.total[code]), int(dimension.fallen[code])
    chance = float(improbable(dimension.total[[code]], dimension.fallen[[code]], base)[0])
    return {"total": total, "fallen": fallen, "base": round(base, 9), "chance": float(f"{chance:.2g}")}


def base_rate(rate: float, fallen: int, units: int, seconds: float) -> float:
    """Falls a unit and second, after `fallen` of `units` fell in `seconds` (exponential forgetting)."""
    if units <= 0 or seconds <= 0:
        return rate
    weight = 1.0 - float(np.exp(-seconds / MEMORY_S))
    return rate + weight * (fallen / (units * seconds) - rate)


def within(rate: float, window_s: float) -> float:
    """The base rate as a probability of falling within the window, floored, and below a half."""
    return min(max(rate, FALLS_A_DAY / 86_400) * window_s, 0.5)


# ---- the second look


@dataclass(frozen=True, slots=True)
class Sample:
    """A fallen unit that others were asked about. ours: what our own look saw; theirs: what agents outside of the scope
    saw, each 'serving' | 'starting' | 'refused' | 'silent', '' for nobody could look. provider: does it say that its
    server runs (None: it cannot tell).
    """

    unit: str
    ours: str
    theirs: str
    provider: bool | None

    @property
    def serves(self) -> bool:
        """Somebody saw it serve."""
        return self.ours in ANSWERS or self.theirs in ANSWERS

    @property
    def down(self) -> bool:
        """Somebody besides us says that it does not (S6: never on one's word)."""
        return not self.serves and (self.theirs in DENIES or self.provider is False)


@dataclass(frozen=True, slots=True)
class Canary:
    """A unit known to be good by its pulse, and what our own look at it saw. inside: it lies in the scope."""

    unit: str
    ours: str
    inside: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """All that was asked. silent, total: units of the scope not heard at this moment, and all of it."""

    samples: tuple[Sample, ...]
    canaries: tuple[Canary, ...]
    silent: int
    total: int


def second_look(us: Ourselves, asked: Asked, limits: Limits, scopes: Sequence[str]) -> Verdict:
    """US, LOCAL or MASS."""
    serve = [sample.unit for sample in asked.samples if sample.serves]
    down = [sample.unit for sample in asked.samples if sample.down]
    mute = [canary.unit for canary in asked.canaries if canary.ours not in ANSWERS]
    evidence = {
        "silent": asked.silent, "total": asked.total, "asked": len(asked.samples), "serve": len(serve), "down": len(down),
        "canaries": len(asked.canaries), "canaries_mute": len(mute),
        "provider_denies": sum(1 for sample in asked.samples if sample.provider is False),
    }  # fmt: skip
    where = ", ".join(scopes)

    def said(word: Word, why: str) -> Verdict:
        return Verdict(word, why, tuple(scopes), evidence)

    if us.fault:
        return said(Word.US, us.fault)
    if asked.silent < limits.least or asked.silent < limits.share * asked.total:
        return said(Word.LOCAL, f"{asked.silent} of {asked.total} in {where} are still silent: ordinary remedies go on")
    if len(asked.canaries) > 1 and len(mute) == len(asked.canaries):
        return said(Word.US, f"none of {len(mute)} canaries, whose pulse is good, answers us: our own view is broken")
    if 2 * len(serve) > len(asked.samples):
        return said(
            Word.US, f"{len(serve)} of {len(asked.samples)} silent ones that were looked at serve: we do not hear them"
        )
    if down and 2 * len(down) >= len(asked.samples):
        return said(Word.MASS, f"{len(down)} of {len(asked.samples)} that were looked at are down, by another vantage point than us; "
                               f"{asked.silent} of {asked.total} in {where} are silent")  # fmt: skip
    return said(Word.US, "nobody but us says that they are down")
