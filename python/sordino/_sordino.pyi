# Written by `cargo xtask gen` from the compiled module; do not edit.
"""
Sordino's compiled part; its names are also those of the package.
"""

import collections.abc
import numpy.typing
import sordino.result
from numpy import float32
from numpy.typing import NDArray
from os import PathLike
from typing import Any, SupportsFloat, SupportsIndex, final

__all__ = ["Axis", "Choice", "Compressor", "Method", "Problem", "Recipe", "Schedule", "Session", "Told", "axes", "compressor", "explain", "methods", "problem", "run", "schedule"]

@final
class Axis:
    """
    One axis: a question that a recipe answers by one choice.
    """
    def __repr__(self, /) -> str: ...
    @property
    def about(self, /) -> str:
        """
        The question it answers.
        """
    @property
    def elements(self, /) -> list[Choice]:
        """
        What may be chosen.
        """
    @property
    def name(self, /) -> str:
        """
        Its name, which is also the keyword.
        """
    @property
    def neutral(self, /) -> str:
        """
        The choice that changes nothing.
        """

@final
class Choice:
    """
    What may be chosen on an axis.
    """
    def __repr__(self, /) -> str: ...
    @property
    def about(self, /) -> str:
        """
        What it does, in one sentence.
        """
    @property
    def keys(self, /) -> dict[str, str]:
        """
        Its keys with their defaults, as they are written.
        """
    @property
    def name(self, /) -> str:
        """
        Its name.
        """

@final
class Compressor:
    """
    A vector as few bytes, and back.

    >>> import numpy, sordino
    >>> orq = sordino.compressor("orq(9)")
    >>> x = numpy.random.default_rng(0).standard_normal(10_000, dtype=numpy.float32)
    >>> message = orq.encode(x)
    >>> len(message) < x.nbytes / 9
    True
    >>> said = orq.decode(message, x.size)
    >>> bool(numpy.linalg.norm(x - said) < 0.3 * numpy.linalg.norm(x))
    True
    >>> orq.decode(message[:-1], x.size)
    Traceback (most recent call last):
        ...
    sordino.errors.DecodeError: ...
    """
    def __repr__(self, /) -> str: ...
    @property
    def about(self, /) -> str:
        """
        What it does, in one sentence.
        """
    def bytes_bound(self, /, entries: SupportsIndex) -> int:
        """
        The most bytes that a message about so many entries has.
        """
    def decode(self, /, message: "bytes | bytearray | memoryview", entries: SupportsIndex) -> NDArray[float32]:
        """
        What a message says of `entries` entries.
        """
    def encode(self, /, x: "numpy.typing.NDArray[numpy.float32]", *, seed: SupportsIndex = 0, round: SupportsIndex = 0, client: SupportsIndex = 0) -> bytes:
        """
        A message about `x`, a flat float32 array. What is random in it follows from seed, round and client; compressors
        that remember (PowerSGD its last subspace) do so here.
        """
    @property
    def linear(self, /) -> bool:
        """
        Whether messages may be added up on their way, which an all-reduce needs.
        """
    @property
    def name(self, /) -> str:
        """
        Its name and settings, as they are written.
        """

@final
class Method:
    """
    A published method: a row of choices.
    """
    def __repr__(self, /) -> str: ...
    @property
    def about(self, /) -> str:
        """
        What it does, in one sentence.
        """
    @property
    def name(self, /) -> str:
        """
        Its name.
        """
    @property
    def notes(self, /) -> str:
        """
        What of the paper is pinned, and what is not.
        """
    @property
    def paper(self, /) -> str:
        """
        Where it is from.
        """
    @property
    def recipe(self, /) -> dict[str, str]:
        """
        Its choices by axis; every other axis is neutral.
        """
    @property
    def toml(self, /) -> str:
        """
        The row as a recipe file.
        """

