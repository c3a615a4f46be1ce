"""The pure decisions keep their laws, and a law would say so if they did not."""

from __future__ import annotations

from herder.proof import laws


def test_every_law_holds_and_looked_at_something():
    counted, findings = laws.check()
    assert not findings
    assert all(count > 0 for _, _, count in counted)


def test_a_broken_decision_is_told_with_its_case():
    broken = {**laws.PURE, "within": lambda loss, bound: True}
    counted, findings = laws.check(broken)
    assert [(finding.rule, finding.where) for finding in findings] == [("S4", "loss")]
    assert "behind_bytes: " in findings[0].trace[0]
    assert len(counted) == len(laws.LAWS)
