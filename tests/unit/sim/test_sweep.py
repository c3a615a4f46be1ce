"""The crash sweep: points are numbered and the same in each run, kills happen where they say, and a difference is told."""

import threading
from io import StringIO

import pytest
from rich.console import Console

from herder.engine import bulk
from herder.model.errors import InvalidInput
from herder.remedies import destroy
from herder.sim.sweep.campaign import EVERY, Swept, Task, Wish, facts, sweep, sweep_all, tasks_of
from herder.sim.sweep.ending import ELECTED, REDONE, UNKNOWN_LOSS, judge
from herder.sim.sweep.fork import parted
from herder.sim.sweep.points import CONTROLLER, Kill, Point, Successor, When, kills_at
from herder.sim.sweep.run import play
from herder.sim.sweep.scenes import PLAYBOOKS, SCENES, Scene, chosen
from herder.sim.sweep.summary import summary

RESTART = Scene("restart", "dev")
PROVISION = Scene("provision", "dev")
DESTROY = Scene("destroy", "dev")
SWITCHOVER = Scene("switchover", "standard")


def at(run, words, who=CONTROLLER):
    """The first point whose words begin so."""
    return next(point for point in run.points if point.words.startswith(words) and point.who.startswith(who))


def test_undisturbed_a_scene_ends_well_and_its_points_are_the_same_each_time():
    one, other = play(SWITCHOVER), play(SWITCHOVER)
    assert one.wrong == []
    assert one.points == other.points
    assert [point.number for point in one.points] == list(range(len(one.points)))
    assert one.facts["promotions"] == "1"
    assert one.facts["switchover that ended 'done'"] == "1"


def test_records_jobs_calls_and_an_agents_promises_acts_and_results_are_points():
    words = [point.words for point in play(PROVISION).points]
    for beginning in (
        "record of",
        "job 'create_primary'",
        "call 'create'",
        "promise of",
        "create_primary of",
        "result of",
    ):
        assert any(each.startswith(beginning) for each in words), (beginning, words)


@pytest.mark.parametrize("when", [When.BEFORE, When.SENT, When.LATE, When.AFTER])
@pytest.mark.parametrize("heir", list(Successor))
def test_killed_at_a_record_its_successor_ends_the_restart(when, heir):
    reference = play(RESTART)
    run = play(RESTART, (Kill(at(reference, "record of").number, when, heir),), story=True)
    assert run.wrong == []
    assert judge(RESTART, reference.facts, run.facts, run.struck).differences == []
    assert any(words.startswith("!! the controller is killed") for _, words in run.story)
    assert any("takes the shard over" in words for _, words in run.story)


def test_before_the_record_is_not_there_and_sent_it_is():
    number = at(play(RESTART), "record of").number
    before, sent = (play(RESTART, (Kill(number, when),)) for when in (When.BEFORE, When.SENT))
    assert before.points[number + 1].words == sent.points[number + 1].words == "record of a takeover"
    assert before.points[number + 2].words.startswith("record of restart")  # asked for again
    assert sent.points[number + 2].words.startswith("job 'restart'")


def test_a_job_that_was_sent_is_done_though_its_sender_is_dead():
    number = at(play(DESTROY), "job 'stop'").number
    sent, before = (play(DESTROY, (Kill(number, when),)) for when in (When.SENT, When.BEFORE))
    assert sent.points[number + 1].words.startswith("promise of stop")
    assert before.points[number + 1].words == "record of a takeover"


def test_an_agent_that_dies_half_way_dies_while_its_job_acts():
    reference = play(RESTART)
    point = at(reference, "restart of", "the agent")
    assert point.whens == (When.MIDDLE,)
    (kill,) = kills_at(point, tuple(Successor))
    assert 0 < kill.after_s < point.lasts_s
    run = play(RESTART, (kill,))
    assert run.wrong == []
    assert "result of restart" not in run.points[point.number + 1].words


def test_an_agent_that_dies_before_it_has_kept_its_result_acts_again_and_that_is_explained():
    reference = play(RESTART)
    run = play(RESTART, (Kill(at(reference, "result of restart", "the agent").number, When.BEFORE),))
    verdict = judge(RESTART, reference.facts, run.facts, run.struck)
    assert run.facts["engine starts"] == "2"
    assert (verdict.differences, verdict.explained) == ([], REDONE)
    assert judge(RESTART, reference.facts, run.facts, []).differences  # of a controller it would not be


def test_the_owner_of_an_asynchronous_service_is_told_when_nobody_can_say_what_a_promotion_would_lose():
    scene = next(s for s in SCENES if s.playbook == "failover" and s.plan == "standard" and s.engine == "valkey")
    reference = play(scene)
    run = play(scene, (Kill(0, When.BEFORE),))
    assert run.wrong == []
    assert judge(scene, reference.facts, run.facts, []).explained == UNKNOWN_LOSS
    twice = run.facts | {"promotions": "2"}
    assert judge(scene, reference.facts, twice, []).differences


