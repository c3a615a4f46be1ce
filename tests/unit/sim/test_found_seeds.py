"""What seeds found: the seed, the commit that it was found at, and a short list of items that showed it in some seed's fleet.

Each was seen to fail without its mending.
"""

from typing import NamedTuple

import pytest

from herder.sim.seeds.plan import Item, draw_plan
from herder.sim.seeds.run import run_plan


class Found(NamedTuple):
    """One finding. seed: that found it; fleet: the seed whose fleet shows it in a quarter of an hour. services: it has so many,
    None = as drawn.
    """

    seed: int
    commit: str
    what: str
    fleet: int
    items: tuple[Item, ...]
    services: int | None = 3


FOUND = (
    Found(
        1, "8fe8345", "a host that came back by itself stood in its successor's way for ever, where nothing may be fenced", 33,
        (Item(0, 60.0, "provider_down"), Item(70, 62.0, "reboot_host", 2), Item(71, 90.0, "reboot_host", 2),
         Item(72, 120.0, "reboot_host", 2)),
    ),
    Found(
        102, "8fe8345", "pages of a service that was destroyed while it was not well stayed open", 102,
        (Item(5, 30.0, "provider_down"), Item(37, 31.0, "create", 2), Item(2, 300.0, "destroy", 2)),
    ),
    Found(
        1006, "41f4600", "a server whose launch failed while the provider was down was never made, nor was its service", 1006,
        (Item(10, 30.0, "provider_down"), Item(95, 31.0, "create", 1)),
    ),
    Found(
        300144, "39535d9", "an incident of our own that began while all servers were known to be down never ended, and nothing was started", 3,
        (Item(108, 60.0, "outage"), Item(112, 70.0, "nats_down"), Item(113, 160.0, "nats_down")),
    ),
    Found(
        600017, "900dd3d", "the silence of a server whose planned reboot was called off was never told, nor could its member be rebuilt", 600017,
        (Item(0, 20.874, "rollout", 1), Item(1, 21.499, "freeze_host", 1), Item(2, 122.909, "provider_down", 3),
         Item(3, 185.338, "provider_moody", 1), Item(4, 190.728, "kill_host", 2), Item(5, 210.284, "succession", -1)),
        services=None,
    ),
    Found(
        700003, "2330c34", "a primary whose disk was full, and whose engine ended before there was room, was never started again", 700003,
        (Item(14, 361.826, "exercise", 0), Item(15, 362.364, "fill_disk", 0), Item(16, 391.009, "interrupt", 0)),
        services=None,
    ),
    Found(
        800390, "24508d2", "what was heard of a host before it died was committed after it had, and its silence was never told", 800390,
        (Item(30, 88.764, "freeze_controller"), Item(46, 451.222, "outage", -1), Item(48, 454.337, "store_down"),
         Item(51, 469.708, "attrition")),
    ),
    Found(
        800550, "ef498e6", "a failover waited for a rebuild, the rebuild for its turn in the recovery, and the recovery for the failover", 800550,
        (Item(2, 64.706, "interrupt"), Item(4, 76.106, "outage", 2)),
    ),
    Found(
        710913, "ef498e6", "a server whose planned reboot was over was booted 2,000 s later as if it were planned, and its deposed primary started", 710913,
        (Item(0, 68.427, "rollout", 4), Item(1, 69.449, "provider_down", 4), Item(2, 148.64, "kill_agent", -1),
         Item(21, 556.85, "kill_host", 1), Item(55, 786.005, "kill_host", 1)),
        services=None,
    ),
    Found(
        710927, "c9feece", "an incident of our own waited for standbys that were uncertain, and they for their primary, which it kept from being started", 710927,
        (Item(2, 190.582, "outage", -1), Item(13, 504.509, "outage", -1)),
        services=None,
    ),
    Found(
        800584, "ef498e6", "all hosts that fell just after an incident of our own were seen as single failures for five seconds", 800584,
        (Item(18, 426.033, "clock_jump", 2), Item(19, 426.639, "outage", 2)),
    ),
    Found(
        820027, "947702f", "a host that had fallen seconds before all did was counted by its first fall, and their storm was not seen", 820027,
        (Item(0, 136.993, "nats_down", -1), Item(2, 144.599, "reboot_host", 1), Item(3, 144.801, "kill_agent", 1), Item(4, 153.397, "outage", 1)),
    ),
    Found(
        820282, "947702f", "of a storm that two controllers told by halves neither saw one", 820282,
        (Item(0, 35.982, "kill_host", -1), Item(8, 380.968, "kill_agent", -1), Item(9, 382.595, "interrupt", 1),
         Item(10, 383.103, "store_stalls", 1), Item(11, 386.395, "outage", 1)),
    ),
    Found(
        721004, "6f6d7f8", "a standby that was promoted as planned, unheard, and whose host then died was not started, and asked to pledge for ever", 721004,
        (Item(85, 125.94, "switchover", 1), Item(86, 126.157, "cut_host", 1), Item(88, 163.533, "attrition", 1)),
        services=None,
    ),
    Found(
        847646, "9831583", "an earlier life of a server was heard after the boot that had waited for it: it looked well, and its agent refused every job", 847646,
        (Item(1, 37.439, "freeze_host", 1), Item(3, 228.114, "create", 1), Item(4, 229.734, "cut_controller", 1),
         Item(9, 383.273, "cut_host", -1), Item(10, 391.725, "kill_agent", 1), Item(15, 668.402, "outage", 2),
         Item(16, 678.554, "attrition", 1), Item(17, 682.046, "fill_disk", 2), Item(18, 683.075, "outage", 1),
         Item(19, 688.129, "provider_moody", 2), Item(20, 807.627, "crash_controller", -1),
         Item(27, 1084.588, "destroy"), Item(29, 1258.04, "kill_agent", 1)),
    ),
    Found(
        860082, "51ca24f", "of a storm that two controllers told by halves neither saw one, since the wall clock of the first had been set back", 860082,
        (Item(12, 380.655, "corner", -1), Item(13, 478.92, "clock_jump", -1), Item(14, 490.041, "outage"),
         Item(15, 490.989, "crash_controller"), Item(16, 505.146, "provider_moody")),
    ),
    Found(
        731700, "798ec4e", "a boot that waited for the provider and a remedy that waited for a slot took each other's note without end", 731700,
        (Item(12, 471.48, "create", 6), Item(13, 474.43, "nats_down", 6), Item(35, 1192.361, "provider_down", 13),
         Item(36, 1197.802, "outage", 13), Item(37, 1483.555, "fill_disk", 19)),
        services=None,
    ),
)  # fmt: skip


@pytest.mark.parametrize("found", FOUND, ids=[f"seed {found.seed}" for found in FOUND])
def test_what_a_seed_found_stays_mended(found):
    result = run_plan(draw_plan(found.fleet, hours=0.25, services=found.services), found.items)
    assert result.found == [], found.what
    assert result.paged == [], found.what
    assert sum(result.faults.values()) > 0
