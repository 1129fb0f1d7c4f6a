"""What a wrapped optimizer remembers: the optimizer inside, the engine, and where the round is."""

from __future__ import annotations

import numpy as np
import torch

from .._sordino import Recipe, Session
from ..errors import MismatchError
from . import moments

__all__ = ["gather", "take"]

KEY = "sordino"
FORMAT = 1


def gather(opt) -> dict:
    """The state of the optimizer inside with ours beside it; tensors, numbers and strings only."""
    opt.placed()
    late = opt.late.awaited
    within = (opt.made > 0 or late) and not opt.gradients and not opt.alone
    ours = {
        "format": FORMAT,
        "method": opt.choices.method,
        "recipe": opt.choices.recipe.to_toml(),
        "rank": 0 if opt.alone else opt.fabric.rank,
        "ranks": 1 if opt.alone else opt.fabric.size,
        "names": list(opt.flat.names),
        "sizes": [tensor.numel() for tensor in opt.flat.tensors],
        "steps": opt.steps,
        "made": opt.made if within else 0,
        "pace": list(opt.paced) if within and opt.made > 0 else None,
        "begun": opt.begun,
        "clipped": opt.clipped,
        "seconds": dict(opt._times),
        "resumed": list(opt.resumed),
        "session": torch.from_numpy(np.frombuffer(opt.saved(), dtype=np.uint8).copy()),
        # Steps made while words travelled: where they began, and where they have led.
        "late": opt.late.saved(),
        # Within a round every rank is somewhere else: where it began, and where it is.
        "began": torch.from_numpy((opt.late.departed if late else opt.began).copy()) if within else None,
        "parameters": torch.from_numpy(opt.flat.read()) if within else None,
    }
    return {**opt.inner.state_dict(), KEY: ours}


def take(opt, found) -> None:
    """Takes back one rank's state, or all ranks' states in a list."""
    states = list(found) if isinstance(found, (list, tuple)) else [found]
    if not states or any(not isinstance(state, dict) for state in states):
        raise MismatchError("load_state_dict takes what state_dict() gave, or a list with that of every rank")
    if all(KEY not in state for state in states):
        # An optimizer's own, from before it was wrapped.
        opt.inner.load_state_dict(states[0])
        return
    ranks, rank = (1, 0) if opt.alone else (opt.fabric.size, opt.fabric.rank)
    _expect(opt, states, ranks, rank)
    opt.quiet()
    _meet_as_before(opt, states)
    if states[0][KEY]["ranks"] == ranks:
        state = next(state for state in states if state[KEY]["rank"] == rank)
        _resume(opt, state)
    else:
        states.sort(key=lambda state: state[KEY]["rank"])
        _deal(opt, states)
    ours = states[0][KEY]
    opt.steps, opt.clipped = ours["steps"], ours["clipped"]
    opt._times = dict(ours["seconds"])
    opt.resumed = [*ours["resumed"], ours["steps"]]
    if not opt.alone:
        opt.fabric.settle()


def _expect(opt, states: list[dict], ranks: int, rank: int) -> None:
    of = states[0][KEY]["ranks"]
    have = sorted(state[KEY]["rank"] for state in states)
    for state in states:
        ours = state[KEY]
        if ours["format"] != FORMAT:
            raise MismatchError(f"the state has format {ours['format']}, this version reads {FORMAT}")
        sizes = [tensor.numel() for tensor in opt.flat.tensors]
        if ours["sizes"] != sizes:
            raise MismatchError(
                f"the state is of {len(ours['sizes'])} parameters with {sum(ours['sizes'])} entries, but the optimizer "
                f"has {len(sizes)} with {sum(sizes)}: load it into the same model and groups"
            )
    if of == ranks and len(states) == 1 and have != [rank]:
        raise MismatchError(
            f"this is the state of rank {have[0]}, and this is rank {rank}: every rank loads its own, or all load a list of "
            "every rank's (sordino.load does)"
        )
    if (of != ranks or len(states) > 1) and have != list(range(of)):
        raise MismatchError(
            f"the state is of rank {', '.join(map(str, have))} of {of}, and there {'is' if ranks == 1 else 'are'} {ranks} "
            f"now: for another number of ranks pass a list with the state of all {of} ranks (sordino.load does)"
        )


