"""A character Transformer on Shakespeare that talks little: AdamW inside, Nesterov's momentum between the meetings.

    torchrun --nproc-per-node 4 examples/python/char_transformer.py
    torchrun --nproc-per-node 4 examples/python/char_transformer.py --ddp      DistributedDataParallel in nine levels

With `--save FOLDER` it leaves checkpoints there and goes on from the last, after a crash too.
"""

import argparse
import gzip
import os
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.functional import cross_entropy

import sordino

TEXT = Path(__file__).parents[2] / "crates" / "sordino-lab" / "data" / "shakespeare-tiny.txt.gz"
CONTEXT = 64


class Transformer(nn.Module):
    """Blocks of causal self-attention; the embedding is also the last layer."""

    def __init__(self, letters, width=64, blocks=2):
        super().__init__()
        self.letters, self.places = nn.Embedding(letters, width), nn.Embedding(CONTEXT, width)
        block = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(block, blocks, enable_nested_tensor=False)
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, letters, bias=False)
        self.out.weight = self.letters.weight
        nn.init.normal_(self.letters.weight, std=0.05)

    def forward(self, text):
        x = self.letters(text) + self.places.weight[: text.shape[1]]
        mask = nn.Transformer.generate_square_subsequent_mask(text.shape[1], device=text.device)
        return self.out(self.norm(self.blocks(x, mask, is_causal=True)))


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--steps", type=int, default=600)
    options.add_argument("--row", default="diloco")
    options.add_argument("--ddp", action="store_true", help="DistributedDataParallel with a communication hook")
    options.add_argument("--save", help="a folder for checkpoints")
    options = options.parse_args()
    if "RANK" in os.environ:
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    rank, ranks = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    device = (
        torch.device("cuda", rank % torch.cuda.device_count()) if torch.cuda.is_available() else torch.device("cpu")
    )
    text = gzip.decompress(TEXT.read_bytes()).decode()
    known = {letter: i for i, letter in enumerate(sorted(set(text)))}
    text = torch.tensor([known[letter] for letter in text], device=device)
    torch.manual_seed(0)
    model = Transformer(len(known)).to(device)
    opt = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.1)
    trained, state = model, None
    if options.ddp:
        trained = nn.parallel.DistributedDataParallel(model)
        state = sordino.DDPState(compress="orq(9)", feedback="residual")
        trained.register_comm_hook(state, sordino.ddp_hook)
    else:
        opt = sordino.wrap(opt, options.row, model=model, steps=options.steps, max_norm=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(opt, 2e-3, options.steps, pct_start=0.1)
    first = 0
    if options.save and not options.ddp:
        sordino.load(options.save, opt, model, scheduler=scheduler)
        first = opt.steps

    for step in range(first, options.steps):
        draw = torch.Generator().manual_seed(step * ranks + rank)
        starts = torch.randint(len(text) - CONTEXT - 1, (16,), generator=draw).tolist()
        rows = torch.stack([text[start : start + CONTEXT + 1] for start in starts])
        loss = cross_entropy(trained(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
        opt.zero_grad()
        loss.backward()
        opt.step()
        scheduler.step()
        if options.save and not options.ddp and (step + 1) % 100 == 0:
            sordino.save(options.save, opt, model, scheduler=scheduler)
        if rank == 0 and (step + 1) % 100 == 0:
            print(f"step {step + 1}  loss {loss.item():.4f}", flush=True)

    told = state.report() if options.ddp else opt.report()
    if rank == 0:
        meetings = told["passes"] if options.ddp else told["rounds"]
        print(f"loss {loss.item():.4f}  meetings {meetings}  bytes sent {told['bytes_sent']}")
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