@final
class Problem:
    """
    A task of the library's, dealt to so many workers: what `run` trains on, for a loop of one's own.

    >>> problem = sordino.problem("quadratic(dim=4)", workers=2)
    >>> problem.tensors, problem.rows
    ([('x', [4], 'weight')], [1.0, 1.0])
    >>> ran = sordino.run("local-sgd", "quadratic(dim=4)", workers=1, steps=20)
    >>> alone = sordino.problem("quadratic(dim=4)", workers=1)
    >>> session = sordino.Session(ran.recipe, alone.tensors, alone.start, steps=20, own_optimizer=True)
    >>> while not session.done:
    ...     told = session.round(alone.gradient)
    >>> (session.model == ran.model["x"]).all()
    np.True_
    """
    def __repr__(self, /) -> str: ...
    @property
    def buffers(self, /) -> NDArray[float32]:
        """
        The buffers that training begins with. A copy.
        """
    def evaluate(self, /, x: "numpy.typing.NDArray[numpy.float32]", buffers: "numpy.typing.NDArray[numpy.float32] | None" = None, split: str = "test") -> dict[str, float] | None:
        """
        Loss, accuracy (where the task has answers) and number of examples on `train` or held-out rows (`test`); None where
        the task has no such rows.
        """
    def gradient(self, /, x: "numpy.typing.NDArray[numpy.float32]", step: SupportsIndex, client: SupportsIndex, out: "numpy.typing.NDArray[numpy.float32]", buffers: "numpy.typing.NDArray[numpy.float32] | None" = None) -> float:
        """
        Writes the gradient of a worker's step at `x` into `out` and returns the loss: what `Session.round` asks for. Buffers
        are changed in place.
        """
    @property
    def rows(self, /) -> list[float]:
        """
        How many training rows each worker holds.
        """
    @property
    def start(self, /) -> NDArray[float32]:
        """
        Where training begins. A copy.
        """
    @property
    def tensors(self, /) -> list[tuple[str, list[int], str]]:
        """
        The model's tensors: name, shape, role.
        """

@final
class Recipe:
    """
    One choice per axis: a named row, and any choice of it changed.

    An axis is a keyword, a key of its element a dotted name or an entry of a dictionary; what is chosen is written as
    everywhere, `element(value, key=value)`.

    >>> import sordino
    >>> recipe = sordino.Recipe("qsr", compress="orq(9)", feedback="residual")
    >>> recipe["compress"]
    'orq(levels=9)'
    >>> recipe = sordino.Recipe("qsr", {"schedule.base": 8}, optim={"rate": 0.05})
    >>> recipe["schedule.base"], recipe["optim.rate"]
    (8.0, 0.05)
    >>> sordino.Recipe("qsr", compress="topk(0.1)", exchange="reduce").check()
    Traceback (most recent call last):
        ...
    sordino.errors.RequestError: `exchange=reduce` with `compress=topk(ratio=0.1)`: an all-reduce adds messages up on the way, and these cannot be added; use exchange=gather or exchange=star, or exchange=auto
    """
    def __eq__(self, value: object, /) -> bool: ...
    def __getitem__(self, name: str, /) -> float | str | None:
        """
        The choice on an axis as it is written, or the value of a key of it: a number, a text, or None where it is not
        given.
        """
    def __ne__(self, value: object, /) -> bool: ...
    def __new__(cls, /, row: "str" = "sync-sgd", choices: "dict[str, str | float | dict[str, str | float | None]] | None" = None, **axes: "str | float | dict[str, str | float | None]") -> Recipe:
        """
        The row `row` with choices on top.
        """
    def __reduce__(self, /) -> tuple[Any, tuple[str]]:
        """
        For `copy` and `pickle`.
        """
    def __repr__(self, /) -> str: ...
    def __setitem__(self, name: str, value: Any, /) -> None:
        """
        Chooses on an axis, or the value of a key.
        """
    def check(self, /) -> None:
        """
        Refuses choices that make no sense together, with a reason and a cure.
        """
    def choices(self, /) -> dict[str, str]:
        """
        Every axis with its choice.
        """
    @staticmethod
    def from_toml(text: str) -> Recipe:
        """
        Reads a recipe file's text.

        >>> sordino.Recipe.from_toml('method = "qsr"\\ncompress = "orq(9)"')["schedule"]
        'qsr'
        """
    @property
    def method(self, /) -> str:
        """
        The row that the choices began from, or `custom`.
        """
    def resolve(self, /, *, rate: SupportsFloat | SupportsIndex | None = None, momentum: SupportsFloat | SupportsIndex = 0.0, batch: SupportsIndex = 32, clients: SupportsIndex = 100, parameters: SupportsIndex = 1000, ranks: SupportsIndex = 1) -> Recipe:
        """
        The recipe with every `auto` replaced: numbers from `rate` (the peak rate of whichever optimizer), momentum and
        rows of a step, choices from the other choices, and from what they cost `ranks` ranks that meet about so many
        `parameters`.

        >>> sordino.Recipe("qsr").resolve(rate=0.1)["schedule.alpha"]
        0.219089
        """
    def set(self, /, assignment: str) -> None:
        """
        Takes `axis=element` or `axis.key=value`, the form of the program's `--set`.
        """
    def to_toml(self, /) -> str:
        """
        The recipe as TOML.
        """