def _meet_as_before(opt, states: list[dict]) -> None:
    """Servers and owners of chunks owe the model something: a session that takes their state has to have them."""
    before = _exchange(states)
    kind = before.partition("(")[0]
    if opt.alone and kind in ("star", "two_phase"):
        opt.choices.alone["exchange"] = f"{kind}(down=dense, feedback=none)"
    elif kind == "two_phase" and opt.choices.chosen["exchange"][0] == "auto" and opt.choices.recipe["exchange"] != before:
        # Chosen by sizes, it would be another with another number of ranks.
        opt.choices.recipe["exchange"] = before
    else:
        return
    opt.join_anew()


def _exchange(states: list[dict]) -> str:
    return Recipe.from_toml(states[0][KEY]["recipe"])["exchange"]


def _bytes(ours: dict) -> bytes:
    return ours["session"].cpu().numpy().tobytes()


def _resume(opt, state: dict) -> None:
    """The same number of ranks: everything is as it was."""
    ours = state[KEY]
    opt.inner.load_state_dict({key: value for key, value in state.items() if key != KEY})
    opt.session.load(_bytes(ours))
    opt.begun, opt.made, opt.silence = False, 0, None
    began = None if ours["began"] is None else ours["began"].cpu().numpy().copy()
    opt.late.load(ours.get("late"), began)
    if opt.late.awaited:
        opt.flat.write(ours["parameters"].cpu().numpy())
        opt.made, opt.paced = ours["made"], ours["pace"] and tuple(ours["pace"])
        return
    if opt.alone or opt.gradients or not ours["begun"]:
        opt.flat.write(opt.session.model)
    if opt.alone or not ours["begun"]:
        return
    opt._begin()
    if ours["parameters"] is not None:
        opt.began = began
        opt.flat.write(ours["parameters"].cpu().numpy())
        opt.made, opt.paced = ours["made"], tuple(ours["pace"])
        opt.silence = opt.asked(opt.session.pace)


def _deal(opt, states: list[dict]) -> None:
    """Another number of ranks: what the model is owed is dealt anew, and a round that was under way ends here."""
    opt.inner.load_state_dict(moments.mean_state([{k: v for k, v in s.items() if k != KEY} for s in states]))
    saved = [_bytes(state[KEY]) for state in states]
    if opt.alone:
        model = _owed(opt, saved, _exchange(states))
    else:
        opt.session.load_dealt(saved)
        model = opt.session.model
    if states[0][KEY]["parameters"] is not None:
        moved = [s[KEY]["began"].cpu().numpy() - s[KEY]["parameters"].cpu().numpy() for s in states]
        model = model - (sum(part.astype(np.float64) for part in moved) / len(moved)).astype(np.float32)
    opt.session.place(model)
    opt.flat.write(model)
    opt.begun, opt.made, opt.silence = False, 0, None
    opt.late.load(None, None)
    if not opt.alone and (opt.total is None or states[0][KEY]["steps"] < opt.total):
        opt._begin()


def _owed(opt, saved: list[bytes], exchange: str) -> np.ndarray:
    """The model with all that residuals still owe it, for one that goes on alone and will say nothing more."""
    recipe = Recipe.from_toml(opt.choices.recipe.to_toml())
    memory = opt.choices.chosen["feedback"][0]
    lossless = {"compress": "dense", "outer": "none", "schedule": "constant(1)"}
    if opt.choices.chosen["exchange"][0] == "star":
        lossless["exchange.down"] = "dense"
    elif exchange.startswith("two_phase"):
        lossless["exchange"] = f"two_phase(down=dense, feedback={memory})"
    else:
        lossless["exchange"] = "gather"
    for axis, choice in lossless.items():
        recipe[axis] = choice
    layout = opt.flat.layout() + opt.buffers.layout()
    session = Session(recipe, layout, opt.flat.read(), buffers=opt.buffers.read(), seed=opt.seed)
    session.load_dealt(saved)
    opt.session.load(session.save())
    if session.payload == "displacement" and memory == "residual":
        session.begin()
        session.pace(opt.rate, most=1)
        session.set_offer(np.zeros(len(opt.flat), dtype=np.float32))
        session.close_after(1)
    return session.model
