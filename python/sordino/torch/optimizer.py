"""The wrapped optimizer: torch makes the steps, the engine makes the meetings.

Where parameters or displacements are offered, the inner optimizer steps between two meetings; what is offered is where
the round began minus where its steps have led. Where gradients are offered, every step is a meeting: what was agreed
replaces ``p.grad``, and then the inner optimizer steps.
"""

from __future__ import annotations

import time
from collections import defaultdict

import numpy as np
import torch

from .._sordino import Recipe, Session
from ..errors import RequestError
from . import moments, state
from .choices import Choices, peak_rate
from .fabric import Fabric, alone
from .flat import buffers_of, named_parameters_of
from .late import Late, amid

__all__ = ["Wrapped", "wrap"]


def wrap(
    optimizer: torch.optim.Optimizer,
    row: str | Recipe = "sync-sgd",
    *,
    model: torch.nn.Module | None = None,
    steps: int | None = None,
    seed: int = 0,
    group=None,
    rate_group: int = 0,
    max_every: int = 1000,
    warmup: int = 0,
    clip: float | None = None,
    max_norm: float | None = None,
    rows: int | None = None,
    timeout: float | None = None,
    **axes,
) -> Wrapped:
    """Makes ``optimizer`` meet the other processes as a row of choices says.

    ``row`` is a named row or a :class:`sordino.Recipe`; any axis may be set by name (``compress="orq(9)"``), and any key
    of one as ``**{"schedule.base": 8}``. ``model`` names the parameters and brings the running statistics along;
    without it they stay where they are. ``steps`` is the length of the run: the last round ends there. Without it no
    round is longer than ``max_every`` steps, and :meth:`Wrapped.finish` closes the last. The first ``warmup`` steps are
    known to be warm-up. The schedule goes by the rate of group ``rate_group``.

    ``max_norm`` rescales the local gradient to at most that norm before anything else sees it. ``clip`` is CELGC's
    gamma: a step is scaled so that rate times gradient is no longer than ``clip``, for this step alone; it anneals along
    with the rate. ``rows`` is how many rows this rank has, for choices that ask. ``group`` is a process group and
    ``timeout`` how many seconds its ranks wait for one another.

    With ``staleness="delayed(n)"`` steps go on while a meeting's words travel, up to n of them. Saving, evaluating and
    recording take these words in first, so every rank does that at the same step.

    Every process must call it at the same place: it broadcasts rank 0's parameters. A process that is alone goes on as
    if nothing were wrapped, clipping aside.
    """
    if isinstance(optimizer, Wrapped):
        raise RequestError("wrap: the optimizer is wrapped already; wrap the one inside, or leave it as it is")
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(f"wrap takes a torch.optim.Optimizer, {type(optimizer).__name__} came")
    return Wrapped(
        optimizer, row, axes, model=model, steps=steps, seed=seed, group=group, rate_group=rate_group,
        max_every=max_every, warmup=warmup, clip=clip, max_norm=max_norm, rows=rows, timeout=timeout,
    )  # fmt: skip