@final
class Schedule:
    """
    When to speak: how many local steps of silence until the next meeting.

    >>> import sordino
    >>> qsr = sordino.schedule("qsr(base=4, alpha=0.0175)")
    >>> [qsr.silence(rate) for rate in (0.008, 0.002, 0.001)]
    [4, 76, 306]
    """
    def __repr__(self, /) -> str: ...
    @property
    def name(self, /) -> str:
        """
        Its name and settings, as they are written.
        """
    def silence(self, /, rate: SupportsFloat | SupportsIndex, *, step: SupportsIndex = 0, round: SupportsIndex = 1, previous_rate: SupportsFloat | SupportsIndex | None = None, steps: SupportsIndex | None = None, warming: bool = False, epoch: SupportsFloat | SupportsIndex = 1.0) -> int:
        """
        How many local steps follow at this rate. `step` is the round's first step, `previous_rate` the rate at the first
        step of the round before (by default the same; a rate that rises means warm-up, as `warming` does), `steps` the
        length of the run where it is known, `epoch` the steps of one pass over the rows.
        """

@final
class Session:
    """
    One rank of a run, for a loop of one's own.

    `tensors` are the model's, (name, shape, role), where a role is weight, bias, norm or buffer and may be left out. All
    vectors are flat float32 arrays with the tensors one after another; those that are buffers (running statistics) are a
    vector of their own. `port` is an object with `rank`, `size`, `send(to, data)` and `receive(from_)`: messages arrive
    in order, whole and once, and `send` does not wait for the receiver; without one the rank is alone. Where it also has
    `all_reduce(x)`, which adds up a float32 array in place (it is lent for the call), `exchange=reduce(engine)` uses that, and where it has
    `here(ranks)`, which says without waiting whether words of all these have come, `staleness=delayed` answers them while
    it works. Messages are counted and waiting is timed. `rows` says how many training rows each rank (or drawn client)
    holds, where an aggregator weighs them; `steps` how many steps the run has, where that is known.

    Either the recipe's optimizer makes the steps: `own_optimizer=True`, and `round(gradient)` is all there is to call.
    All ranks that do so get the bits that the program's threads get.

    >>> import numpy, sordino
    >>> def gradient(x, step, client, out):
    ...     out[:] = x - 3
    ...     return float(0.5 * ((x - 3) ** 2).sum())
    >>> recipe = sordino.Recipe("local-sgd", optim="sgd(rate=0.5, momentum=0)")
    >>> start = numpy.zeros(4, numpy.float32)
    >>> session = sordino.Session(recipe, [("x", (4,))], start, steps=16, own_optimizer=True)
    >>> while not session.done:
    ...     told = session.round(gradient)
    >>> session.model.round(3).tolist()
    [3.0, 3.0, 3.0, 3.0]

    Or the caller makes them, at rates of its own: a round is `begin`, `pace`, the steps, what they led to, `close_after`.
    What is told at the end depends on `payload`: where the steps led (`set_point`) for parameters; what they subtracted
    from `point` in sum for a displacement, or the gradient (both `set_offer`). Of a gradient, `update` is then what all
    agreed on; the caller steps along it from the `point` where the round began and says with `place` where that led.

    >>> session = sordino.Session("qsr", [("x", (4,))], start, steps=40)
    >>> session.payload
    'parameters'
    >>> while not session.done:
    ...     session.begin()
    ...     x = session.point
    ...     steps = session.pace(rate=0.2)
    ...     for _ in range(steps):
    ...         x -= numpy.float32(0.2) * (x - 3)
    ...     session.set_point(x)
    ...     told = session.close_after(steps)
    >>> session.rounds, session.model.round(3).tolist()
    (10, [3.0, 3.0, 3.0, 3.0])

    With `staleness=delayed` such a caller goes on while words travel: `speak_after` in the place of `close_after`, up to
    `pace_ahead` steps of the next round with `progress` after each, then `hear` and `begin`; it goes on at `point` less what
    these steps add up to.
    """
    def __new__(cls, /, recipe: "Recipe | str", tensors: "collections.abc.Iterable[tuple[str, collections.abc.Sequence[int]] | tuple[str, collections.abc.Sequence[int], str]]", start: "numpy.typing.NDArray[numpy.float32]", port: "object | None" = None, *, buffers: "numpy.typing.NDArray[numpy.float32] | None" = None, seed: SupportsIndex = 0, steps: SupportsIndex | None = None, rows: "collections.abc.Sequence[float] | None" = None, own_optimizer: bool = False) -> Session: ...
    def __repr__(self, /) -> str: ...
    def average(self, /, x: "numpy.typing.NDArray[numpy.float32]", purpose: str = "evaluate") -> NDArray[float32]:
        """
        The mean of all ranks' vectors, dense and in the order of ranks: a collective call, counted under `purpose`.
        """
    def begin(self, /) -> None:
        """
        Opens a round of a caller that makes its own steps: afterwards it stands at `point`.
        """
    def broadcast(self, /, x: "numpy.typing.NDArray[numpy.float32]", purpose: str = "control") -> NDArray[float32]:
        """
        Rank 0's vector on every rank: a collective call, counted under `purpose`.
        """
    @property
    def buffers(self, /) -> NDArray[float32]:
        """
        This rank's buffers. A copy.
        """
    @property
    def bytes_received(self, /) -> int:
        """
        Training bytes that this rank received.
        """
    @property
    def bytes_sent(self, /) -> int:
        """
        Training bytes that this rank sent.
        """
    def close(self, /, flags: SupportsIndex = 0) -> Told:
        """
        Closes the round that `open` began.
        """
    def close_after(self, /, steps: SupportsIndex, flags: SupportsIndex = 0) -> Told:
        """
        Closes the round after so many steps, the same number on every rank: what was offered is said, and the model moves
        by what all agree on.
        """
    @property
    def done(self, /) -> bool:
        """
        Whether all steps are done, or the budget of privacy is spent.
        """
    def evaluated(self, /, gradient: "collections.abc.Callable[..., float] | None" = None) -> tuple[NDArray[float32], NDArray[float32]]:
        """
        The model and the buffers that an evaluation uses: a collective call. `gradient` is asked only where buffers are
        estimated anew.
        """
    def hear(self, /) -> Told:
        """
        The second half of `close_after`: the model moves by what all agree on.
        """
    def ledger(self, /) -> "list[dict[str, str | int]]":
        """
        What this rank (and the server or the clients that it plays) sent: for each link and purpose `from`, `to`,
        `purpose`, `messages` and `bytes`. All ranks' ledgers make the whole.
        """
    def load(self, /, state: "bytes | bytearray | memoryview") -> None:
        """
        Takes back what `save` gave on this rank; what follows is what would have followed.
        """
    def load_dealt(self, /, states: "collections.abc.Iterable[bytes | bytearray | memoryview]") -> None:
        """
        Takes what all ranks of a session saved, in rank order, that may have had another number of ranks: residuals, shifts
        and optimizer state are dealt anew, so that the model is owed what it was owed.
        """
    @property
    def looks_ahead(self, /) -> bool:
        """
        Whether `point` may lie elsewhere than the model when a round has begun, because a residual is looked ahead of.
        """
    @property
    def model(self, /) -> NDArray[float32]:
        """
        The agreed model; where the caller steps and gradients are offered, only once it has said `place`. A copy.
        """
    def open(self, /) -> int:
        """
        Opens a round at the recipe's own rate: how many steps the caller makes from `point`.
        """
    def pace(self, /, rate: SupportsFloat | SupportsIndex, *, warming: bool = False, most: SupportsIndex | None = None) -> int:
        """
        How many steps the caller makes in the round that has begun, at most `most`. `rate` is that of the first of them,
        the same on every rank; `warming` says that warm-up is known to last.
        """
    def pace_ahead(self, /, rate: SupportsFloat | SupportsIndex, *, warming: bool = False, most: SupportsIndex | None = None) -> int:
        """
        How many steps of the next round may be made before it begins: as many as `staleness=delayed` and that round allow.
        Arguments are those of its `pace`.
        """
    @property
    def payload(self, /) -> str:
        """
        What is offered: parameters, displacement or gradient.
        """
    def place(self, /, x: "numpy.typing.NDArray[numpy.float32]") -> None:
        """
        Says where the caller's own steps have led, the same on every rank: the model that the next round begins from.
        """
    @property
    def point(self, /) -> NDArray[float32]:
        """
        Where the steps of this round begin, or have led. A copy.
        """
    def progress(self, /) -> None:
        """
        Moves on what is on its way, between two steps; never waits.
        """
    @property
    def rank(self, /) -> int:
        """
        This rank, from 0.
        """
    @property
    def recipe(self, /) -> Recipe:
        """
        The recipe as it is carried out: every `auto` replaced. A copy.
        """
    def record_point(self, /, train_loss: SupportsFloat | SupportsIndex = ..., *, eval_loss: SupportsFloat | SupportsIndex = ..., accuracy: SupportsFloat | SupportsIndex | None = None, epoch: SupportsFloat | SupportsIndex = 0.0) -> None:
        """
        Puts a point on the record, which rank 0 keeps: a collective call. Losses are those of the agreed model, accuracy is
        between 0 and 1; what is not known is left out.
        """
    def round(self, /, gradient: "collections.abc.Callable[..., float]", flags: SupportsIndex = 0) -> Told:
        """
        One round with the recipe's own steps. `gradient(x, step, client, out)` writes the gradient at `x` into `out` and
        returns the loss; a model with buffers is told them as a fifth argument and may change them in place. `flags` of
        rank 0 are told to everybody. What `gradient` raises comes out unchanged.
        """
    @property
    def rounds(self, /) -> int:
        """
        Rounds done.
        """
    def save(self, /) -> bytes:
        """
        Everything this rank remembers, as bytes: the model, residuals, streams, the ledger and the record. A round that is
        open is opened anew after it is taken back.
        """
    def set_buffers(self, /, x: "numpy.typing.NDArray[numpy.float32]") -> None:
        """
        Says what the caller's steps have made of the buffers.
        """
    def set_offer(self, /, x: "numpy.typing.NDArray[numpy.float32]") -> None:
        """
        Says what will be offered: what the steps subtracted from `point` in sum, or the gradient.
        """
    def set_point(self, /, x: "numpy.typing.NDArray[numpy.float32]") -> None:
        """
        Says where the steps led: what is offered where parameters are.
        """
    @property
    def size(self, /) -> int:
        """
        How many ranks there are.
        """
    def speak_after(self, /, steps: SupportsIndex, flags: SupportsIndex = 0) -> None:
        """
        The first half of `close_after`: what was offered is on its way.
        """
    @property
    def steps(self, /) -> int:
        """
        Local steps done.
        """
    def times(self, /) -> dict[str, float]:
        """
        Where this rank's time went, in seconds: `compute` in steps (from `open` or `pace` to the close of a round, where the
        caller makes them), `cpu` of the processor in steps of ours, `exchange`, `wait` for others, and `wall`.
        """
    def together(self, /, x: "numpy.typing.NDArray[numpy.float32]") -> NDArray[float32]:
        """
        The mean of the vectors of the ranks of this host, where `topology=hosts` says that there are several: a collective
        call of theirs, which a caller makes for its gradients at every step. Elsewhere the vector as it came.
        """
    @property
    def update(self, /) -> NDArray[float32]:
        """
        What the last meeting subtracted from the model; where the caller steps and gradients are offered, the gradient
        that was agreed on. A copy.
        """
    def write(self, /, folder: str | PathLike[str], *, task: str = "a loop of one's own", label: str = "") -> str | None:
        """
        Writes the record, its summary, the recipe and the report into a folder: a collective call. Rank 0 is told where
        the report is, the others None.
        """

