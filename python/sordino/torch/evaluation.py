"""The model that an evaluation uses, lent for a while."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice

import torch
from torch import nn

from ..errors import RequestError
from .optimizer import Wrapped

__all__ = ["averaged"]


@contextmanager
def averaged(opt: Wrapped, batches: Iterable | None = None) -> Iterator[nn.Module | None]:
    """Lends the agreed model: inside the block parameters and running statistics are those to evaluate and to save.

    Between two meetings that is the mean of all ranks' parameters; where feedback remembers, the model as it was last
    agreed on (less the mean residual, where the feedback says so). Afterwards every tensor is what it was, bit for bit.
    A collective call: every rank enters it.

    ``batches`` re-estimates running statistics at that model: every rank's layers of batch normalisation take the mean
    over these batches (as many as ``buffers=reestimate(n)`` says), and the ranks average what they found. Without it
    running statistics are averaged as they are. A batch is what the model takes, alone or first in a tuple.
    """
    if not isinstance(opt, Wrapped):
        raise RequestError(f"averaged takes what sordino.wrap gave, {type(opt).__name__} came")
    if batches is not None and opt.model is None:
        raise RequestError("averaged(batches=): nobody knows what to run; pass model= to wrap")
    if batches is None and opt.alone:
        yield opt.model
        return
    counters = [] if opt.model is None else [b for b in opt.model.buffers() if not b.is_floating_point()]
    tensors = [*opt.flat.tensors, *opt.buffers.tensors, *counters]
    kept = [tensor.detach().clone() for tensor in tensors]
    try:
        if not opt.alone:
            _agree(opt)
        if batches is not None:
            reestimate(opt, batches)
        yield opt.model
    finally:
        with torch.no_grad():
            for tensor, value in zip(tensors, kept):
                tensor.copy_(value)


def _agree(opt: Wrapped) -> None:
    opt.placed()
    remembers = opt.choices.chosen["feedback"][0] != "none"
    if (opt.made > 0 or opt.late.awaited) and not opt.gradients and not remembers:
        parameters = opt.average(opt.flat.read())
        buffers = opt.buffers.read()
        if len(opt.buffers):
            buffers = opt.broadcast(buffers) if opt.choices.buffers == "root" else opt.average(buffers)
    else:
        if len(opt.buffers):
            opt.session.set_buffers(opt.buffers.read())
        parameters, buffers = opt.session.evaluated()
        if len(opt.buffers) and opt.late.most > 0 and opt.choices.buffers == "root":
            buffers = opt.broadcast(opt.buffers.read())
    opt.fabric.settle()
    opt.flat.write(parameters)
    if len(opt.buffers):
        opt.buffers.write(buffers)


def reestimate(opt: Wrapped, batches: Iterable) -> None:
    """Running statistics as the mean over some batches at the model as it is, averaged over ranks."""
    layers = [
        m for m in opt.model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats
    ]
    if not layers:
        return
    modes = {module: module.training for module in opt.model.modules()}
    paces = [layer.momentum for layer in layers]
    opt.model.eval()
    try:
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # every batch counts alike
            layer.train()
        seen = 0
        with torch.no_grad():
            for batch in islice(batches, opt.choices.batches):
                opt.model(batch[0] if isinstance(batch, (tuple, list)) else batch)
                seen += 1
        if seen == 0:
            raise RequestError("averaged(batches=): no batch came; pass a loader that has some")
    finally:
        for module, mode in modes.items():
            module.training = mode
        for layer, pace in zip(layers, paces):
            layer.momentum = pace
    if not opt.alone:
        opt.buffers.write(opt.average(opt.buffers.read()))
        opt.fabric.settle()
