"""The wrapped optimizer against naive twins, to rounding."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch_twins as twins  # noqa: E402
from torch_ranks import four  # noqa: E402, F401

import sordino  # noqa: E402


def linear():
    """The twins' model in torch."""
    model = torch.nn.Linear(twins.INPUTS, twins.OUTPUTS)
    at = torch.from_numpy(twins.start())
    with torch.no_grad():
        model.weight.copy_(at[: twins.INPUTS * twins.OUTPUTS].view(twins.OUTPUTS, twins.INPUTS))
        model.bias.copy_(at[twins.INPUTS * twins.OUTPUTS :])
    return model


def flat(model):
    return np.concatenate([p.detach().numpy().ravel() for p in model.parameters()])


def train(group, rates, row, inner, named=False, **choices):
    """The usual loop, with the rate of every step from a scheduler of torch's."""
    model = linear()
    kind, keys = inner
    optimizer = getattr(torch.optim, kind)(model.parameters(), lr=rates[0], **keys)
    wrapped = sordino.wrap(
        optimizer, row, group=group, model=model if named else None, steps=len(rates), timeout=30, **choices
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(wrapped, lambda step: rates[min(step, len(rates) - 1)] / rates[0])
    rank = torch.distributed.get_rank(group)
    for step in range(len(rates)):
        x, y = map(torch.from_numpy, twins.batch(rank, step))
        wrapped.zero_grad()
        torch.nn.functional.mse_loss(model(x), y).backward()
        wrapped.step()
        scheduler.step()
    return flat(model), wrapped.report()


def agree(found, twin):
    """Every rank has the same bits, and the twin's numbers to rounding."""
    for parameters, _ in found:
        assert parameters.tobytes() == found[0][0].tobytes()
    assert np.isfinite(twin).all()
    np.testing.assert_allclose(found[0][0], twin, rtol=2e-5, atol=2e-6)


def test_any_scheduler_of_torch_drives_the_quadratic_rule(four):
    rates = twins.cosine(0.1, 80)
    silences = twins.quadratic_rule(rates, 2, 0.13)
    assert len(set(silences)) > 3
    found = four.run(train, rates, "qsr", ("SGD", {"momentum": 0.9}), schedule="qsr(base=2, alpha=0.13)")
    agree(found, twins.local_sgd(4, rates, silences, 0.9))
    assert found[0][1]["rounds"] == len(silences)


def test_alpha_auto_goes_by_the_rate_of_the_optimizer(four):
    rates = twins.cosine(0.05, 60)
    silences = twins.quadratic_rule(rates, 4, float(f"{0.05 * np.sqrt(1.2 * 4):.5e}"))
    found = four.run(train, rates, "qsr", ("SGD", {}), ranks=2)
    agree(found, twins.local_sgd(2, rates, silences, 0.0))


def test_compressed_gradients_step_as_the_twin_does(four):
    rates = twins.cosine(0.1, 40)
    axes = dict(payload="gradient", compress="topk(0.2)", feedback="residual", exchange="gather")
    found = four.run(train, rates, "sync-sgd", ("SGD", {"momentum": 0.9}), ranks=3, **axes)
    agree(found, twins.top_gradients(3, rates, 0.2, 0.9))


@pytest.mark.parametrize("every", [0, 7])
def test_step_ahead_error_feedback_is_the_twins(four, every):
    rates = twins.cosine(0.02, 40)
    found = four.run(train, rates, "saef", ("SGD", {"momentum": 0.5}), ranks=3, **{"feedback.every": every})
    agree(found, twins.step_ahead(3, rates, 0.5, every))


def test_slow_momentum_is_the_twins_outer_step(four):
    rates = twins.cosine(0.1, 50)
    axes = dict(schedule="constant(6)", outer="momentum(0.7, per_rate=true)")
    found = four.run(train, rates, "slowmo", ("SGD", {"momentum": 0.9}), ranks=3, **axes)
    agree(found, twins.slow_momentum(3, rates, 6, 0.7, 0.9))


def test_diloco_with_adamw_is_the_twins(four):
    rates = twins.cosine(0.02, 40)
    found = four.run(train, rates, "diloco", ("AdamW", {"weight_decay": 0.1}), named=True, schedule="constant(7)")
    agree(found, twins.diloco(4, rates, 7, 0.1, 0.9, 0.7))


def test_a_clip_shortens_steps_and_the_schedule_does_not_see_it(four):
    rates = twins.cosine(0.1, 40)
    found = four.run(train, rates, "celgc", ("SGD", {}), clip=0.15, ranks=2)
    agree(found, twins.clipped(2, rates, 8, 0.15))
    assert 0 < found[0][1]["clipped_steps"] < 40


def test_max_norm_rescales_the_local_gradient_before_it_travels(four):
    rates = twins.cosine(0.1, 30)
    found = four.run(train, rates, "sync-sgd", ("SGD", {}), max_norm=2.0, ranks=2)
    agree(found, twins.bounded(2, rates, 2.0))
    assert 0 < found[0][1]["clipped_steps"] < 30


def test_a_twin_of_another_method_is_told_apart(four):
    """The control: what the tests above would say of a wrong step."""
    rates = twins.cosine(0.1, 40)
    found = four.run(train, rates, "sync-sgd", ("SGD", {"momentum": 0.9}), ranks=3)
    with pytest.raises(AssertionError):
        agree(found, twins.top_gradients(3, rates, 0.2, 0.9))
    agree(found, twins.top_gradients(3, rates, 1.0, 0.9))


def test_the_process_groups_own_all_reduce_may_add_up(four):
    rates = twins.cosine(0.1, 20)
    found = four.run(train, rates, "sync-sgd", ("SGD", {"momentum": 0.9}), exchange="reduce(by=engine)", ranks=3)
    agree(found, twins.top_gradients(3, rates, 1.0, 0.9))
    assert found[0][1]["bytes_sent"] > 20 * 4 * 18
    choices = {"exchange": "reduce(by=engine)", "schedule": "constant(4)"}
    found = four.run(train, rates, "local-sgd", ("SGD", {"momentum": 0.9}), ranks=3, **choices)
    agree(found, twins.local_sgd(3, rates, [4] * 5, 0.9))