@final
class Told:
    """
    What a round found.
    """
    def __repr__(self, /) -> str: ...
    @property
    def clipped(self, /) -> int:
        """
        How many of the round's steps were shortened by clipping.
        """
    @property
    def epsilon(self, /) -> float | None:
        """
        What has been spent of privacy so far, where anything hides contributions.
        """
    @property
    def flags(self, /) -> int:
        """
        What rank 0 decided for everybody.
        """
    @property
    def loss(self, /) -> float:
        """
        Mean mini-batch loss of this rank over the round; NaN where the caller made the steps.
        """
    @property
    def rate(self, /) -> float:
        """
        The rate of the round's first step.
        """
    @property
    def residual_norm(self, /) -> float | None:
        """
        The norm of what the feedback remembers.
        """
    @property
    def rounds(self, /) -> int:
        """
        Rounds done.
        """
    @property
    def shortened(self, /) -> int:
        """
        How many offers of this rank were shortened by clipping before they were sent.
        """
    @property
    def silence(self, /) -> int:
        """
        Local steps of this round.
        """
    @property
    def steps(self, /) -> int:
        """
        Local steps done.
        """
    @property
    def voices(self, /) -> int:
        """
        How many spoke in all.
        """

def axes() -> list[Axis]:
    """
    Every axis with what may be chosen on it, and keys whose values are elements of their own, such as `local.estimate`.

    >>> [a.neutral for a in sordino.axes() if a.name == "compress"]
    ['dense']
    >>> orq, = (e for a in sordino.axes() if a.name == "compress" for e in a.elements if e.name == "orq")
    >>> orq.keys["levels"]
    '3'
    """