def test_a_standbys_agent_remembers_what_its_primary_told_last_where_no_controller_wrote_it_down():
    scene = next(s for s in SCENES if s.playbook == "failover" and s.plan == "standard" and s.engine == "postgres")
    reference = play(scene)
    for heir in Successor:
        run = play(scene, (Kill(0, When.BEFORE, heir),))
        assert run.wrong == []
        found = judge(scene, reference.facts, run.facts, run.struck)
        assert (found.differences, found.explained) == ([], "")


@pytest.mark.parametrize("heir", list(Successor))
def test_whoever_takes_over_once_the_primary_fell_silent_promotes_within_the_bound_by_its_predecessors_note(heir):
    """Found by the sweep: what the dead controller had read was in no record, so nobody was promoted (S4)."""
    scene = next(s for s in SCENES if s.playbook == "failover" and s.plan == "standard" and s.engine == "valkey")
    reference = play(scene)
    run = play(scene, (Kill(at(reference, "record of server srv-5 silent").number, When.AFTER, heir),))
    assert run.wrong == []
    found = judge(scene, reference.facts, run.facts, run.struck)
    assert (found.differences, found.explained) == ([], "")


def test_another_standby_that_leads_is_explained_and_nothing_else_may_differ():
    scene = next(s for s in SCENES if s.playbook == "failover" and s.plan == "premium" and s.engine == "postgres")
    wanted = play(scene).facts
    way = {"s-1": "s-2", "s-2": "s-1"}
    swapped = {
        "".join(way.get(part, part) for part in _parts(key)): "".join(way.get(part, part) for part in _parts(value))
        for key, value in wanted.items()
    }
    swapped["voters"] = ", ".join(sorted(swapped["voters"].split(", ")))
    assert swapped["primary"] != wanted["primary"]
    assert judge(scene, wanted, swapped, []).differences == []
    assert judge(scene, wanted, swapped, []).explained == ELECTED
    assert judge(scene, wanted, swapped | {"term": "9"}, []).differences == ["term: 9, undisturbed 2"]


def _parts(words):
    return [words[i : i + 3] if words[i : i + 2] == "s-" else words[i] for i in _starts(words)]


def _starts(words):
    i = 0
    while i < len(words):
        yield i
        i += 3 if words[i : i + 2] == "s-" else 1


def test_every_first_kill_is_made_and_every_second_one_when_all_are_wished():
    reference = play(RESTART)
    tasks = tasks_of(Wish((RESTART,), EVERY), RESTART, reference)
    assert {task.kill.point for task in tasks} == {point.number for point in reference.points if point.whens}
    found = sweep(tasks[0], reference)
    assert (found.once, found.twice, found.different) == (1, found.could, 0)
    assert found.could > 3
    drawn = tasks_of(Wish((RESTART,), 7), RESTART, reference)
    assert sum(task.again for task in drawn) == 7


def test_a_handler_that_takes_silence_for_failure_is_found_and_its_point_told_in_words(monkeypatch):
    """As destroy once was: an agent that was only started again ended it, and a person was told."""
    reference = play(DESTROY)
    kill = Kill(at(reference, "promise of stop", "the agent").number, When.BEFORE)
    assert sweep(Task(DESTROY, kill, 0, 1), reference).different == 0
    monkeypatch.setattr(destroy, "try_again_where_silent", lambda errors: None)
    found = sweep(Task(DESTROY, kill, 0, 1), reference)
    assert found.different == 1
    assert "page 'destroy_failed': 1, undisturbed none" in found.differences[0].what
    assert found.differences[0].kills == (
        f"the agent of srv-4 killed before point {kill.point}, promise of stop for s-0 in term 2",
    )
    swept = Swept(DESTROY, {"controller": 1, "agent": 1}, 1.0, [], found)
    assert not swept.passed
    console = Console(width=200, record=True, file=StringIO())
    console.print(summary([swept], 1.0))
    told = console.export_text()
    assert "page 'destroy_failed': 1, undisturbed none" in told
    assert "stopping -failed-> failed" in told


def test_a_whole_sweep_of_small_scenes_passes_and_its_facts_say_how_much_was_run():
    told = []
    wish = Wish((RESTART, Scene("restart", "dev", cause="engine killed")), again=10)
    swept, wall_s = sweep_all(wish, told.append)
    assert told == swept
    said = facts(wish, swept, wall_s)
    assert said["passed"]
    assert said["runs"] == sum(each["killed_once"] + each["killed_twice"] for each in said["scenes"])
    assert [each["killed_twice"] for each in said["scenes"]] == [10, 10]
    assert all(each["points"] == {"controller": 3, "agent": 3} for each in said["scenes"])


