"""Which choices can be had where torch owns the step, and what is said of the others."""

from __future__ import annotations

import torch

from .._sordino import Recipe
from ..errors import RequestError

_ALONE = {
    "schedule": "constant(1000000000)",
    "payload": "parameters",
    "compress": "dense",
    "feedback": "none",
    "aggregate": "mean",
    "exchange": "gather",
    "outer": "none",
    "topology": "complete",
    "staleness": "fresh",
    "local.state": "keep",
}

__all__ = ["Choices", "element", "peak_rate"]

_OPTIMIZERS = ("sgd", "adam", "adamw")
"""Base optimizers that a row pins because something must step; torch's own stands in their place."""


def element(text: str) -> tuple[str, dict[str, str]]:
    """An element as it is written: its name and its keys."""
    text = text.strip()
    if "(" not in text:
        return text, {}
    name, inside = text[: text.index("(")], text[text.index("(") + 1 : text.rindex(")")]
    keys, depth, word = {}, 0, ""
    for letter in inside + ",":
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            if word.strip():
                key, equals, value = word.partition("=")
                in_key = equals and "(" not in key
                keys[key.strip() if in_key else str(len(keys))] = (value if in_key else word).strip()
            word = ""
        else:
            word += letter
    return name, keys


def peak_rate(group: dict) -> float:
    """The rate that a group's schedule starts from or rises to, as far as its scheduler left word of it."""
    rates = [group.get("lr", 0.0), group.get("initial_lr", 0.0), group.get("max_lr", 0.0)]
    return max(float(rate) for rate in rates)


