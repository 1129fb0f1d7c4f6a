"""Peers that are tried: what their documentation shows, on four hosts and a small network. One process of each rank.

    RANK=0 WORLD_SIZE=4 MASTER_ADDR=... MASTER_PORT=... python peers.py onebit_adam
"""

import os
import sys
import time

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


def onebit_adam():
    os.environ["DS_ACCELERATOR"] = "cpu"
    import deepspeed

    deepspeed.init_distributed(dist_backend="gloo")
    model = network()
    settings = {
        "train_micro_batch_size_per_gpu": 16,
        "optimizer": {
            "type": "OneBitAdam",
            "params": {"lr": 1e-3, "freeze_step": 10, "cuda_aware": False, "comm_backend_name": "nccl"},
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
