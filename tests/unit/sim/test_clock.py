"""Virtual time: it passes at once, in order, the same for the same seed, and a wait without end is told."""

import asyncio

import pytest

from herder.sim.clock import START_MS, Deadlock, HostClock, SimClock, SimRandom, pass_time, run


def test_an_hour_passes_at_once_and_is_seen_by_everybody():
    clock = SimClock()

    async def main():
        await pass_time(3600)
        return clock.monotonic(), clock.now_ms()

    assert run(main) == (3600.0, START_MS + 3_600_000)


def test_what_is_due_earlier_runs_earlier_whatever_was_begun_first():
    order = []

    async def at(seconds):
        await pass_time(seconds)
        order.append(seconds)

    async def main():
        await asyncio.gather(at(2.0), at(0.5), at(1.0))

    run(main)
    assert order == [0.5, 1.0, 2.0]


def test_waiting_for_what_can_never_come_is_told():
    async def main():
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Deadlock, match="nothing is scheduled"):
        run(main)


def test_a_timeout_fires_at_its_time():
    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await pass_time(6)
        return asyncio.get_running_loop().time()

    assert run(main) == 5.0


def test_a_callback_that_raises_fails_the_run():
    async def main():
        asyncio.get_running_loop().call_later(1, lambda: 1 / 0)
        await pass_time(2)

    with pytest.raises(ZeroDivisionError):
        run(main)


def test_the_same_seed_and_name_draw_the_same_and_other_names_do_not():
    one, again, other = SimRandom(7, "a"), SimRandom(7, "a"), SimRandom(7, "b")
    drawn = one.token(8)
    assert drawn == again.token(8)
    assert drawn != other.token(8)


def test_a_host_clock_may_run_fast_and_does_not_move_when_its_rate_is_changed():
    clock = HostClock(offset_s=100.0, rate=1.1)
    assert clock.read(10.0) == pytest.approx(111.0)
    assert clock.true_span(11.0) == pytest.approx(10.0)
    clock.drift(0.9, true_s=10.0)
    assert clock.read(10.0) == pytest.approx(111.0)
    assert clock.read(20.0) == pytest.approx(120.0)
    clock.jump(-50.0)
    assert clock.read(20.0) == pytest.approx(70.0)
