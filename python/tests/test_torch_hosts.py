"""Ranks that share a host: their gradients are one, and one of them speaks for all."""

import pytest

torch = pytest.importorskip("torch")

from test_torch_together import backward, equal, network, rank_of, values  # noqa: E402
from torch_ranks import four  # noqa: E402, F401

import sordino  # noqa: E402


def on_hosts(group, row, choices, size, kind="SGD", keys=None, scaled=False):
    rank, model = rank_of(group), network()
    opt = getattr(torch.optim, kind)(model.parameters(), **(keys or {"lr": 0.1, "momentum": 0.9}))
    if size > 1:
        choices = {**choices, "topology": f"hosts({size})"}
    opt = sordino.wrap(opt, row, model=model, group=group, **choices)
    for step in range(12):
        opt.zero_grad()
        if size > 1:
            backward(model, rank, step)
        else:
            # What the two ranks of a host look at.
            for half in (2 * rank, 2 * rank + 1):
                backward(model, half, step, scale=0.5)
        opt.step()
    opt.finish()
    flows = opt.report()["ledger"]
    sent = {purpose: sum(f["bytes"] for f in flows if f["purpose"] == purpose) for purpose in ("payload", "inside")}
    return values(model), sent


@pytest.mark.parametrize(
    "row,choices",
    [
        ("local-sgd", {"schedule": "constant(3)"}),
        ("local-sgd", {"schedule": "constant(3)", "payload": "displacement", "compress": "sign", "feedback": "residual"}),
        ("local-sgd", {"schedule": "constant(4)", "staleness": "delayed(2)"}),
        ("sync-sgd", {}),
    ],
)
def test_two_ranks_of_a_host_are_one_worker(four, row, choices):
    hosts, workers = four.run(on_hosts, row, choices, 2), four.run(on_hosts, row, choices, 1, ranks=2)
    for rank, (model, sent) in enumerate(hosts):
        twin, alone = workers[rank // 2]
        assert equal(model, hosts[0][0])
        assert all(torch.allclose(model[name], twin[name], atol=1e-5) for name in twin)
        assert sent["payload"] == (alone["payload"] if rank % 2 == 0 else 0)
        assert sent["inside"] > 0 and alone["inside"] == 0


def skipping(group):
    """A scaler's overflow on one rank of a host is one for both of them, and none for the other host."""
    rank, model = rank_of(group), network()
    opt = sordino.wrap(torch.optim.SGD(model.parameters(), lr=0.1), "local-sgd", model=model, group=group,
                       schedule="constant(100)", topology="hosts(2)")  # fmt: skip
    began = values(model)
    opt.zero_grad()
    backward(model, rank, 0)
    opt.grad_scale, opt.found_inf = torch.tensor(1.0), torch.tensor(float(rank == 1))
    opt.step()
    moved = not equal(began, values(model))
    opt.finish()
    return moved


def test_a_host_skips_a_step_together(four):
    assert four.run(skipping) == [False, False, True, True]


def too_few(group):
    with pytest.raises(sordino.RequestError, match="multiple of"):
        sordino.wrap(torch.optim.SGD(network().parameters(), lr=0.1), "local-sgd", group=group, topology="hosts(3)")


def test_ranks_that_make_no_whole_hosts_are_refused(four):
    four.run(too_few)