def test_each_playbook_is_swept_and_one_that_is_not_is_refused():
    assert PLAYBOOKS == ("provision", "failover", "switchover", "rebuild", "restart", "strike", "destroy")
    assert {scene.playbook for scene in chosen(["destroy", "strike"], "", "")} == {"destroy", "strike"}
    assert all((s.plan, s.engine) == ("standard", "valkey") for s in chosen([], "standard", "valkey"))
    with pytest.raises(InvalidInput, match="'reboot' is not swept"):
        chosen(["reboot"], "", "")
    with pytest.raises(InvalidInput, match="no scene"):
        chosen(["strike"], "dev", "")


def test_kills_of_a_point_are_its_moments_times_who_takes_over():
    of_controller = Point(4, 0.0, CONTROLLER, "record", (When.BEFORE, When.AFTER))
    assert len(kills_at(of_controller, tuple(Successor))) == 4
    assert kills_at(Point(5, 0.0, "the agent of srv-1", "stop", (When.MIDDLE,), 0.5), tuple(Successor)) == [
        Kill(5, When.MIDDLE, Successor.SAME, 0.25)
    ]


def test_a_lead_that_was_handed_over_unseen_is_looked_for_and_the_move_goes_on(monkeypatch):
    """Found by the sweep: two controllers die in a Valkey switchover, nobody learns the end of its FAILOVER, and the step's time
    passes. The move was given up though the candidate led, so herder and the engines named different leaders.
    """
    monkeypatch.setattr(bulk, "TRY_MS", 0)  # as if the drain did not end while it was tried once more
    scene = Scene("switchover", "standard", "valkey")
    reference = play(scene)
    first = Kill(at(reference, "record of switchover s/switchover-8 ready").number, When.AFTER, Successor.OTHER)
    job = at(play(scene, (first,)), "job 'promote'")
    run = play(scene, (first, Kill(job.number, When.BEFORE, Successor.OTHER)), story=True)
    assert any("draining -overdue-> looking" in words for _, words in run.story)
    assert any("looking -moved-> promoting" in words for _, words in run.story)
    assert judge(scene, reference.facts, run.facts, run.struck).differences == []
    assert run.wrong == []


@pytest.mark.parametrize("engine", ["postgres", "valkey"])
def test_a_standby_whose_agent_dies_when_it_is_to_follow_the_new_primary_follows_it_in_the_end(engine):
    """Found by the sweep: it went on following the old primary, itself a standby by then, and looked well."""
    scene = Scene("switchover", "premium", engine)
    reference = play(scene)
    for point in (at(reference, "promise of follow for s-2", "the agent"), at(reference, "follow of s-2", "the agent")):
        for kill in kills_at(point, (Successor.SAME,)):
            run = play(scene, (kill,))
            assert judge(scene, reference.facts, run.facts, run.struck).differences == []
            assert run.wrong == []


def test_a_strike_that_gave_up_for_its_agents_death_stands_for_the_one_that_was_done_and_for_no_other_reason():
    scene = Scene("strike", "premium", cause="host dead")
    wanted = {"primary": "s-0", "strike that ended 'done'": "1"}
    found = {"primary": "s-0", "strike that ended 'failed'": "1"}
    by_agent = (Kill(8, When.AFTER), Point(8, 0.0, "the agent of srv-6", "result of set_sync of s-0", (When.AFTER,)))
    by_controller = (Kill(1, When.SENT), Point(1, 0.0, CONTROLLER, "record", (When.SENT,)))
    assert judge(scene, wanted, found, [by_controller, by_agent]).differences == []
    assert len(judge(scene, wanted, found, [by_controller]).differences) == 2
    assert len(judge(scene, wanted, {"primary": "s-0"}, [by_agent]).differences) == 1


@pytest.mark.parametrize(
    ("scene", "beginning"),
    [
        (Scene("failover", "standard", cause="host dead"), "record of server srv-5 fenced"),
        (Scene("failover", "premium", cause="host dead"), "record of server srv-6 gone"),
        (SCENES[5], "record of member s-0 exited"),
        (Scene("switchover", "premium"), "job 'drain'"),
        (Scene("rebuild", "premium"), "record of member s-2 exited"),
    ],
    ids=lambda each: getattr(each, "name", ""),
)
def test_a_step_that_was_overdue_when_the_third_controller_came_is_tried_and_ends_as_undisturbed(scene, beginning):
    """Found by all pairs of kills of one scene: two leases that are waited for are longer than a step may last."""
    reference = play(scene)
    first = Kill(at(reference, beginning).number, When.SENT, Successor.OTHER)
    takeover = at(play(scene, (first,)), "record of a takeover")
    run = play(scene, (first, Kill(takeover.number, When.BEFORE, Successor.OTHER)), story=True)
    assert run.wrong == []
    assert not any("overdue" in words for _, words in run.story)
    verdict = judge(scene, reference.facts, run.facts, run.struck)
    assert (verdict.differences, verdict.explained) == ([], "")


