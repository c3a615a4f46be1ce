"""A result with invented numbers, for tests of everything that is made from results. No drill ever gave these."""

from __future__ import annotations

import math
from dataclasses import replace

from herder.sim.drill import manual, reading
from herder.sim.drill.result import DrillResult, Forecast, Limit, PageSent, Parked, Remedies, Timeline

MINUTE_MS = 60_000


def result(**changes) -> DrillResult:
    """A day of s3-2017 that went well."""
    scenario = reading.read("s3-2017").with_services(1_000_000)
    start = scenario.start_ms
    at_ms = tuple(range(start, start + 285 * MINUTE_MS + 1, MINUTE_MS // 2))
    counts = {
        "archive.stalled": 850_000, "archive.drained": 850_000, "failover.promoted": 61, "restart.restarted": 212,
        "rebuild.enrolled": 70, "server.create": 88, "server.up": 140, "strike.shrunk": 44, "service.primary_uncertain": 301,
        "drill.incidents": 1, "drill.pages": 4, "drill.services_touched": 850_000, "drill.services_unavailable": 402,
    }  # fmt: skip
    made = DrillResult(
        scenario=scenario, seed=7, store="postgres", services=1_000_000, machines=4_550_000, wall_s=141.3,
        peak_rss_mb=2914.0, trace_sha256="5f" * 32, transitions=3_412_090, units_touched=851_220,
        effects_done=862_400, effects_needed=851_000, lost_premium=0, lost_beyond_bound=0, two_primaries=0,
        wrong_promotions=0, not_well=0, destroyed_while_blind=0, without_data=2, not_rebooted=0, lost_async_writes=37,
        well_ms=start + 281 * MINUTE_MS, projection_lag_moves=120_000, projection_lag_s=1.7, log_bytes=112_000_000,
        machine_bytes=251_000_000, hand=manual.by_hand(manual.read(), counts), timeline=_timeline(at_ms), counts=counts,
        remedies=(Remedies("failover", 63, 61, 1), Remedies("restart", 214, 212, 0), Remedies("rebuild", 91, 70, 0)),
        parked=(Parked("launches of servers", "provider launches", 88, 15_300.0, start + 266 * MINUTE_MS),
                Parked("archives", "writes to the object store", 850_000, 15_990.0, start + 281 * MINUTE_MS)),
        pages=(PageSent(start + 12 * MINUTE_MS, start + 24 * MINUTE_MS, "dependency_down", "object_store", 850_000),
               PageSent(start + 13 * MINUTE_MS, start + 13 * MINUTE_MS, "mass_outage", "fleet", 850_000),
               PageSent(start + 96 * MINUTE_MS, start + 96 * MINUTE_MS + 900, "loss_beyond_bound", "orders-8812", 1),
               PageSent(start + 180 * MINUTE_MS, None, "server_will_not_boot", "srv-120994", 1)),
        forecasts=(Forecast(start + 265 * MINUTE_MS, start + 283 * MINUTE_MS),
                   Forecast(start + 272 * MINUTE_MS, start + 281 * MINUTE_MS)),
        limits=(Limit("archive drain", 1010.0, "25 GB/s for the fleet", "fleet.archive.drain_bytes_per_s"),
                Limit("provider launches", 12.0, "200 a second", "fleet.provider.launches_per_s"),
                Limit("budget of failovers", 0.0, "100 at once", ""), Limit("controller", 4.0, "2 cores", "")),
    )  # fmt: skip
    return replace(made, **changes)


def _timeline(at_ms: tuple[int, ...]) -> Timeline:
    minutes = [(at - at_ms[0]) / MINUTE_MS for at in at_ms]
    down = tuple(round(18 + 9 * math.sin(m / 7)) + (25 if 60 < m < 64 else 0) for m in minutes)
    left = tuple(round(850_000 * _outage(m)) for m in minutes)
    unsure = tuple(round(5 + 4 * math.cos(m / 3)) for m in minutes)
    draining = tuple(min(2000, value) if minute > 264 else 0 for value, minute in zip(left, minutes, strict=True))
    return Timeline(
        at_ms=at_ms,
        states={
            "service": {"available": tuple(1_000_000 - d - u for d, u in zip(down, unsure, strict=True)),
                        "unavailable": down, "uncertain": unsure},
            "archive": {"available": tuple(850_000 - each for each in left), "restart": draining,
                        "uncertain": tuple(a - b for a, b in zip(left, draining, strict=True))},
        },
        unavailable={"postgres dev": tuple(round(d * 0.7) for d in down), "postgres standard": tuple(round(d * 0.2) for d in down),
                     "postgres premium": tuple(round(d * 0.02) for d in down)},
        backlog={"launches of servers": tuple(round(0.33 * max(0, min(m - 7, 257))) if m < 266 else 0 for m in minutes),
                 "archives": left},
        bytes_waiting=tuple(round(value * 2000 * 60 * max(0, min(m, 264) - 7)) for value, m in zip(left, minutes, strict=True)),
        to_recover=tuple(850_000 if m > 7 else 0 for m in minutes),
        recovered=tuple(850_000 - value if m > 7 else 0 for value, m in zip(left, minutes, strict=True)),
    )  # fmt: skip


def _outage(minute: float) -> float:
    if minute < 7:
        return 0.0
    return 1.0 if minute < 264 else max(0.0, 1 - (minute - 264) / 17)
