"""Peers that are tried: what their documentation shows, on four hosts and a small network. One process of each rank.

    RANK=0 WORLD_SIZE=4 MASTER_ADDR=... MASTER_PORT=... python peers.py local_sgd
"""

import os
import sys
import time
from datetime import timedelta

import torch
from torch import nn

RANK, RANKS, HOST = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), os.environ["MASTER_ADDR"]
STEPS, EVERY = 40, 10


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))


def loss_of(model):
    x = torch.randn(16, 32)
    return nn.functional.cross_entropy(model(x), x[:, :10].argmax(1))


def manager(state):
    """torchft's: a lighthouse on the first host, a group of one process on every host."""
    from torch.distributed import TCPStore
    from torchft import Manager, ProcessGroupGloo
    from torchft.coordination import LighthouseServer

    mine = os.environ["HOST_ADDR"]
    if RANK == 0:
        state["lighthouse"] = LighthouseServer(bind="[::]:29510", min_replicas=RANKS, join_timeout_ms=10000)
    else:
        time.sleep(2)
    state["store"] = TCPStore(mine, 29520, is_master=True, wait_for_workers=False)
    model = state["model"]
    return Manager(
        pg=ProcessGroupGloo(timeout=timedelta(seconds=60)), min_replica_size=RANKS, use_async_quorum=False,
        load_state_dict=model.load_state_dict, state_dict=model.state_dict,
        rank=0, world_size=1, store_addr=mine, store_port=29520, hostname=mine, replica_id=f"replica_{RANK}",
        lighthouse_addr=f"http://{HOST}:29510",
    )  # fmt: skip


def local_sgd():
    from torchft.local_sgd import LocalSGD

    state = {"model": network()}
    model, held = state["model"], manager(state)
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    with LocalSGD(held, model, opt, sync_every=EVERY):
        return train(model, opt, lambda: f"{held.current_step()} meetings of {held.num_participants()}")


def diloco():
    from torchft.local_sgd import DiLoCo

    state = {"model": network()}
    model, held = state["model"], manager(state)
    opt = torch.optim.AdamW(model.parameters(), lr=1e-3)
    outer = torch.optim.SGD(model.parameters(), lr=0.7, momentum=0.9, nesterov=True)
    with DiLoCo(held, [model], opt, outer, sync_every=EVERY):
        return train(model, opt, lambda: f"{held.current_step()} meetings of {held.num_participants()}")


def onebit_adam():
    import deepspeed

    os.environ["DS_ACCELERATOR"] = "cpu"
    deepspeed.init_distributed(dist_backend="gloo")
    model = network()
    settings = {
        "train_micro_batch_size_per_gpu": 16,
        "optimizer": {
            "type": "OneBitAdam",
            "params": {"lr": 1e-3, "freeze_step": 10, "cuda_aware": False, "comm_backend_name": "mpi"},
        },
    }
    engine, *_ = deepspeed.initialize(model=model, model_parameters=model.parameters(), config=settings)
    for _ in range(STEPS):
        loss = loss_of(engine)
        engine.backward(loss)
        engine.step()
    return f"loss {float(loss):.3f}"


def hivemind_averager():
    import hivemind

    model, mine = network(), os.environ["HOST_ADDR"]
    first = f"/ip4/{HOST}/tcp/29530/p2p/"
    store = torch.distributed.TCPStore(HOST, 29531, RANKS, RANK == 0)
    where = [f"/ip4/{mine}/tcp/{29530 if RANK == 0 else 0}"]
    peers = None if RANK == 0 else [store.get("first").decode()]
    dht = hivemind.DHT(host_maddrs=where, initial_peers=peers, start=True)
    if RANK == 0:
        store.set("first", next(str(a) for a in dht.get_visible_maddrs() if str(a).startswith(first)))
    opt = hivemind.Optimizer(
        dht=dht, run_id="bench", batch_size_per_step=16, target_batch_size=16 * RANKS * EVERY, use_local_updates=True,
        params=model.parameters(), optimizer=lambda p: torch.optim.SGD(p, lr=0.1), matchmaking_time=3.0,
        averaging_timeout=30.0, delay_state_averaging=False,
    )  # fmt: skip
    began = time.monotonic()
    said = train(model, opt, lambda: f"{opt.local_epoch} meetings in {time.monotonic() - began:.0f} s")
    # A peer that leaves while others are still looking for company would be missed.
    store.set(f"done{RANK}", "")
    store.wait([f"done{rank}" for rank in range(RANKS)])
    opt.shutdown()
    dht.shutdown()
    return said


def train(model, opt, met):
    for _ in range(STEPS):
        opt.zero_grad()
        loss = loss_of(model)
        loss.backward()
        opt.step()
    return f"loss {float(loss):.3f}, {met()}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    said = globals()[sys.argv[1]]()
    print(said, flush=True)
    # Background threads of theirs may not end by themselves.
    os._exit(0)
