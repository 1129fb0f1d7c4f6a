"""A CNN on handwritten digits that talks little: local steps by the quadratic rule, what is said in nine levels.

    torchrun --nproc-per-node 4 examples/python/image_cnn.py
    torchrun --nproc-per-node 4 examples/python/image_cnn.py --ddp      the same with DistributedDataParallel

It runs alone as well, and with `--row saef` or any other row.
"""

import argparse
import gzip
import os
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.functional import cross_entropy

import sordino

DATA = Path(__file__).parents[2] / "crates" / "sordino-lab" / "data" / "optdigits"


def digits(part):
    """Images of 8 x 8 pixels and their labels, from IDX files."""
    images = np.frombuffer(gzip.decompress((DATA / f"{part}-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16)
    labels = np.frombuffer(gzip.decompress((DATA / f"{part}-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8)
    return torch.tensor(images.reshape(-1, 1, 8, 8) / 16.0, dtype=torch.float32), torch.tensor(labels, dtype=torch.long)


def network():
    """Two convolutions with batch normalisation."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(512, 10),
    )  # fmt: skip


def accuracy(model, images, labels):
    model.eval()
    with torch.no_grad():
        right = (model(images).argmax(1) == labels).float().mean().item()
    model.train()
    return right


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--steps", type=int, default=400)
    options.add_argument("--row", default="qsr")
    options.add_argument("--ddp", action="store_true", help="plain DistributedDataParallel")
    options.add_argument("--out", help="a folder for the report")
    options = options.parse_args()
    if "RANK" in os.environ:
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    rank, ranks = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    device = (
        torch.device("cuda", rank % torch.cuda.device_count()) if torch.cuda.is_available() else torch.device("cpu")
    )
    images, labels = (part.to(device) for part in digits("train"))
    tests = [part.to(device) for part in digits("t10k")]
    torch.manual_seed(0)
    model = network().to(device)
    opt = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    trained = model
    if options.ddp:
        trained = nn.parallel.DistributedDataParallel(model)
    else:
        lossy = {"compress": "orq(9)", "feedback": "residual"} if options.row == "qsr" else {}
        opt = sordino.wrap(opt, options.row, model=model, steps=options.steps, **lossy)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(opt, options.steps)
    draw = torch.Generator().manual_seed(1 + rank)

    for step in range(options.steps):
        rows = torch.randint(rank * len(images) // ranks, (rank + 1) * len(images) // ranks, (32,), generator=draw)
        loss = cross_entropy(trained(images[rows]), labels[rows])
        opt.zero_grad()
        loss.backward()
        opt.step()
        scheduler.step()
        if not options.ddp and (step + 1) % max(1, options.steps // 10) == 0:
            opt.record(loss.item())

    if options.ddp:
        # What DDP does not tell: a ring sends 2(N - 1)/N of the gradient.
        entries = sum(p.numel() for p in model.parameters())
        sent, meetings = int(options.steps * 2 * (ranks - 1) / ranks * 4 * entries), options.steps
        right = accuracy(model, *tests)
    else:
        batches = [images[i : i + 100] for i in range(rank * 200, rank * 200 + 1000, 100)]
        with sordino.averaged(opt, batches=batches):
            right = accuracy(model, *tests)
        told = opt.report(options.out)
        sent, meetings = told["bytes_sent"], told["rounds"]
    if rank == 0:
        print(f"loss {loss.item():.4f}  accuracy {100 * right:.1f} %  meetings {meetings}  bytes sent {sent}")
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
