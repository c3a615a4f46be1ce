"""An agent that is silent has not failed: it is asked again until the step's deadline."""

from __future__ import annotations

from herder.model.errors import HerderError, Unreachable


def try_again_where_silent(errors: dict[int, HerderError]) -> None:
    """Of errors by machine (`hands.ask_each`): one whose agent was only started again must not fail the step, nor be a page.

    Raises Unreachable, by which the effect is run again after a pause.
    """
    for error in errors.values():
        if isinstance(error, Unreachable):
            raise error