def compressor(text: str, *, shapes: "collections.abc.Sequence[tuple[str, collections.abc.Sequence[int]]] | None" = None) -> Compressor:
    """
    The compressor that `text` names, such as `topk(0.01)`. `shapes` are the tensors of the vectors, name and shape, where
    it matters: by default a vector is one tensor with one dimension.

    >>> sordino.compressor("topk(0.5)").decode(sordino.compressor("topk(0.5)").encode(
    ...     numpy.array([0.5, -3, 1, 2], numpy.float32)), 4).tolist()
    [0.0, -3.0, 0.0, 2.0]
    >>> sordino.compressor("powersgd", shapes=[("w", (64, 32)), ("b", (64,))]).linear
    True
    """

def explain(name: str) -> str:
    """
    Says what a name is: a method, an axis, an element, a key such as `schedule.alpha`, a task.

    >>> print(sordino.explain("schedule.alpha"))
    schedule=power: ...
      schedule.alpha=auto ...
    """

def methods() -> list[Method]:
    """
    Every named row, in alphabetical order.

    >>> import sordino
    >>> [m.name for m in sordino.methods() if m.recipe.get("schedule") == "qsr"]
    ['qsr']
    """

def problem(task: str = "digits-mlp", *, workers: SupportsIndex = 4, seed: SupportsIndex = 0, batch: SupportsIndex | None = None, partition: str = "iid", data: str | PathLike[str] | None = None) -> Problem:
    """
    The task that `text` names, dealt to so many workers. `batch` is how many rows a step looks at, by default what the task
    suggests, as in `run`; 0 are all of a worker's.
    """

def run(recipe: "Recipe | str", task: str = "digits-mlp", *, workers: SupportsIndex = 4, steps: SupportsIndex | None = None, rounds: SupportsIndex | None = None, epochs: SupportsFloat | SupportsIndex | None = None, until: str | None = None, seed: SupportsIndex = 0, data: str | PathLike[str] | None = None, start: str | PathLike[str] | None = None, eval_every: SupportsIndex | None = None, checkpoint_every: SupportsIndex | None = None, out: str | PathLike[str] | None = None, quiet: bool = True) -> "sordino.result.Result":
    """
    Trains a network of the library's on a task of the library's, with `workers` workers on threads of this process, as
    the program's `sordino run` does: the same choices and seed give the same bits. `out` is a folder for the record, the
    report and checkpoints; without it nothing is written. Ctrl-C ends the run after its round.

    >>> ran = sordino.run("qsr", "quadratic(dim=8)", workers=2, steps=64)
    >>> ran.summary["rounds"], ran.model["x"].shape
    (16, (8,))
    >>> bool(ran.points["train_loss"][-1] < ran.points["train_loss"][0])
    True
    """

def schedule(text: str) -> Schedule:
    """
    The schedule that `text` names.
    """