def test_one_that_dies_after_a_job_while_it_waits_for_another_dies_once_and_has_one_successor():
    """Two jobs at once, and a kill at each: two successors of one name took the shard from each other for ever."""
    scene = Scene("failover", "premium", "valkey", "host dead")
    reference = play(scene)
    first, second = (p for p in reference.points if p.words.startswith("job 'pledge'"))
    for one, other in ((When.BEFORE, When.BEFORE), (When.AFTER, When.SENT)):
        run = play(scene, (Kill(first.number, one), Kill(second.number, other)), story=True)
        assert sum("takes the shard over" in words for _, words in run.story) == 1
        assert judge(scene, reference.facts, run.facts, run.struck).differences == []


def test_a_standby_whose_agent_is_back_after_a_second_is_called_back_to_the_new_primary():
    """Found by all pairs of kills: asked twice within 10 ms, it went on following the old primary when that was a standby again."""
    scene = Scene("failover", "premium", "valkey", "host dead")
    reference = play(scene)
    first = Kill(at(reference, "job 'pledge' to s-1").number, When.SENT)
    promise = at(play(scene, (first,)), "promise of pledge for s-1", "the agent")
    run = play(scene, (first, Kill(promise.number, When.BEFORE)), story=True)
    assert run.wrong == []
    assert (run.facts["primary"], run.facts["engine s-1"]) == ("s-2", "follows s-2, data whole")
    assert judge(scene, reference.facts, run.facts, run.struck).differences == []


def test_a_standby_that_missed_the_order_to_follow_is_called_back_before_the_old_primary_is_a_standby_itself():
    """Found by all pairs of kills: with its agent dead twice it streamed from the old primary for good, and looked well."""
    scene = Scene("failover", "premium", "valkey", "host dead")
    reference = play(scene)
    first = Kill(at(reference, "promise of pledge for s-1", "the agent").number, When.BEFORE)
    promise = at(play(scene, (first,)), "promise of follow for s-1", "the agent")
    run = play(scene, (first, Kill(promise.number, When.BEFORE)), story=True)
    assert run.wrong == []
    assert any("followed-> done: the agent of server srv-7 did not answer" in words for _, words in run.story)
    assert (run.facts["primary"], run.facts["engine s-1"]) == ("s-2", "follows s-2, data whole")
    assert judge(scene, reference.facts, run.facts, run.struck).differences == []


def test_a_standby_whose_agent_dies_while_it_is_made_is_asked_again_and_the_service_is_provisioned():
    """Found by pairs of kills: a successor that found nobody listening burnt three tries within 10 ms, and a person was paged."""
    scene = Scene("provision", "standard", "valkey")
    reference = play(scene)
    first = Kill(at(reference, "job 'create_standby'").number, When.SENT)
    promise = at(play(scene, (first,)), "promise of create_standby", "the agent")
    run = play(scene, (first, Kill(promise.number, When.AFTER)))
    assert run.wrong == []
    assert judge(scene, reference.facts, run.facts, run.struck).differences == []


def test_a_run_that_parts_from_another_at_its_second_kill_is_the_run_from_the_beginning():
    kill = Kill(at(play(SWITCHOVER), "job 'promote'").number, When.AFTER, Successor.OTHER)
    first = play(SWITCHOVER, (kill,))
    seconds = [each for point in first.points[kill.point + 1 :] for each in kills_at(point, (kill.successor,))]
    assert {each.when for each in seconds} == set(When)
    told = parted(lambda fork: play(SWITCHOVER, (kill,), fork=fork), seconds, lambda run: run)
    assert told == [play(SWITCHOVER, (kill, second)) for second in seconds]


def test_a_run_that_says_nothing_is_no_run_that_passed(monkeypatch):
    kill = Kill(0, When.BEFORE)
    with pytest.raises(RuntimeError, match="1 of 1 runs said nothing"):
        parted(lambda fork: play(RESTART, (kill,), fork=fork), [Kill(2, When.BEFORE)], _die)
    with pytest.raises(RuntimeError, match="1 of 1 runs said nothing"):  # a point that is never reached
        parted(lambda fork: play(RESTART, (kill,), fork=fork), [Kill(999, When.BEFORE)], lambda run: run)
    monkeypatch.setattr("herder.sim.sweep.fork.SILENT_S", 0.5)
    with pytest.raises(RuntimeError, match="1 of 1 runs said nothing"):
        parted(
            lambda fork: play(RESTART, (kill,), fork=fork), [Kill(2, When.BEFORE)], lambda _: threading.Event().wait()
        )


def _die(run):
    raise SystemExit(3)
