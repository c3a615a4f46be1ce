"""Mutants: named ways to break the tables and the arithmetic, to see that the checks would notice.

A check that nothing can fail proves nothing. Each mutant is one mistake that somebody could make in a table or a pure function;
`run` puts each before the checks of `herder verify`, the quick ones first, and says who noticed, by which rule, and how.
"""

from __future__ import annotations

from herder.proof.mutants.judge import Noticed, Verdict, judge
from herder.proof.mutants.leading import LEADING
from herder.proof.mutants.numbers import NUMBERS
from herder.proof.mutants.parts import Change, Mutant, Parts
from herder.proof.mutants.units import UNITS
from herder.proof.mutants.wide import WIDE

__all__ = ["MUTANTS", "Change", "Mutant", "Noticed", "Parts", "Verdict", "judge"]

MUTANTS: tuple[Mutant, ...] = (*LEADING, *UNITS, *WIDE, *NUMBERS)
