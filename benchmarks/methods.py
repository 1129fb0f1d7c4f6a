"""The methods, theirs and ours, each around the same module, optimizer and loop.

A method makes a step and says of what kind it was: `sync` (everything travels), `meet` (what the method is about
sets out), `land` (that is taken in, a step or more later), `turn` (both) or `local` (nothing of it). What a step of a
kind costs is measured on shaped links, how many there are until the target is counted in unshaped runs.
"""

from contextlib import ExitStack, contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn

from hosts import address

__all__ = ["build"]


class Alone:
    """Nobody talks: what the computing costs. No method, but the floor under all of them."""

    def __init__(self, model, optimizer, *_):
        self.model = self.trained = model
        self.optimizer = optimizer

    def step(self):
        self.optimizer.step()
        return "local"

    @contextmanager
    def agreed(self):
        """Inside, the module is the model that the ranks would keep."""
        yield self.model

    def ledger(self):
        """Bytes that the method says this rank has sent; none where it does not say."""
        return None

    def close(self):
        """Lets go of what it holds beside the process group."""


class Parallel(Alone):
    """DistributedDataParallel over Gloo, with one of the hooks that PyTorch documents."""

    def __init__(self, model, optimizer, job):
        super().__init__(model, optimizer)
        self.trained = nn.parallel.DistributedDataParallel(model)
        self.made, self.early = 0, job["early"]
        hook = job["method"].get("hook")
        if hook == "fp16":
            from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import fp16_compress_hook

            self.trained.register_comm_hook(None, fp16_compress_hook)
        elif hook == "powersgd":
            from torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook import PowerSGDState, powerSGD_hook

            # The defaults, but for when it starts: they are for long runs, the documentation asks for a tenth of a run.
            state = PowerSGDState(None, matrix_approximation_rank=job["period"], start_powerSGD_iter=self.early)
            self.trained.register_comm_hook(state, powerSGD_hook)

    def step(self):
        self.optimizer.step()
        self.made += 1
        return "sync" if self.made <= self.early else "meet"


class PostLocal(Parallel):
    """PyTorch's PostLocalSGD: gradients are averaged for a while, then parameters periodically."""

    def __init__(self, model, optimizer, job):
        from torch.distributed.algorithms.ddp_comm_hooks.post_localSGD_hook import PostLocalSGDState, post_localSGD_hook
        from torch.distributed.algorithms.model_averaging.averagers import PeriodicModelAverager
        from torch.distributed.optim import PostLocalSGDOptimizer

        super().__init__(model, optimizer, job)
        # One worker is a host: there is nobody to average gradients with inside it.
        state = PostLocalSGDState(None, None, self.early, post_local_gradient_allreduce=False)
        self.trained.register_comm_hook(state, post_localSGD_hook)
        self.period = job["period"]
        averager = PeriodicModelAverager(period=self.period, warmup_steps=self.early)
        self.optimizer = PostLocalSGDOptimizer(optim=optimizer, averager=averager)

    def step(self):
        self.optimizer.step()
        self.made += 1
        past = self.made - 1 - self.early
        # The averager's first meeting follows the first local step.
        return "sync" if past < 0 else ("meet" if past % self.period == 0 else "local")

    def agreed(self):
        return mean_of(self.model)


@contextmanager
def mean_of(model):
    """The mean of all ranks' parameters, lent for a while."""
    parameters = [p.detach() for p in model.parameters()]

    def write(vector):
        for p, value in zip(parameters, vector.split([p.numel() for p in parameters])):
            p.copy_(value.view_as(p))

    kept = torch.cat([p.flatten() for p in parameters])
    mean = kept.clone()
    dist.all_reduce(mean)
    write(mean.div_(dist.get_world_size()))
    yield model
    write(kept)


class TorchFt(Alone):
    """torchft's LocalSGD and DiLoCo: every worker is a replica group of one, the first host has the lighthouse."""

    PORT = 29600

    def __init__(self, model, optimizer, job):
        from torchft import Manager, ProcessGroupGloo
        from torchft.coordination import LighthouseServer
        from torchft.local_sgd import DiLoCo, LocalSGD

        super().__init__(model, optimizer)
        self.made, self.period, self.open = 0, job["period"], ExitStack()
        rank, ranks = dist.get_rank(), dist.get_world_size()
        # Nothing of the job before may answer.
        TorchFt.PORT += 1
        port, mine, first = TorchFt.PORT, address(rank), address(0)
        if rank == 0:
            lighthouse = LighthouseServer(bind=f"0.0.0.0:{port}", min_replicas=ranks, join_timeout_ms=10000)
            self.open.callback(lighthouse.shutdown)
        dist.barrier()
        store = dist.TCPStore(mine, 0, is_master=True, wait_for_workers=False)
        # Everybody begins from the same seed, so nobody has to fetch the model.
        manager = Manager(
            ProcessGroupGloo(timeout=timedelta(seconds=120)), model.load_state_dict, model.state_dict, ranks,
            use_async_quorum=False, init_sync=False, rank=0, world_size=1, store_addr=mine, store_port=store.port,
            hostname=mine, lighthouse_addr=f"http://{first}:{port}", replica_id=f"replica_{rank}",
            timeout=timedelta(seconds=120), quorum_timeout=timedelta(seconds=600),
        )  # fmt: skip
        self.open.callback(lambda: manager.shutdown(wait=False))
        if job["method"]["outer"]:
            outer = torch.optim.SGD(model.parameters(), lr=0.7, momentum=0.9, nesterov=True)
            local = DiLoCo(manager, [model], optimizer, outer, sync_every=self.period)
        else:
            local = LocalSGD(manager, model, optimizer, sync_every=self.period)
        self.open.enter_context(local)
        self.store, self.manager = store, manager

    def step(self):
        # Their hook on the optimizer counts the steps and meets.
        self.optimizer.step()
        self.made += 1
        return "meet" if self.made % self.period == 0 else "local"

    def agreed(self):
        return mean_of(self.model)

    def close(self):
        self.open.close()


class Ours(Alone):
    """A row of Sordino around the optimizer."""

    def __init__(self, model, optimizer, job):
        import sordino

        method = job["method"]
        axes = dict(method.get("axes", {}))
        if "period" in method:
            axes[method["period"]] = job["period"]
        clip = job["network"].get("clip") if method.get("clip") else None
        wrapped = sordino.wrap(
            optimizer, method["row"], model=model, steps=job["steps"], seed=job["seed"], warmup=job["warmup"], clip=clip,
            **axes,
        )  # fmt: skip
        super().__init__(model, wrapped)

    def step(self):
        awaited, rounds = self.optimizer.late.awaited, self.optimizer.session.rounds
        self.optimizer.step()
        if self.optimizer.late.awaited:
            # Where words may be as late as a round is long, its last step takes in the ones and says the others.
            turns = awaited and self.optimizer.session.rounds > rounds
            return "turn" if turns else ("local" if awaited else "meet")
        if awaited:
            return "land"
        return "meet" if self.optimizer.session.rounds > rounds else "local"

    def agreed(self):
        return mean_of(self.model)

    def ledger(self):
        # A star's server lives with rank 0: what they tell one another never travels, what it tells the others does.
        home = {"0", "server"}
        flows = self.optimizer.session.ledger()
        return sum(flow["bytes"] for flow in flows if not {flow["from"], flow["to"]} <= home)


FAMILIES = {"alone": Alone, "parallel": Parallel, "post-local": PostLocal, "torchft": TorchFt, "sordino": Ours}


def build(model, optimizer, job):
    """The method that a job names."""
    return FAMILIES[job["method"]["family"]](model, optimizer, job)
