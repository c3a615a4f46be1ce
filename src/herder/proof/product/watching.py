"""What the effects of the fleet's machines find out: canaries, whether we hear, whether a dependency answers, what drains.

Verdicts are the production functions'. The rest of the zone is as this service is while a storm lasts, and well without one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from herder.proof.product.acts import Act, Rules, harmed, slots
from herder.proof.product.context import Context
from herder.proof.product.shelf import NEAR
from herder.proof.product.shelf import member_name as name
from herder.proof.product.small import DEAD, DEAF, PROVIDER, STORE, STORM, UP, Small
from herder.pulse.storm import Asked, Canary, Limits, Ourselves, Sample, Verdict, Word, second_look
from herder.remedies.incident import Checked, Heard

Handler = Callable[[Context, Small, Rules], Iterator[Act]]

OTHERS = 50
"""Servers of the zone for each of the service's."""


def check_canaries(job: Context, world: Small, rules: Rules) -> Iterator[Act]:
    """Canaries, a second vantage point and the provider are asked about those that are not heard."""
    verdict = _look(job, world, wrong=False)
    yield Act(verdict.why, world, str(Checked(verdict.word)))
    if (worse := harmed(world)) is not None:
        wrong = _look(job, world, wrong=True)
        if wrong.word is not verdict.word:
            yield Act(f"the witnesses are wrong: {wrong.why}", worse, str(Checked(wrong.word)), fair=False)


def watch_ourselves(job: Context, world: Small, rules: Rules) -> Iterator[Act]:
    """Still us is no outcome: we look on."""
    verdict = _look(job, world, wrong=False)
    if verdict.word is Word.LOCAL:
        yield Act("we hear them again", world, str(Heard.HEARING))
    elif verdict.word is Word.MASS:
        yield Act(verdict.why, world, str(Heard.THEIRS))
    elif not world.outside & DEAF and (worse := harmed(world)) is not None:
        yield Act("the witnesses are wrong: they are down", worse, str(Heard.THEIRS), fair=False)


def _look(job: Context, world: Small, *, wrong: bool) -> Verdict:
    """The production verdict. wrong: the witnesses do not reach those who serve."""
    silent = [*slots(job.everybody & ~job.up)]
    many = OTHERS if world.outside & STORM else 1
    deaf = bool(world.outside & DEAF)
    samples = tuple(_sample(world, slot, deaf=deaf, wrong=wrong) for slot in silent for _ in range(3))
    canaries = tuple(Canary(f"far-{at}", "silent" if deaf else "serving", inside=False) for at in range(2))
    count = len(silent) * many
    asked = Asked(samples, canaries, count, job.everybody.bit_count() * OTHERS)
    return second_look(Ourselves(deaf=deaf), asked, Limits(), ("zone:local",))


def _sample(world: Small, slot: int, *, deaf: bool, wrong: bool) -> Sample:
    member = world.members[slot]
    truth = "silent" if member.host != UP else "serving" if member.runs else "refused"
    theirs = "silent" if wrong or not member.peers else truth
    ours = truth if member.control and not deaf else "silent"
    return Sample(name(slot), ours, theirs, None if world.outside & PROVIDER else member.host != DEAD)


def _answers(job: Context, world: Small) -> bool:
    return not world.outside & (STORE if job.rested else PROVIDER)


def probe_dependency(job: Context, world: Small, rules: Rules) -> Iterator[Act]:
    """Three answers, or three failures, in a row."""
    answers = _answers(job, world)
    yield Act("it answers" if answers else "it does not answer", world, "answered" if answers else "down")


def watch_dependency(job: Context, world: Small, rules: Rules) -> Iterator[Act]:
    """Silence is no outcome."""
    if _answers(job, world):
        yield Act("it answers again", world, "answering")


def drain_backlog(job: Context, world: Small, rules: Rules) -> Iterator[Act]:
    """Archives are let in, then nothing waits for it any more; a provider takes its full rate again."""
    if job.rested and not job.well:
        yield Act("the archive has its turn", world, besides=((NEAR["archive"], "drain"),))
    elif _answers(job, world):
        yield Act("nothing waits for it any more", world, "drained")


def drain_archive(job: Context, world: Small, rules: Rules) -> Iterator[Act]:
    """Its agent sends what it buffered."""
    taken = not world.outside & STORE
    yield Act(
        "its store takes everything" if taken else "its store does not take it",
        world,
        "drained" if taken else "stalled",
    )


NEEDS_PROVIDER = frozenset({"launch_server", "boot_server"})


def unanswered(job: Context, world: Small) -> Iterator[Act]:
    """An effect that asks a provider which does not answer."""
    yield Act(f"the provider does not answer for the server of {name(job.slot)}", world, "failed", whom=job.slot)


WATCHING: dict[str, Handler] = {
    "check_canaries": check_canaries, "watch_ourselves": watch_ourselves, "probe_dependency": probe_dependency,
    "watch_dependency": watch_dependency, "drain_backlog": drain_backlog, "drain_archive": drain_archive,
}  # fmt: skip
"""Effects of the fleet's machines."""
