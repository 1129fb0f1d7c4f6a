"""The networks, their data and what is asked of them: the same modules for every method."""

import math

import torch
from torch import nn
from torch.nn.functional import cross_entropy

import data

__all__ = ["Problem", "optimizer", "scheduler"]


class Lstm(nn.Module):
    """One layer of LSTM over characters."""

    def __init__(self, letters, width, embedding):
        super().__init__()
        self.letters = nn.Embedding(letters, embedding)
        self.layer = nn.LSTM(embedding, width, batch_first=True)
        self.out = nn.Linear(width, letters)

    def forward(self, text):
        return self.out(self.layer(self.letters(text))[0])


class Transformer(nn.Module):
    """Blocks of causal self-attention; the embedding is also the last layer."""

    def __init__(self, letters, width, blocks, context):
        super().__init__()
        self.letters, self.places = nn.Embedding(letters, width), nn.Embedding(context, width)
        block = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(block, blocks, enable_nested_tensor=False)
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, letters, bias=False)
        self.out.weight = self.letters.weight
        for table in (self.letters, self.places):
            nn.init.normal_(table.weight, std=0.05)
        mask = nn.Transformer.generate_square_subsequent_mask(context)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, text):
        x = self.letters(text) + self.places.weight
        return self.out(self.norm(self.blocks(x, self.mask, is_causal=True)))


def cnn(first, second, hidden):
    """Two convolutions and two linear layers."""
    return nn.Sequential(
        nn.Conv2d(1, first, 5, stride=2, padding=2), nn.ReLU(),
        nn.Conv2d(first, second, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(49 * second, hidden), nn.ReLU(), nn.Linear(hidden, 10),
    )  # fmt: skip


class Problem:
    """A network with its data, as the plan says. `model(seed)` makes it anew."""

    def __init__(self, plan, folder, rank, ranks):
        self.plan, self.rank, self.ranks = plan, rank, ranks
        arrays = data.load(folder, plan["data"])
        self.images = plan["data"] == "fashion"
        if self.images:
            # Every rank has rows of its own, dealt like cards.
            self.rows = torch.from_numpy(arrays["train"][rank::ranks].copy())
            self.labels = torch.from_numpy(arrays["train_labels"][rank::ranks].astype("int64"))
            own = slice(rank, plan["evaluate"], ranks)
            labels = torch.from_numpy(arrays["test_labels"][own].astype("int64"))
            self.tests = torch.from_numpy(arrays["test"][own].copy()), labels
        else:
            self.letters, self.context = int(arrays["letters"]), plan["context"]
            share = len(arrays["train"]) // ranks
            self.text = torch.from_numpy(arrays["train"][rank * share : (rank + 1) * share].copy())
            held = torch.from_numpy(arrays["test"])
            count, window = plan["evaluate"], self.context + 1
            starts = torch.linspace(0, len(held) - window, count).long()[rank::ranks]
            held = torch.stack([held[start : start + window] for start in starts.tolist()]).long()
            self.tests = held[:, :-1], held[:, 1:]

    def model(self, seed):
        torch.manual_seed(seed)
        settings = self.plan["settings"]
        if self.images:
            return cnn(**settings)
        if self.plan["module"] == "lstm":
            return Lstm(self.letters, **settings)
        return Transformer(self.letters, context=self.context, **settings)

    def batches(self, seed):
        """Batches of this rank without end, the same for every method."""
        draw = torch.Generator().manual_seed(1000 * seed + self.rank)
        size = self.plan["batch"]
        while True:
            if self.images:
                at = torch.randint(len(self.rows), (size,), generator=draw)
                yield _pixels(self.rows[at]), self.labels[at]
            else:
                starts = torch.randint(len(self.text) - self.context - 1, (size,), generator=draw).tolist()
                rows = torch.stack([self.text[start : start + self.context + 1] for start in starts]).long()
                yield rows[:, :-1], rows[:, 1:]

    @staticmethod
    def loss(model, batch):
        x, y = batch
        return cross_entropy(model(x).flatten(0, -2), y.flatten())

    @torch.no_grad()
    def evaluate(self, model):
        """What this rank adds to the measure: the sum over its rows, and how many they are."""
        model.eval()
        x, y = self.tests
        total = 0.0
        for x, y in zip(x.split(128), y.split(128)):
            told = model(_pixels(x) if self.images else x).flatten(0, -2)
            y = y.flatten()
            total += float((told.argmax(1) == y).sum() if self.images else cross_entropy(told, y, reduction="sum"))
        model.train()
        return total, self.tests[1].numel()


def _pixels(rows):
    return (rows.float() / 255 - 0.286) / 0.353


def optimizer(name, model, rate):
    """The optimizer of a name at its peak rate."""
    if name == "sgd":
        return torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    if name == "plain-sgd":
        return torch.optim.SGD(model.parameters(), lr=rate)
    if name == "adamw":
        return torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.1)
    raise ValueError(f"the plan asks for an optimizer `{name}`: expected sgd, plain-sgd or adamw")


def scheduler(opt, steps, warmup):
    """A linear warm-up, then a cosine down to nothing."""

    def factor(step):
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

    return torch.optim.lr_scheduler.LambdaLR(opt, factor)
