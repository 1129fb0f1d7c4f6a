"""Naive twins in numpy, written from what the methods are, without the library and without torch.

A linear model y = W x + b under the mean squared error; every rank has rows of its own. Parameters are one flat vector,
W before b.
"""

import math

import numpy as np

INPUTS, OUTPUTS, ROWS = 5, 3, 4


def start():
    """Where everybody begins."""
    return (np.random.default_rng(7).normal(size=INPUTS * OUTPUTS + OUTPUTS) * 0.5).astype(np.float32)


def batch(rank, step):
    """The rows of a rank's step."""
    rng = np.random.default_rng(1000 * rank + step)
    x = rng.normal(size=(ROWS, INPUTS)).astype(np.float32)
    target = np.random.default_rng(3).normal(size=(INPUTS, OUTPUTS)) + 0.3 * rank
    return x, (x @ target + 0.1 * rng.normal(size=(ROWS, OUTPUTS))).astype(np.float32)


def gradient(at, rank, step):
    """The gradient of the mean squared error there."""
    weight, bias = at[: INPUTS * OUTPUTS].reshape(OUTPUTS, INPUTS), at[INPUTS * OUTPUTS :]
    x, y = batch(rank, step)
    error = 2 * (x @ weight.T + bias - y) / y.size
    return np.concatenate([(error.T @ x).ravel(), error.sum(0)]).astype(np.float32)


def cosine(peak, steps):
    """The rate over a run."""
    return [peak * 0.5 * (1 + math.cos(math.pi * step / steps)) for step in range(steps)]


class Sgd:
    """SGD with heavy-ball momentum, as torch has it."""

    def __init__(self, momentum=0.0):
        self.momentum, self.buffer = momentum, None

    def move(self, g, rate):
        self.buffer = g if self.buffer is None else self.momentum * self.buffer + g
        return np.float32(rate) * self.buffer


class AdamW:
    """AdamW with torch's defaults."""

    def __init__(self, decay):
        self.decay, self.t, self.m, self.v = decay, 0, 0.0, 0.0

    def move(self, g, rate, at):
        self.t += 1
        self.m = 0.9 * self.m + 0.1 * g
        self.v = 0.999 * self.v + 0.001 * g * g
        m, v = self.m / (1 - 0.9**self.t), self.v / (1 - 0.999**self.t)
        return np.float32(rate) * (self.decay * at + m / (np.sqrt(v) + 1e-8))


def quadratic_rule(rates, base, alpha):
    """The silences of QSR over a run."""
    silences, step, before = [], 0, None
    while step < len(rates):
        rate = rates[step]
        grown = 0 if before is None or rate > before or rate <= 0 else int((alpha / rate) ** 2)
        silences.append(min(max(base, grown), len(rates) - step))
        before, step = rate, step + silences[-1]
    return silences


def local_sgd(ranks, rates, silences, momentum):
    """Local steps between averages of the parameters; momentum stays where it is."""
    x, inner, step = start(), [Sgd(momentum) for _ in range(ranks)], 0
    for silence in silences:
        points = []
        for rank in range(ranks):
            at = x.copy()
            for i in range(silence):
                at = at - inner[rank].move(gradient(at, rank, step + i), rates[step + i])
            points.append(at)
        x, step = np.mean(points, axis=0, dtype=np.float32), step + silence
    return x


def late_local_sgd(ranks, rates, every, late, momentum):
    """Averages of the points that rounds led to, taken in so many steps later, with the steps made since on top."""
    points, inner = [start() for _ in range(ranks)], [Sgd(momentum) for _ in range(ranks)]
    awaited, step = None, 0
    for begun in range(0, len(rates), every):
        end = min(begun + every, len(rates))
        for step in range(begun, end):
            for rank in range(ranks):
                points[rank] = points[rank] - inner[rank].move(gradient(points[rank], rank, step), rates[step])
            if awaited is not None and step + 1 == min(begun + late, end):
                mean = np.mean(awaited, axis=0, dtype=np.float32)
                points = [mean - (led - point) for led, point in zip(awaited, points)]
                awaited = None
        awaited = list(points)
    return np.mean(awaited, axis=0, dtype=np.float32)


def top(vector, share):
    """The largest entries of each tensor, the rest 0."""
    out = np.zeros_like(vector)
    for begin, end in ((0, INPUTS * OUTPUTS), (INPUTS * OUTPUTS, len(vector))):
        count = max(1, int(share * (end - begin)))
        places = begin + np.argsort(-np.abs(vector[begin:end]), kind="stable")[:count]
        out[places] = vector[places]
    return out


