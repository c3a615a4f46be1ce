"""The report: one file, nothing fetched, everything said. Its numbers are invented (see sample)."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from herder.sim.drill import charts, report, telling
from herder.sim.drill.result import Timeline
from tests.unit.sim.drill import sample

VOID = {"meta", "br", "link", "img", "input"}


class Checked(HTMLParser):
    """Knows which tags are open, so that a tag that is never closed is found, and every attribute that could fetch."""

    def __init__(self):
        super().__init__()
        self.open, self.wrong, self.fetches, self.text = [], [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self.fetches += [f"{tag} {name}={value}" for name, value in attrs if name in {"src", "href", "srcset", "data"}]

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        self.text.append(data)


def read(html):
    page = Checked()
    page.feed(html)
    return page


@pytest.fixture(scope="module")
def html():
    return report.render(sample.result())


def test_it_is_well_formed(html):
    page = read(html)
    assert page.wrong == []
    assert page.open == []


def test_it_fetches_nothing(html):
    assert read(html).fetches == []
    assert not re.search(r"@import|url\((?!#)|<script|<link", html)


def test_nothing_of_the_template_is_left_over(html):
    assert "$" not in html


def test_it_is_small_enough_to_be_mailed(html):
    assert len(html) < 600_000


def test_it_has_a_chart_for_each_of_the_promised_pictures(html):
    for label in ("services by state over time", "archives by state over time", "services that took no writes, by plan",
                  "recovery progress", "what waits", "log that is not archived yet", "pages over time"):  # fmt: skip
        assert html.count(f'aria-label="{label}"') == 2, f"{label}: wide and narrow"


def test_it_says_the_same_work_by_hand_with_its_arithmetic(html):
    text = " ".join(read(html).text)
    assert "35,579 hours ÷ 1800 hours a year = 19.8 person-years" in text
    assert "35.0 years" in text


def test_states_are_told_apart_by_texture_too(html):
    assert 'class="area hatch"' in html
    assert 'class="area dots"' in html


def test_a_day_that_does_not_hold_says_so_first():
    text = " ".join(read(report.render(sample.result(lost_premium=2))).text)
    assert "1 of 8 assertions do not hold: lost_premium at most 0, it was 2" in text


def test_what_a_scenario_says_is_text_and_not_markup():
    result = sample.result()
    evil = replace(result, scenario=replace(result.scenario, title="<script>alert(1)</script> & more"))
    page = report.render(evil)
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_a_day_on_which_nothing_happened_is_drawn_too():
    still = sample.result(remedies=(), parked=(), pages=(), forecasts=(), limits=(), counts={})
    empty = replace(still.timeline, unavailable={}, backlog={}, bytes_waiting=(), to_recover=(), recovered=())
    page = read(report.render(replace(still, timeline=empty)))
    assert page.wrong == []
    assert "Nobody was paged." in page.text


def test_a_day_that_is_over_before_it_began_is_drawn_too():
    result = sample.result()
    still = Timeline(at_ms=(result.scenario.start_ms,), states={}, unavailable={}, backlog={})
    assert read(report.render(replace(result, timeline=still))).wrong == []


def test_series_of_different_lengths_are_a_bug():
    with pytest.raises(AssertionError):
        Timeline(at_ms=(1, 2), states={}, unavailable={"postgres dev": (1,)}, backlog={})


def test_the_story_is_told_in_the_order_of_the_day():
    told = telling.story(sample.result())
    assert [each.at_ms for each in told] == sorted(each.at_ms for each in told)
    text = " ".join(each.text for each in told)
    assert "Writes to the object store began to fail" in text
    assert "It arrived 12 min late." in text
    assert told[-1].text == "The last service was well."


def test_a_peak_of_one_sample_is_still_drawn():
    values = [0.0] * 10_000
    values[4321] = 9.0
    kept = charts.thinned(range(10_000), values)
    assert len(kept) < 600
    assert (4321, 9.0) in kept


@pytest.mark.parametrize(("largest", "top"), [(0, 4), (7, 8), (45, 50), (1_000_000, 1_000_000), (850_000, 1_000_000)])
def test_scales_end_on_round_numbers(largest, top):
    scale = charts.Scale.of(largest)
    assert scale.top == pytest.approx(top)
    assert 3 <= len(scale.ticks()) <= 7
