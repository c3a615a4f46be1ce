"""The network: cuts in one direction, loss, duplicates, and what is under way when it is cut."""

from herder.sim.clock import SimRandom, pass_time, run
from herder.sim.network import ANY, Network, Weather


def network(weather=Weather(0.001, 0.0)):  # noqa: B008  frozen
    return Network(SimRandom(3), weather)


def test_a_cut_in_one_direction_leaves_the_other():
    net = network()
    net.cut("a", "b")
    assert not net.flows("a", "b")
    assert net.flows("b", "a")
    assert not net.between("a", "b")


def test_cuts_add_up_and_are_healed_one_by_one():
    net = network()
    net.cut("a", ANY)
    net.cut("a", ANY)
    net.heal("a", ANY)
    assert not net.flows("a", "b")
    net.heal("a", ANY)
    assert net.flows("a", "b")


def test_every_hop_adds_its_delay_and_may_lose_the_message():
    net = network()
    assert net.fate("a", "nats", "b") == (0.002,)
    net.cut("nats", "b")
    assert net.fate("a", "nats", "b") == ()


def test_a_share_of_messages_is_lost_doubled_and_overtaken():
    net = network(Weather(0.001, 0.0, loss=0.2, double=0.3, tail=0.3, tail_s=0.5))
    fates = [net.fate("a", "b") for _ in range(2000)]
    lost = sum(not fate for fate in fates) / 2000
    doubled = sum(len(fate) == 2 for fate in fates) / 2000
    late = sum(bool(fate) and fate[0] > 0.01 for fate in fates) / 2000
    assert 0.17 < lost < 0.23
    assert 0.2 < doubled < 0.28
    assert 0.19 < late < 0.29


def test_what_has_passed_a_hop_arrives_though_it_is_cut_then():
    net, heard = network(), []

    async def main():
        net.send(("a", "b"), heard.append, "x")
        net.cut("a", "b")
        net.send(("a", "b"), heard.append, "y")
        await pass_time(1)

    run(main)
    assert heard == ["x"]
