"""Steps of the next round that are made while the words of the last one travel: ``staleness=delayed``.

A round speaks where it ends. The optimizer goes on from where its steps have led, as many steps as words may be late or the
next round has; then what all agreed on is taken in, the next round begins there, and the steps made meanwhile are on top.
Words are only taken in sooner where somebody asks for something else that all ranks must say: no number depends on it.
"""

from __future__ import annotations

import weakref

import numpy as np

__all__ = ["Late", "amid"]

PLACES = 4
"""How often in a backward pass what is on its way is looked at: an answer can then set out before the step ends."""


class Late:
    """What was made of the next round while words travelled."""

    def __init__(self, most: int):
        self.most = most
        """How many steps late words may be; 0: they are waited for."""
        self.departed: np.ndarray | None = None
        """Where the steps of the last round led, while what all agree on is awaited."""
        self.heard = False
        """Whether that has been taken in already."""
        self.steps: int | None = None
        """How many steps are made meanwhile, once the first of them has begun."""

    @property
    def awaited(self) -> bool:
        """Whether what all agree on is still to move the parameters."""
        return self.departed is not None

    @property
    def travelling(self) -> bool:
        """Whether words are on their way."""
        return self.awaited and not self.heard

    def depart(self, session, steps: int, at: np.ndarray) -> None:
        """Says what the round's steps led to."""
        session.speak_after(steps)
        self.departed, self.heard, self.steps = at, False, None

    def progress(self, session) -> None:
        """Between two steps: moves on what is on its way."""
        if self.travelling:
            self.heard = True  # nothing more comes, if that fails
            session.progress()
            self.heard = False

    def hear(self, session) -> None:
        """Takes in what is on its way; the parameters stay where they are."""
        if self.travelling:
            self.heard = True
            session.hear()

    def land(self, at: np.ndarray) -> np.ndarray:
        """What the steps made meanwhile subtracted in sum, with nothing awaited any more."""
        made, self.departed = self.departed, None
        return np.subtract(made, at, out=made)

    def saved(self) -> dict | None:
        """What a state keeps of it; where the last round led and where the parameters are stands beside it."""
        return {"steps": -1 if self.steps is None else self.steps} if self.awaited else None

    def load(self, found: dict | None, departed: np.ndarray | None) -> None:
        """Takes that back. A state is one in which everything was heard."""
        self.departed, self.heard, self.steps = None, False, None
        if found is not None:
            self.departed, self.heard = departed, True
            self.steps = found["steps"] if found["steps"] >= 0 else None


def amid(tensors, act) -> None:
    """Has a method called at some places of every backward pass, for as long as its object lives."""
    method = weakref.WeakMethod(act)

    def hook(_):
        alive = method()
        if alive is not None:
            alive()

    for tensor in tensors[:: -(-len(tensors) // PLACES)]:
        tensor.register_post_accumulate_grad_hook(hook)