class Wrapped(torch.optim.Optimizer):
    """An optimizer whose steps lead to meetings. :func:`sordino.wrap` makes one.

    ``param_groups`` and ``state`` are those of the optimizer inside, so schedulers work on either.
    """

    # GradScaler then calls `step` always and leaves it to us to unscale and to skip: a rank that skips still counts.
    _step_supports_amp_scaling = True

    def __init__(self, inner, row, axes, *, model, steps, seed, group, rate_group, max_every, warmup, clip, max_norm,
                 rows, timeout):  # fmt: skip
        self.inner, self.model, self._settled = inner, model, False
        super().__init__(inner.param_groups, inner.defaults)
        self._settled = True
        if not 0 <= rate_group < len(inner.param_groups):
            raise RequestError(f"rate_group={rate_group}: the optimizer has {len(inner.param_groups)} groups")
        for name, bound in (("clip", clip), ("max_norm", max_norm)):
            if bound is not None and not bound > 0:
                raise RequestError(f"{name}={bound}: expected a positive number; leave it out to clip nothing")
        self.rate_group, self.max_every, self.warmup = rate_group, max_every, warmup
        self.clip, self.max_norm = clip, max_norm
        peak = peak_rate(inner.param_groups[rate_group])
        self._threshold = None if clip is None else (clip / peak if peak > 0 else None)
        self.alone, self.flat = alone(group), named_parameters_of(inner.param_groups, model)
        if len(self.flat) == 0:
            raise RequestError("the optimizer has no trainable parameter: nothing could be averaged")
        ranks = 1 if self.alone else torch.distributed.get_world_size(group)
        self.choices = Choices(row, axes, inner, peak, model, rows, clip, ranks, len(self.flat))
        self.host = 1 if self.alone else self.choices.host
        """Ranks that average their gradients at every step."""
        self.choices.refuse_search(inner, clip is not None or max_norm is not None, self.host)
        self.buffers = buffers_of(model)
        self.fabric = None if self.alone else Fabric(group, timeout)
        self.total, self.seed = steps, seed
        self.steps = 0
        """Steps made, those that a GradScaler skipped included."""
        self.silence: int | None = None
        """Steps of this round, once its first has begun."""
        self.made = 0
        """Steps of this round that are made."""
        self.paced: tuple[float, bool, int] | None = None
        """What the schedule was told at this round's first step."""
        self._before: bytes | None = None
        self._shares = int(float(self.choices.chosen["feedback"][1].get("every", 0)))
        self.began = np.zeros(0, dtype=np.float32)
        self.begun = False
        self.late = Late(0 if self.alone else self.choices.delay)
        self._lent = False
        """Whether `finish` put the model where a round has begun from another point."""
        self.clipped = 0
        self._times = {"compute": 0.0, "meetings": 0.0}
        self._left = time.perf_counter()
        self.resumed: list[int] = []
        self._rows = rows
        self.session = self._join(rows)
        self.gradients = not self.alone and self.session.payload == "gradient"
        self._room = np.empty(0 if self.alone or self.gradients else len(self.flat), dtype=np.float32)
        """A vector that is done with before anything else happens."""
        if not self.alone:
            self._same_start()
            self._begin()
        if self.late.most > 0:
            amid(self.flat.tensors, self._move_on)

    # --- joining -----------------------------------------------------------------------------------------------------

    def _join(self, rows) -> Session:
        if rows is not None and not self.alone:
            words = self.fabric.everybodys(float(rows).hex().encode())
            rows = [float.fromhex(word.decode()) for word in words]
        elif rows is not None:
            rows = [float(rows)]
        return Session(
            self.choices.alone if self.alone else self.choices.recipe,
            self.flat.layout() + self.buffers.layout(),
            self.flat.read(),
            self.fabric,
            buffers=self.buffers.read(),
            seed=self.seed,
            steps=None if self.alone else self.total,
            rows=rows,
        )

    def join_anew(self) -> None:
        """A session of other choices in the place of this one, before a state is taken."""
        self.session = self._join(self._rows)

    def _same_start(self) -> None:
        """Everybody begins from rank 0's parameters, frozen ones and buffers of the model included."""
        at = self.broadcast(self.flat.read())
        self.session.place(at)
        self.flat.write(at)
        if self.model is None:
            return
        ours = {id(p) for p in self.flat.tensors}
        others = [p for p in self.model.parameters() if id(p) not in ours and p.is_floating_point()]
        rest = type(self.flat)([""] * len(others), others, ["weight"] * len(others))
        for flat in (rest, self.buffers):
            if len(flat):
                flat.write(self.broadcast(flat.read()))
        if len(self.buffers):
            self.session.set_buffers(self.buffers.read())

    def average(self, vector: np.ndarray, purpose: str = "evaluate") -> np.ndarray:
        """The dense mean of a vector over all ranks: a collective call, counted under `purpose`."""
        self.quiet()
        return self.session.average(vector, purpose)

    def broadcast(self, vector: np.ndarray, purpose: str = "control") -> np.ndarray:
        """Rank 0's vector, on every rank."""
        self.quiet()
        return self.session.broadcast(vector, purpose)

    # --- what an optimizer has ---------------------------------------------------------------------------------------

    @property
    def param_groups(self):
        """The groups of the optimizer inside."""
        return self.inner.param_groups

    @param_groups.setter
    def param_groups(self, groups):
        if self._settled:
            self.inner.param_groups = groups

    @property
    def state(self) -> defaultdict:
        """The state of the optimizer inside."""
        return self.inner.state

    @state.setter
    def state(self, state):
        if self._settled:
            self.inner.state = state

    def add_param_group(self, param_group) -> None:
        """Refused: what travels is fixed when an optimizer is wrapped."""
        if self._settled:
            raise RequestError(
                "add_param_group: the parameters that travel are fixed for a run; add the group to the optimizer before "
                "wrapping it"
            )

    def zero_grad(self, set_to_none: bool = True) -> None:
        """That of the optimizer inside."""
        self.inner.zero_grad(set_to_none)

    def state_dict(self) -> dict:
        """The state of the optimizer inside, with one key more, ``sordino``: the engine's state, this rank's.

        Every rank's differs: save all of them (:func:`sordino.save` does). Not a collective call, but with
        ``staleness=delayed``.
        """
        for hook in self._hooks("state_dict_pre"):
            hook(self)
        found = state.gather(self)
        for hook in self._hooks("state_dict_post"):
            found = hook(self, found) or found
        return found

    def _hooks(self, name: str) -> list:
        # Torch has had them since 2.2.
        return list(getattr(self, f"_optimizer_{name}_hooks", {}).values())

    def load_state_dict(self, state_dict) -> None:
        """Takes back this rank's state, or a list of all ranks' states, of this or another number of ranks.

        Parameters are set along with it; running statistics belong to the model and are loaded with that. Every rank
        must call it.
        """
        for hook in self._hooks("load_state_dict_pre"):
            state_dict = hook(self, state_dict) or state_dict
        state.take(self, state_dict)
        for hook in self._hooks("load_state_dict_post"):
            hook(self)

    def __reduce_ex__(self, protocol):
        raise TypeError(
            "a wrapped optimizer holds connections to other processes and can be neither pickled nor copied: save "
            "state_dict(), or wrap a copy of the optimizer inside"
        )

    def saved(self) -> bytes:
        """What the engine remembers."""
        return self._before if self.begun and self._before is not None else self.session.save()

    def __deepcopy__(self, memo):
        return self.__reduce_ex__(4)

    def __repr__(self) -> str:
        ranks = 1 if self.alone else self.fabric.size
        return f"sordino.wrap({self.choices.method!r}, {ranks} rank{'s' if ranks > 1 else ''}) of {self.inner!r}"

    # --- the step ----------------------------------------------------------------------------------------------------

    def step(self, closure=None):
        """One step of the optimizer inside, and a meeting where its time has come."""
        if self.total is not None and self.steps >= self.total:
            raise RequestError(
                f"all {self.total} steps that wrap was told of are made, and the last round is closed; pass a larger steps="
            )
        arrived = time.perf_counter()
        loss, closure = self._evaluate(closure)
        self.flat.refuse_sparse()
        if self.made == 0:
            self.flat.refuse_thawed(self.inner.param_groups)
        skip = self._unscale()
        if self.host > 1:
            skip = self._together(skip)
        if not skip and self.max_norm is not None:
            self._shorten()
        if self.alone or not self.gradients:
            if not self.alone:
                self._pace()
            found = None if skip else self._inner_step(closure)
            loss = found if loss is None else loss
            self.steps += 1
            self.made += 1
            self._times["compute"] += time.perf_counter() - self._left
            if not self.alone:
                self._go_on()
        else:
            self._times["compute"] += arrived - self._left
            self._meet_at_gradients(skip)
        self._left = time.perf_counter()
        return loss

    def _evaluate(self, closure):
        """Finds the gradient, unless the optimizer inside is to find it as often as it likes."""
        if closure is None:
            return None, None
        if not (self.gradients or self.clip or self.max_norm or self.host > 1):
            return None, closure
        with torch.enable_grad():
            return closure(), None

    def _unscale(self) -> bool:
        """Divides by a GradScaler's scale, if one is at work; whether the step is to be skipped."""
        scale, found = getattr(self, "grad_scale", None), getattr(self, "found_inf", None)
        if found is None:
            return False
        skip = float(found) > 0
        if self.gradients:
            # What is agreed would be infinite for everybody, so everybody skips, as they would with one common gradient.
            skip = bool(self.average(np.array([float(skip)], dtype=np.float32), "control")[0] > 0)
        if scale is not None and not skip:
            factor = 1.0 / float(scale)
            for parameter in self.flat.tensors:
                if parameter.grad is not None:
                    parameter.grad.mul_(factor)
        return skip

    def _together(self, skip: bool) -> bool:
        """Averages gradients over the ranks of this host; where one of them skips the step, all do."""
        gradients = [None if skip else p.grad for p in self.flat.tensors]
        words = self.session.together(np.append(self.flat.read(gradients), np.float32(skip)))
        self._settle()
        if words[-1] > 0:
            return True
        self._take(words[:-1])
        return False

    def _take(self, gradient: np.ndarray) -> None:
        """Writes the gradient that was agreed on; a layer that nobody used keeps `grad is None`, so that it is left alone."""
        for parameter, start, end in self.flat.spans():
            if parameter.grad is None and gradient[start:end].any():
                parameter.grad = torch.empty_like(parameter)
        self.flat.write(gradient, [p.grad for p in self.flat.tensors])

    def _gradient_norm(self) -> float:
        found = [p.grad for p in self.flat.tensors if p.grad is not None]
        if not found:
            return 0.0
        norms = [torch.linalg.vector_norm(g, dtype=torch.float32).to("cpu", torch.float64) for g in found]
        return float(torch.linalg.vector_norm(torch.stack(norms)))

    def _shorten(self) -> None:
        norm = self._gradient_norm()
        if norm > self.max_norm:
            self.clipped += 1
            for parameter in self.flat.tensors:
                if parameter.grad is not None:
                    parameter.grad.mul_(self.max_norm / norm)

    def _inner_step(self, closure=None):
        """A step of the optimizer inside, at a rate that `clip` may lower for it."""
        factor = 1.0
        if self._threshold is not None:
            norm = self._gradient_norm()
            if norm > self._threshold:
                factor = self._threshold / norm
                self.clipped += 1
        if factor == 1.0:
            return self.inner.step() if closure is None else self.inner.step(closure)
        kept = [group["lr"] for group in self.inner.param_groups]
        try:
            for group, rate in zip(self.inner.param_groups, kept):
                group["lr"] = rate * factor
            return self.inner.step()
        finally:
            for group, rate in zip(self.inner.param_groups, kept):
                group["lr"] = rate

    # --- meetings ----------------------------------------------------------------------------------------------------

    @property
    def rate(self) -> float:
        """The rate that schedules go by."""
        return float(self.inner.param_groups[self.rate_group]["lr"])

    def _begin(self, made: np.ndarray | None = None) -> None:
        """Opens a round: residuals may be shared, and parameters move to where it goes on, less what was made of it already."""
        self._before = None
        if self._shares and (self.session.rounds + 1) % self._shares == 0:
            # A state that is taken back begins its round anew, so it must be from before residuals were shared.
            if self.gradients:
                self.placed()
            self._before = self.session.save()
        self.session.begin()
        self.silence, self.begun = None, True
        if made is None:
            self.made = 0
        if not self.gradients:
            self._stand(self.session.point, made)
        self.fabric.settle()

    def _stand(self, at: np.ndarray, made: np.ndarray | None = None) -> None:
        """Moves the parameters to a point, less what was made of the round already; low precision keeps what it can of it."""
        self.flat.write(at if made is None else np.subtract(at, made, out=self._room))
        if self.flat.exact:
            self.began = at
        else:
            self.began = self.flat.read() if made is None else self.flat.read() + made

    def _pace(self) -> None:
        """At a round's first step: how many there will be, at the rate that the caller's scheduler has set."""
        if self.late.awaited:
            if self.late.steps is None:
                self.late.steps = self._ask(self.session.pace_ahead)
            return
        if not self.begun:
            self._begin()
        elif self.silence is None and self._lent:
            self._stand(self.session.point)
        self._lent = False
        if self.silence is None:
            self.silence = self._ask(self.session.pace)

    def _ask(self, pace) -> int:
        """What the schedule answers at a round's first step."""
        most = self.max_every if self.total is None else self.total - self.steps
        self.paced = (self.rate, self.steps < self.warmup, most)
        return self.asked(pace)

    def asked(self, pace) -> int:
        """What it answers to what it was told at that step."""
        rate, warming, most = self.paced
        return pace(rate, warming=warming, most=most)

    def _go_on(self) -> None:
        """After a step: words move on, what all agreed on is taken in, and the round closes, where it is time."""
        if self.late.awaited:
            self._move_on()
            if self.made < self.late.steps:
                return
            self._land()
        if self.made >= self.silence:
            self._meet()

    def _move_on(self) -> None:
        """Moves on what is on its way, if anything is. Its time is none of the step's."""
        if self.late.travelling:
            began = time.perf_counter()
            self.late.progress(self.session)
            took = time.perf_counter() - began
            self._times["meetings"] += took
            self._left += took

    def _meet(self) -> None:
        """Closes the round: what its steps came to is said, and, unless words may be late, where all agree everybody goes on."""
        began = time.perf_counter()
        last = self.total is not None and self.steps >= self.total
        at = self.flat.read()
        if self.session.payload == "parameters":
            self.session.set_point(at if self.flat.exact else self.session.point - (self.began - at))
        else:
            self.session.set_offer(np.subtract(self.began, at, out=self._room))
        late = self.late.most > 0 and not last
        if late:
            self.late.depart(self.session, self.made, at)
        else:
            self._close(self.made)
            self._met()
        self.begun, self.made, self.silence = False, 0, None
        if last:
            self.flat.write(self.session.model)
        elif not late:
            self._begin()
        self._settle()
        self._times["meetings"] += time.perf_counter() - began

    def _land(self) -> None:
        """What all agreed on is where everybody goes on, with the steps made meanwhile on top."""
        began = time.perf_counter()
        self.quiet()
        self._met()
        self._begin(self.late.land(self.flat.read()))
        if self.made > 0:
            self.silence = self.asked(self.session.pace)
        self._settle()
        self._times["meetings"] += time.perf_counter() - began

    def _met(self) -> None:
        """What a meeting does to the state of the optimizer inside, and to running statistics where words were late."""
        if self.choices.meeting == "average":
            moments.average(self)
        elif self.choices.meeting == "reset":
            self.inner.state.clear()
        if len(self.buffers) and self.late.most > 0 and self.choices.buffers in ("average", "root"):
            share = self.broadcast if self.choices.buffers == "root" else self.average
            self.buffers.write(share(self.buffers.read(), "buffers"))

    def quiet(self) -> None:
        """Takes in words that are on their way, so that others can be said; parameters stay where they are."""
        if self.late.travelling:
            self.late.hear(self.session)
            self.fabric.settle()

    def _close(self, steps: int) -> None:
        if len(self.buffers):
            self.session.set_buffers(self.buffers.read())
        self.session.close_after(steps)
        if len(self.buffers) and self.choices.recipe["buffers"] in ("average", "root"):
            self.buffers.write(self.session.buffers)

    def _meet_at_gradients(self, skip: bool) -> None:
        """A meeting about gradients, and the step along what was agreed."""
        began = time.perf_counter()
        if not skip:
            gradients = [p.grad for p in self.flat.tensors]
            if not self.begun:
                self._begin()
            self.session.pace(self.rate, warming=self.steps < self.warmup, most=1)
            self.session.set_offer(self.flat.read(gradients))
            self._close(1)
            self.begun = False
            self._take(self.session.update)
            self.fabric.settle()
            self._times["meetings"] += time.perf_counter() - began
            self._inner_step()
        self.steps += 1
        if not skip and not (self.total is not None and self.steps >= self.total):
            self._begin()

    def placed(self) -> None:
        """Tells the engine where the parameters are, where they moved without its knowledge; no word is on its way then."""
        self.quiet()
        if self.alone and self.steps > self.session.steps:
            # Nobody was met: one round of a single rank, so that the record knows how far the run is.
            self.session.begin()
            steps = self.session.pace(self.rate, most=self.steps - self.session.steps)
            self.session.set_point(self.flat.read())
            self.session.close_after(steps)
        elif self.alone or self.gradients:
            self.session.place(self.flat.read())

    def finish(self) -> None:
        """Closes the last round: afterwards every process holds the agreed model. A collective call.

        The next step, if there is one, begins a new round; its gradient was taken at the model itself, whatever the
        feedback looks ahead of.
        """
        if self.alone or self.gradients:
            return
        if self.late.awaited:
            self._land()
        if self.made > 0:
            before, self.total = self.total, self.steps
            try:
                self._meet()
            finally:
                self.total = before
        elif self.begun:
            # Nobody has moved yet, but residuals may be looked ahead of.
            self.flat.write(self.session.model)
            self._lent = True

    # --- telling -----------------------------------------------------------------------------------------------------

    def record(self, train_loss: float, *, eval_loss: float | None = None, accuracy: float | None = None) -> None:
        """Puts a point on the curves of the report: a collective call. Losses are means over ranks at the caller's choice."""
        self.placed()
        known = {"eval_loss": eval_loss, "accuracy": accuracy}
        self.session.record_point(float(train_loss), **{name: float(x) for name, x in known.items() if x is not None})
        self._settle()

    def _settle(self) -> None:
        if not (self.alone or self.late.travelling):
            self.fabric.settle()

    def report(self, folder=None) -> dict:
        """What moved and where the time went: bytes by this rank, rounds, steps, seconds.

        With ``folder`` it also writes ``record.jsonl``, ``summary.json``, ``recipe.toml`` and ``report.html`` there, on rank
        0, from the points that :meth:`record` noted; then it is a collective call.
        """
        found = {
            "method": self.choices.method,
            "ranks": 1 if self.alone else self.fabric.size,
            "rank": 0 if self.alone else self.fabric.rank,
            "steps": self.steps,
            "rounds": 0 if self.alone else self.session.rounds,
            "clipped_steps": self.clipped,
            "bytes_sent": self.session.bytes_sent,
            "bytes_received": self.session.bytes_received,
            "ledger": self.session.ledger(),
            "seconds": {**self._times, "wait": self.session.times()["wait"]},
            "resumed_at": list(self.resumed),
        }
        if folder is not None:
            self.placed()
            page = self.session.write(str(folder))
            self._settle()
            if page is not None:
                found["report"] = page
        return found
