"""A communication hook for DistributedDataParallel: its buckets travel through a compressor and a feedback of ours.

::

    model = DistributedDataParallel(model)
    model.register_comm_hook(sordino.DDPState(compress="orq(9)", feedback="residual"), sordino.ddp_hook)

DDP orders its buckets anew after the first pass, in the order in which gradients came. What feedback remembers belongs to a
bucket, so the first passes (``start``) travel as they are. A bucket is agreed on inside the backward pass, one after
another on every rank; nothing overlaps.
"""

# DDP looks at the hook's annotations, so they are not left as strings here.
import numpy as np
import torch
import torch.distributed as dist

from .._sordino import Recipe, Session
from ..errors import RequestError
from .fabric import Fabric, alone
from .flat import role_of

__all__ = ["DDPState", "ddp_hook"]


class DDPState:
    """What :func:`ddp_hook` remembers between passes: a session for every bucket.

    ``compress``, ``feedback``, ``aggregate`` and ``exchange`` are choices on the axes of those names; a feedback that
    looks ahead has no place to do it here and is refused. The first ``start`` passes are averaged as they are. Every rank
    makes one at the same place.
    """

    def __init__(self, compress="dense", feedback="none", *, aggregate="mean", exchange="auto", seed: int = 0,
                 group=None, timeout: float | None = None, start: int = 1):  # fmt: skip
        self.recipe = Recipe("sync-sgd", compress=compress, feedback=feedback, aggregate=aggregate, exchange=exchange)
        self.recipe.check()
        if start < 1:
            raise RequestError(f"start={start}: buckets are made anew after the first pass; expected at least 1")
        self.dense = Recipe("sync-sgd")
        self.seed, self.start, self.passes = seed, start, 0
        self.fabric = None if alone(group) else Fabric(group, timeout)
        self.sessions: dict[tuple, Session] = {}

    def agree(self, bucket: dist.GradBucket) -> torch.Tensor:
        """The mean of a bucket over all ranks, as the choices say it."""
        buffer = bucket.buffer()
        if self.fabric is None:
            return buffer
        session = self._session(bucket)
        session.begin()
        session.pace(0.0, most=1)
        session.set_offer(buffer.detach().to("cpu", torch.float32).numpy())
        session.close_after(1)
        self.fabric.settle()
        agreed = torch.from_numpy(np.ascontiguousarray(session.update))
        if bucket.is_last():
            self.passes += 1
        return buffer.copy_(agreed)

    def _session(self, bucket: dist.GradBucket) -> Session:
        dense = self.passes < self.start
        parameters = bucket.parameters()
        key = (dense, *(id(parameter) for parameter in parameters))
        if key not in self.sessions:
            layout = [
                (f"{len(self.sessions)}.{i}", tuple(p.shape), role_of("", p, None)) for i, p in enumerate(parameters)
            ]
            start = np.zeros(bucket.buffer().numel(), dtype=np.float32)
            recipe = self.dense if dense else self.recipe
            self.sessions[key] = Session(recipe, layout, start, self.fabric, seed=self.seed, own_optimizer=False)
        return self.sessions[key]

    def report(self) -> dict:
        """Bytes by this rank, and how many buckets and passes there were."""
        sessions = self.sessions.values()
        return {
            "passes": self.passes,
            "buckets": sum(not key[0] for key in self.sessions),
            "bytes_sent": sum(session.bytes_sent for session in sessions),
            "bytes_received": sum(session.bytes_received for session in sessions),
        }

    def __reduce_ex__(self, protocol):
        raise TypeError(
            "a DDPState holds connections to other processes and cannot be pickled or copied; make a new one"
        )


def ddp_hook(state: DDPState, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
    """The hook to register, with a :class:`DDPState`."""
    future: torch.futures.Future[torch.Tensor] = torch.futures.Future()
    try:
        future.set_result(state.agree(bucket))
    except Exception as error:  # DDP asks the future
        future.set_exception(error)
    return future
