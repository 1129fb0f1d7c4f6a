"""A run for torchrun that saves every few steps, and in which one process dies in the middle once."""

import json
import os
import signal
import sys

import torch
import torch.distributed as dist

import sordino

STEPS, SAVED, DIES = 40, 6, 21


def main(folder, dies):
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
    opt = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    opt = sordino.wrap(
        opt, "qsr", model=model, compress="orq(9)", feedback="residual", steps=STEPS, schedule="constant(4)"
    )
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(opt, STEPS)
    sordino.load(folder, opt, model, scheduler=scheduler)
    began = opt.steps
    losses = open(f"{folder}/losses-{rank}.jsonl", "a", buffering=1)
    while opt.steps < STEPS:
        rows = torch.randn(16, 8, generator=torch.Generator().manual_seed(100 * opt.steps + rank))
        loss = (model(rows) - rows.sum(1, keepdim=True)).square().mean()
        losses.write(json.dumps({"step": opt.steps, "loss": loss.item(), "began": began}) + "\n")
        opt.zero_grad()
        loss.backward()
        opt.step()
        scheduler.step()
        if opt.steps % 4 == 0:
            opt.record(loss.item())
        if opt.steps % SAVED == 0:
            sordino.save(folder, opt, model, scheduler=scheduler)
        if dies and began == 0 and rank == 1 and opt.steps == DIES:
            os.kill(os.getpid(), signal.SIGKILL)
    report = opt.report(f"{folder}/report")
    torch.save(model.state_dict(), f"{folder}/model-{rank}.pt")
    with open(f"{folder}/told-{rank}.json", "w") as file:
        json.dump(report, file)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] == "dies")
