"""The communication hook of DistributedDataParallel."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from test_torch_together import equal, rank_of, rows, values  # noqa: E402
from torch_ranks import four  # noqa: E402, F401

import sordino  # noqa: E402


def network():
    torch.manual_seed(0)
    layers = [torch.nn.Linear(6, 64), torch.nn.ReLU(), torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 3)]
    return torch.nn.Sequential(*layers)


def train(group, choices, hooked=True, steps=12, dtype=None, bucket=0.005):
    model = network() if dtype is None else network().to(dtype)
    parallel = torch.nn.parallel.DistributedDataParallel(model, process_group=group, bucket_cap_mb=bucket)
    state = sordino.DDPState(group=group, timeout=30, **choices) if hooked else None
    if hooked:
        parallel.register_comm_hook(state, sordino.ddp_hook)
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for step in range(steps):
        opt.zero_grad()
        x, y = rows(rank_of(group), step % 3)
        loss = torch.nn.functional.cross_entropy(parallel(x.to(model[0].weight.dtype)).float(), y)
        loss.backward()
        losses.append(loss.item())
        opt.step()
    return values(model), losses, state.report() if hooked else None


def test_a_dense_hook_is_data_parallel_training(four):
    plain, ours = four.run(train, {}, False, ranks=2), four.run(train, {}, ranks=2)
    for (model, losses, _), (other, others, report) in zip(plain, ours):
        assert equal(model, other) and losses == others, "two ranks have an exact mean"
        assert report["passes"] == 12 and report["buckets"] > 1


def test_buckets_are_compressed_once_they_have_settled(four):
    dense = four.run(train, {}, ranks=3)
    few = four.run(train, {"compress": "orq(9)", "feedback": "residual"}, ranks=3)
    for (model, losses, report), (_, before, more) in zip(few, dense):
        assert equal(model, few[0][0])
        assert losses[0] == before[0] and losses[1] == before[1], "the first pass travels as it is"
        assert losses[2] != before[2] and abs(np.mean(losses[-3:]) - np.mean(before[-3:])) < 0.02
        assert np.mean(losses[-3:]) < np.mean(losses[:3])
        assert report["buckets"] == more["buckets"] > 1 and report["bytes_sent"] < more["bytes_sent"]


def twin(group, share):
    """One bucket of one matrix: what is said is the largest entries, and the rest is said later."""
    model = torch.nn.Linear(16, 8, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.linspace(-1, 1, 128).view(8, 16))
    parallel = torch.nn.parallel.DistributedDataParallel(model, process_group=group)
    state = sordino.DDPState(f"topk({share})", "residual", group=group, timeout=30)
    parallel.register_comm_hook(state, sordino.ddp_hook)
    found = []
    for step in range(6):
        model.zero_grad()
        x = np.random.default_rng([rank_of(group), step]).normal(size=(4, 16)).astype(np.float32)
        parallel(torch.from_numpy(x)).sum().backward()
        found.append(model.weight.grad.numpy().copy())
    return found


def test_what_a_hook_agrees_on_is_the_twins(four):
    share, ranks = 0.1, 3
    owed, wanted = [np.zeros((8, 16), np.float32)] * ranks, []
    for step in range(6):
        said = []
        for rank in range(ranks):
            x = np.random.default_rng([rank, step]).normal(size=(4, 16)).astype(np.float32)
            given = np.tile(x.sum(0), (8, 1)) + owed[rank]
            if step == 0:
                said.append(given)
                continue
            kept = np.zeros(128, np.float32)
            places = np.argsort(-np.abs(given.ravel()), kind="stable")[: int(share * 128)]
            kept[places] = given.ravel()[places]
            said.append(kept.reshape(8, 16))
            owed = [given - said[-1] if k == rank else e for k, e in enumerate(owed)]
        wanted.append(np.mean(said, axis=0, dtype=np.float32))
    for found in four.run(twin, share, ranks=ranks):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_buckets_of_low_precision_travel_too(four):
    for model, losses, _ in four.run(
        train, {"compress": "sign", "feedback": "residual"}, dtype=torch.bfloat16, ranks=2
    ):
        assert np.isfinite(losses).all() and model["0.weight"].dtype == torch.bfloat16


def test_what_fits_no_bucket_is_refused():
    with pytest.raises(sordino.RequestError, match="looking ahead"):
        sordino.DDPState("sign", "residual(lambda=1)")
    with pytest.raises(sordino.RequestError, match="did you mean"):
        sordino.DDPState("signs")
    with pytest.raises(sordino.RequestError, match="start=0"):
        sordino.DDPState(start=0)
