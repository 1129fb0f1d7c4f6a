"""Steps that are made while a meeting's words travel."""

import copy
import gc
import weakref

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch_twins as twins  # noqa: E402
from test_torch_state import collected, dealt, made, resumed  # noqa: E402
from test_torch_together import backward, equal, loop, network, rank_of, values  # noqa: E402
from test_torch_twins import agree, train  # noqa: E402
from torch_ranks import four  # noqa: E402, F401

import sordino  # noqa: E402
from sordino.torch import late  # noqa: E402

LATE = {"schedule": "constant(4)", "staleness": "delayed(3)"}
ROWS = [
    ("local-sgd", LATE),
    ("qsr", {**LATE, "compress": "orq(9)", "feedback": "residual"}),
    ("diloco", {**LATE, "compress": "orq(5)", "exchange": "two_phase"}),
    ("saef", {**LATE, "feedback.every": 2}),
    ("slowmo", LATE),
    ("local-sgd", {**LATE, "local.state": "average"}),
    ("local-sgd", {**LATE, "payload": "displacement(fragments=2)", "feedback": "residual(lambda=1)"}),
]


@pytest.mark.parametrize("every,late", [(4, 2), (4, 3), (3, 8), (1, 1)])
def test_late_averages_are_the_twins(four, every, late):
    rates = twins.cosine(0.1, 26)
    choices = {"schedule": f"constant({every})", "staleness": f"delayed({late})"}
    found = four.run(train, rates, "local-sgd", ("SGD", {"momentum": 0.9}), ranks=3, **choices)
    twin = twins.late_local_sgd(3, rates, every, late, 0.9)
    agree(found, twin)
    prompt = twins.local_sgd(3, rates, [every] * (26 // every) + [26 % every] * (26 % every > 0), 0.9)
    assert np.abs(prompt - twin).max() > 1e-3, "late is not prompt"


@pytest.mark.parametrize("row,choices", ROWS)
@pytest.mark.parametrize("at", [4, 5, 7, 8])
def test_a_state_is_taken_back_whatever_was_on_its_way(four, row, choices, at):
    for straight, again, rounds, report, _ in four.run(resumed, row, choices, at, ranks=3):
        assert equal(straight, again)
        assert report["rounds"] == rounds and report["steps"] == 14


def looked_at(group, row, choices, looks, folder):
    model, opt = made(group, row, choices, steps=30)
    rank = rank_of(group)
    for step in range(30):
        opt.zero_grad()
        backward(model, rank, step)
        opt.step()
        if looks:
            with sordino.averaged(opt):
                lent = values(model)
            opt.record(0.0)
            if step % 7 == 5:
                sordino.save(folder, opt, model)
    return values(model), lent if looks else None, opt.report()["rounds"]


@pytest.mark.parametrize("row,choices", ROWS)
def test_looking_saving_and_recording_change_nothing(four, row, choices, tmp_path):
    blind = four.run(looked_at, row, choices, False, "", ranks=2)
    for (model, _, rounds), (seen, lent, _) in zip(blind, four.run(looked_at, row, choices, True, str(tmp_path), ranks=2)):
        assert equal(model, seen) and equal(model, blind[0][0]) and rounds == 8
        assert equal(lent, seen) or choices.get("feedback") or row == "saef"


@pytest.mark.parametrize("steps", [4, 6, 7, 8])
def test_another_number_of_ranks_takes_over(four, steps, tmp_path):
    before = four.run(collected, "local-sgd", LATE, steps, str(tmp_path), ranks=4)
    mean = np.mean([parameters for parameters, *_ in before], axis=0)
    after = four.run(dealt, "local-sgd", LATE, str(tmp_path), 4, ranks=2)
    for at, model, made in after:
        np.testing.assert_allclose(at, mean, rtol=1e-5, atol=1e-6)
        assert equal(model, after[0][1]) and made == steps + 8
    _, model, made = dealt(None, "local-sgd", LATE, str(tmp_path), 4)
    assert made == steps + 8


def finished(group, steps):
    model, opt = made(group, "local-sgd", LATE)
    loop(opt, model, rank_of(group), steps)
    opt.finish()
    first = values(model)
    loop(opt, model, rank_of(group), 5, first=steps)
    opt.finish()
    return first, values(model), opt.report()["rounds"]


@pytest.mark.parametrize("steps", [3, 4, 6, 7])
def test_finish_hears_what_is_on_its_way(four, steps):
    found = four.run(finished, steps, ranks=3)
    for first, second, _ in found:
        assert equal(first, found[0][0]) and equal(second, found[0][1]) and not equal(first, second)


def normed(group, rule, stop, choices):
    rank, model = rank_of(group), network(norm=True)
    inner = torch.optim.SGD(model.parameters(), lr=0.05)
    opt = sordino.wrap(inner, "local-sgd", model=model, group=group, steps=12, buffers=rule, **LATE, **choices)
    seen = []
    for step in range(12):
        opt.zero_grad()
        backward(model, rank, step)
        opt.step()
        seen.append(values(model)["1.running_mean"])
        if step == stop:
            with sordino.averaged(opt):
                lent = values(model)["1.running_mean"]
            assert rule != "root" or rank > 0 or torch.equal(lent, seen[-1]), "the root's are its own"
            saved, weights = copy.deepcopy(opt.state_dict()), values(model)
            model.load_state_dict(weights)
            opt.load_state_dict(saved)
    return seen, values(model)


@pytest.mark.parametrize("choices", [{}, {"compress": "sign", "feedback": "residual", "payload": "displacement"}])
@pytest.mark.parametrize("rule", ["average", "root", "local"])
def test_running_statistics_meet_when_words_are_taken_in(four, rule, choices):
    straight, stopped = (four.run(normed, rule, stop, choices, ranks=2) for stop in (None, 5))
    for (seen, model), (again, other) in zip(straight, stopped):
        assert equal(model, other) and all(map(torch.equal, seen, again))
    one, two = (seen for seen, _ in straight)
    met = [torch.equal(a, b) for a, b in zip(one, two)]
    # Rounds end after steps 4, 8 and 12; what the first two say is taken in three steps later, the last waits.
    assert met == [rule != "local" and step in (7, 11, 12) for step in range(1, 13)]


def test_raw_gradients_have_nothing_to_do_meanwhile():
    optimizer = torch.optim.SGD(network().parameters(), lr=0.1)
    with pytest.raises(sordino.RequestError, match="payload=displacement"):
        sordino.wrap(optimizer, "sync-sgd", staleness="delayed")
    sordino.wrap(optimizer, "sync-sgd", staleness="delayed(0)")


def amid_backward(group):
    model, opt = made(group, "local-sgd", {**LATE, "exchange": "two_phase"}, steps=12)
    moved, inside, progress = [], [], opt.late.progress

    def watched(session):
        moved.append(bool(inside))
        progress(session)

    opt.late.progress = watched
    for step in range(12):
        opt.zero_grad()
        inside.append(step)
        backward(model, rank_of(group), step)
        inside.clear()
        opt.step()
    report = opt.report()
    return moved, report["seconds"]


def test_words_move_on_within_a_backward_pass(four):
    for moved, seconds in four.run(amid_backward, ranks=2):
        # Two rounds of three late steps each; the last waits for its words.
        assert moved.count(False) == 6 and 6 <= moved.count(True) <= 6 * late.PLACES
        assert all(spent >= 0 for spent in seconds.values())


def abandoned(group):
    model, opt = made(group, "local-sgd", LATE, steps=8)
    gone = weakref.ref(opt)
    loop(opt, model, rank_of(group), 5)
    opt.finish()
    del opt
    gc.collect()
    backward(model, rank_of(group), 0)
    return gone() is None


def test_a_model_does_not_keep_its_optimizer(four):
    assert four.run(abandoned, ranks=2) == [True, True]