class Choices:
    """A recipe for steps that torch makes.

    Refuses what could only be had if we made the steps ourselves, by the axis's name and with a cure, and reads off what
    the wrapper has to do itself.
    """

    def __init__(self, row, axes: dict, optimizer, rate: float, model, rows, clip, ranks: int, parameters: int):
        if isinstance(row, Recipe):
            if axes:
                raise RequestError("wrap takes a recipe, or a row with axes by name: set the axes in the recipe")
            recipe = Recipe.from_toml(row.to_toml())
        else:
            for axis in axes:
                self._ours(axis, model)
            recipe = Recipe(row, axes)
        self.method = recipe.method
        self.chosen = {axis: element(text) for axis, text in recipe.choices().items()}
        late, keys = self.chosen["staleness"]
        self.delay = int(float(keys.get("steps", keys.get("0", 1)))) if late == "delayed" else 0
        """Steps that a meeting's words may be late."""
        self._refuse(clip, rows)
        adaptive = "betas" in optimizer.defaults or "beta2_decay" in optimizer.defaults
        self.meeting = self.chosen["local"][1].get("state", "keep")
        if self.meeting == "auto":
            self.meeting = "keep" if adaptive else "reset"
        # The engine makes no step of its own: of the optimizer only the rate is left, which schedules go by.
        recipe["optim"] = f"sgd(rate={rate!r}, momentum=0)"
        recipe["local.state"] = self.meeting
        topology, keys = self.chosen["topology"]
        self.host = int(float(keys.get("size", keys.get("0", 2)))) if topology == "hosts" else 1
        """Ranks that make every step together."""
        self.buffers, keys = self.chosen["buffers"]
        self.batches = int(float(keys.get("batches", 10)))
        """Batches that re-estimate running statistics."""
        if self.buffers == "reestimate" or (self.delay > 0 and self.buffers in ("average", "root")):
            # That takes passes of the model, which only an evaluation here can make; and what is awaited may be taken in
            # sooner than running statistics meet.
            recipe["buffers"] = "local"
        recipe.check()
        self.recipe = recipe.resolve(rate=rate, ranks=ranks, parameters=parameters)
        self.alone = Recipe(self.method, recipe.choices())
        """What a single process does: nothing travels, so nothing is coded or remembered."""
        for axis, choice in _ALONE.items():
            self.alone[axis] = choice

    @staticmethod
    def _ours(path: str, model) -> None:
        """Refuses axes that torch has a say in, as they are asked for."""
        axis, _, key = path.partition(".")
        cures = {
            "optim": "the optimizer is the one that you wrap; give it rate, momentum and decay, and `wrap` clip= or max_norm=",
            "task": "the model and the loss are yours; leave it out",
            "partition": "the rows are dealt by your sampler; leave it out",
        }
        if axis in cures:
            raise RequestError(f"`{path}`: {cures[axis]}")
        if axis == "buffers" and model is None:
            raise RequestError("`buffers`: an optimizer knows of no running statistics; pass model= to wrap")
        if path == "local.estimate":
            raise RequestError("`local.estimate`: gradients come from backward(); leave it out")

    def refuse_search(self, optimizer, bounded: bool, host: int) -> None:
        """Refuses an optimizer that takes several gradients in one step where something is of one."""
        payload = self.chosen["payload"][0]
        if not isinstance(optimizer, torch.optim.LBFGS) or not (payload == "gradient" or bounded or host > 1):
            return
        what, cure = "payload=gradient", "set payload=displacement"
        if bounded:
            what, cure = "its clip", "leave clip= and max_norm= out"
        elif host > 1:
            what, cure = "topology=hosts", "set topology=complete"
        raise RequestError(f"LBFGS takes several gradients in one step, and {what} is of one; {cure}")

    def _refuse(self, clip, rows) -> None:
        chosen = self.chosen

        def no(axis: str, why: str, cure: str):
            name, keys = chosen[axis]
            inside = ", ".join(value if key.isdigit() else f"{key}={value}" for key, value in keys.items())
            written = f"{name}({inside})" if keys else name
            row = "" if self.method == "custom" else f" of `{self.method}`"
            raise RequestError(f"`{axis}={written}`{row} cannot be had in torch's step: {why}; {cure}")

        optim, keys = chosen["optim"]
        if optim not in _OPTIMIZERS:
            no(
                "optim",
                "the row is about its optimizer, and here that is the one you wrap",
                "wrap such an optimizer in `sync-sgd`",
            )
        if keys.get("prox", "none") != "none":
            no("optim", "a penalty in closed form ends a step of our own", "put the penalty into the loss")
        if keys.get("clip", "none") != "none" and clip is None:
            no(
                "optim",
                "its clip is a length that only you know for your loss",
                "pass clip= to wrap: the longest step, in units of rate times gradient",
            )
        if keys.get("max_norm", "none") != "none":
            no("optim", "its bound belongs to the optimizer", "pass max_norm= to wrap")
        local, keys = chosen["local"]
        if local != "descent":
            no("local", "torch makes the local steps", "set local=descent, or use sordino.Session or sordino.run")
        if keys.get("prox", "0") != "0":
            no("local", "the pull belongs into the gradient", "set local=descent and add the pull to the loss")
        if element(keys.get("estimate", "plain"))[0] != "plain":
            no("local", "gradients come from backward()", "set local.estimate=plain")
        if chosen["participation"][0] != "everyone":
            no("participation", "every process works all the time", "set participation=everyone, or use sordino.run")
        if chosen["staleness"][0] not in ("fresh", "delayed"):
            no("staleness", "nobody is served late where all meet", "set staleness=fresh or delayed, or use sordino.run")
        if self.delay > 0 and chosen["payload"][0] == "gradient":
            no(
                "staleness",
                "the optimizer you wrap steps along what all agree on, so it has nothing to do meanwhile",
                "set payload=displacement or parameters, or staleness=fresh",
            )
        if chosen["placement"][0] != "replicate":
            no("placement", "every process holds the whole model", "set placement=replicate, or use sordino.run")
        if chosen["privacy"][0] != "none":
            no(
                "privacy",
                "noise hides rows or clients of known number, which a torch loop does not tell",
                "set privacy=none, or use sordino.run",
            )
        if chosen["fabric"][0] != "threads" or chosen["fabric"][1].get("attack", "none") != "none":
            no("fabric", "ranks talk through torch.distributed", "set fabric=threads, or use sordino.run")
        if chosen["schedule"][0] == "epochs" and rows is None:
            no(
                "schedule",
                "nobody knows how long a pass is",
                "pass rows= (this rank's) to wrap and local.batch=, or set schedule=constant",
            )
        if chosen["aggregate"][0] == "weighted" and rows is None:
            no(
                "aggregate",
                "nobody knows how many rows a rank has",
                "pass rows= (this rank's) to wrap, or set aggregate=mean",
            )
        if chosen["payload"][0] == "gradient" and chosen["outer"][0] != "none":
            no("outer", "where gradients are offered the optimizer you wrap is the outer step", "set outer=none")
