"""How much was done for what was needed: effects of all controllers of a day, by the engine's own tallies."""

from __future__ import annotations

from herder.engine.effects import EffectRunner

LOOKS = frozenset({
    "watch_server", "ask_vantages", "check_canaries", "watch_ourselves", "probe_dependency", "watch_dependency",
    "await_lease", "await_catch_up", "await_servers",
})  # fmt: skip
"""Effects that only look or wait. They change nothing, and most end without an outcome because what they looked at came
back by itself: neither done in vain nor needed, so they count for neither figure. A note of the result gives their number.
"""


class Effects:
    """Sums over the controllers of a day. Of each effect: (calls begun, tries included; calls whose outcome was handed in)."""

    def __init__(self) -> None:
        self._runner: EffectRunner | None = None
        self._ended: dict[str, tuple[int, int]] = {}  # of controllers that are no more
        self._before: dict[str, tuple[int, int]] = {}  # when the day began

    def follow(self, runner: EffectRunner) -> None:
        """From now on this one's; what the one before it did is kept."""
        if self._runner is None:
            self._before = _told(runner)
        elif runner is not self._runner:
            self._ended = _sum(self._ended, _told(self._runner))
        self._runner = runner

    def _all(self, runner: EffectRunner) -> dict[str, tuple[int, int]]:
        before = {effect: (-started, -ended) for effect, (started, ended) in self._before.items()}
        return _sum(_sum(self._ended, _told(runner)), before)

    def done_and_needed(self, runner: EffectRunner) -> tuple[int, int]:
        """done: every call that was begun for a machine, tries again included. needed: those whose outcome moved their
        machine. The rest was tried again, or overtaken by another remedy. Without LOOKS.
        """
        counted = [told for effect, told in self._all(runner).items() if effect not in LOOKS]
        return sum(started for started, _ in counted), sum(ended for _, ended in counted)

    def looks(self, runner: EffectRunner | None) -> str:
        """The sentence about LOOKS; '' when there were none."""
        told = [told for effect, told in self._all(runner).items() if effect in LOOKS] if runner is not None else []
        started, ended = sum(started for started, _ in told), sum(ended for _, ended in told)
        if not started:
            return ""
        return f"{started:,} looks and waits were begun, {ended:,} with an outcome: not counted in the amplification."


def _told(runner: EffectRunner) -> dict[str, tuple[int, int]]:
    return {effect: (tally.started, tally.ended) for effect, tally in runner.tallies.items()}


def _sum(one: dict[str, tuple[int, int]], other: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    found = dict(one)
    for effect, (started, ended) in other.items():
        before = found.get(effect, (0, 0))
        found[effect] = before[0] + started, before[1] + ended
    return found