def top_gradients(ranks, rates, share, momentum):
    """Largest entries of gradients with a residual; momentum after the mean."""
    x, inner, owed = start(), Sgd(momentum), [np.zeros(len(start()), np.float32) for _ in range(ranks)]
    for step, rate in enumerate(rates):
        said = []
        for rank in range(ranks):
            given = gradient(x, rank, step) + owed[rank]
            said.append(top(given, share))
            owed[rank] = given - said[-1]
        x = x - inner.move(np.mean(said, axis=0, dtype=np.float32), rate)
    return x


def sign(vector):
    """Signs and their mean magnitude."""
    return np.where(vector < 0, -1, 1).astype(np.float32) * np.float32(np.mean(np.abs(vector), dtype=np.float64))


def step_ahead(ranks, rates, momentum, every=0):
    """SAEF: signs both ways, gradients a whole residual ahead, residuals averaged every so many rounds."""
    x, inner = start(), [Sgd(momentum) for _ in range(ranks)]
    owed, down = [np.zeros_like(x) for _ in range(ranks)], np.zeros_like(x)
    for step, rate in enumerate(rates):
        if every and step > 0 and (step + 1) % every == 0:
            owed = [np.mean(owed, axis=0, dtype=np.float32)] * ranks
        said = []
        for rank in range(ranks):
            ahead = x - owed[rank]
            given = inner[rank].move(gradient(ahead, rank, step), rate) + owed[rank]
            said.append(sign(given))
            owed[rank] = given - said[-1]
        given = np.mean(said, axis=0, dtype=np.float32) + down
        told = sign(given)
        x, down = x - told, given - told
    return x


def slow_momentum(ranks, rates, every, beta, momentum):
    """SlowMo: momentum over rounds in units of gradients; local momentum begins anew."""
    x, slow, step = start(), np.zeros_like(start()), 0
    while step < len(rates):
        silence, rate, moved = min(every, len(rates) - step), np.float32(rates[step]), []
        for rank in range(ranks):
            at, inner = x.copy(), Sgd(momentum)
            for i in range(silence):
                at = at - inner.move(gradient(at, rank, step + i), rates[step + i])
            moved.append(x - at)
        slow = np.float32(beta) * slow + np.mean(moved, axis=0, dtype=np.float32) / rate
        x, step = x - rate * slow, step + silence
    return x


def diloco(ranks, rates, every, decay, beta, outer_rate):
    """AdamW inside, Nesterov's momentum on the mean displacement outside."""
    x, outer, step = start(), np.zeros_like(start()), 0
    inner = [AdamW(decay) for _ in range(ranks)]
    while step < len(rates):
        silence, moved = min(every, len(rates) - step), []
        for rank in range(ranks):
            at = x.copy()
            for i in range(silence):
                at = at - inner[rank].move(gradient(at, rank, step + i), rates[step + i], at)
            moved.append(x - at)
        mean = np.mean(moved, axis=0, dtype=np.float32)
        outer = np.float32(beta) * outer + mean
        x, step = x - np.float32(outer_rate) * (mean + np.float32(beta) * outer), step + silence
    return x


def clipped(ranks, rates, every, clip):
    """CELGC: no local step is longer than clip, which anneals with the rate; parameters are averaged."""
    x, threshold, step = start(), clip / rates[0], 0
    while step < len(rates):
        silence, points = min(every, len(rates) - step), []
        for rank in range(ranks):
            at = x.copy()
            for i in range(silence):
                g = gradient(at, rank, step + i)
                norm = np.linalg.norm(g.astype(np.float64))
                at = at - np.float32(rates[step + i] * min(1, threshold / norm)) * g
            points.append(at)
        x, step = np.mean(points, axis=0, dtype=np.float32), step + silence
    return x


def bounded(ranks, rates, bound):
    """Synchronous SGD along the mean of gradients that are no longer than so much."""
    x = start()
    for step, rate in enumerate(rates):
        found = [gradient(x, rank, step) for rank in range(ranks)]
        found = [g * np.float32(min(1, bound / np.linalg.norm(g.astype(np.float64)))) for g in found]
        x = x - np.float32(rate) * np.mean(found, axis=0, dtype=np.float32)
    return x
