"""What is saved and taken back: by state_dict and by checkpoints, with as many ranks and with others."""

import copy
import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from test_torch_together import equal, loop, network, rank_of, values  # noqa: E402
from torch_ranks import four  # noqa: E402, F401

import sordino  # noqa: E402

ROWS = [
    ("qsr", {"compress": "orq(9)", "feedback": "residual", "schedule": "constant(4)"}),
    ("saef", {"schedule": "constant(4)", "feedback.every": 2}),
    ("slowmo", {"schedule": "constant(4)"}),
    ("ef21", {}),
    ("local-sgd", {"schedule": "constant(4)"}),
]


def made(group, row, choices, seed=0, **keys):
    model = network(seed)
    inner = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    return model, sordino.wrap(inner, row, model=model, group=group, **choices, **keys)


def resumed(group, row, choices, at):
    rank = rank_of(group)
    model, opt = made(group, row, choices)
    loop(opt, model, rank, at)
    saved, weights = copy.deepcopy(opt.state_dict()), values(model)
    loop(opt, model, rank, 14 - at, first=at)
    again, other = made(group, row, choices, seed=5)
    again.load_state_dict(weights)
    other.load_state_dict(saved)
    loop(other, again, rank, 14 - at, first=at)
    return (
        values(model),
        values(again),
        opt.report()["rounds"],
        other.report(),
        other.report()["bytes_sent"] - opt.report()["bytes_sent"],
    )


@pytest.mark.parametrize("row,choices", ROWS)
@pytest.mark.parametrize("at", [4, 6])
def test_a_state_that_is_taken_back_goes_on_as_if_nothing_had_happened(four, row, choices, at):
    for straight, again, rounds, report, _ in four.run(resumed, row, choices, at, ranks=3):
        assert equal(straight, again)
        assert report["rounds"] == rounds and report["steps"] == 14 and report["resumed_at"] == [at]


def collected(group, row, choices, steps, path):
    rank = rank_of(group)
    model, opt = made(group, row, choices)
    loop(opt, model, rank, steps)
    torch.save(opt.state_dict(), f"{path}/{rank}.pt")
    parameters = opt.flat.read()
    return parameters, opt.session.model, opt.flat.read() if opt.made else None


def dealt(group, row, choices, path, ranks):
    rank = 0 if group is None else rank_of(group)
    model, opt = made(group, row, choices, seed=3)
    states = [torch.load(f"{path}/{k}.pt", weights_only=True) for k in range(ranks)]
    if ranks > 1:
        with pytest.raises(sordino.MismatchError, match=f"pass a list with the state of all {ranks} ranks"):
            opt.load_state_dict(states[0])
    opt.load_state_dict(states)
    at = np.array(opt.session.model)
    loop(opt, model, rank, 8, first=100)
    opt.finish()
    return at, values(model), opt.steps


@pytest.mark.parametrize("row,choices", ROWS)
def test_another_number_of_ranks_takes_over(four, row, choices, tmp_path):
    before = four.run(collected, row, choices, 8, str(tmp_path), ranks=4)
    after = four.run(dealt, row, choices, str(tmp_path), 4, ranks=2)
    for at, model, steps in after:
        assert at.tobytes() == np.array(before[0][1]).tobytes(), "the agreed model is where it was"
        assert equal(model, after[0][1]) and steps == 16
        assert all(torch.isfinite(value).all() for value in model.values())


def test_a_round_under_way_ends_where_its_ranks_are_on_average(four, tmp_path):
    choices = {"schedule": "constant(4)"}
    before = four.run(collected, "local-sgd", choices, 6, str(tmp_path), ranks=2)
    mean = np.mean([parameters for parameters, *_ in before], axis=0)
    for at, *_ in four.run(dealt, "local-sgd", choices, str(tmp_path), 2, ranks=4):
        np.testing.assert_allclose(at, mean, rtol=1e-6, atol=1e-7)
    model, opt = made(None, "local-sgd", choices)
    opt.load_state_dict([torch.load(tmp_path / f"{k}.pt", weights_only=True) for k in range(2)])
    np.testing.assert_allclose(opt.flat.read(), mean, rtol=1e-6, atol=1e-7)


AHEAD = {"compress": "sign", "feedback": "residual(lambda=1)", "schedule": "constant(2)"}


def ahead(group, path):
    model, opt = made(group, "local-sgd", AHEAD)
    loop(opt, model, rank_of(group), 6)
    torch.save(opt.state_dict(), f"{path}/{rank_of(group)}.pt")
    return opt.session.point


def test_one_that_goes_on_alone_takes_what_was_owed(four, tmp_path):
    points = four.run(ahead, str(tmp_path), ranks=2)
    assert not np.array_equal(*points)
    model, opt = made(None, "local-sgd", AHEAD, seed=2)
    opt.load_state_dict([torch.load(tmp_path / f"{k}.pt", weights_only=True) for k in range(2)])
    # Who looks ahead stands at the model less its own residual.
    np.testing.assert_allclose(opt.flat.read(), np.mean(points, axis=0), rtol=1e-5, atol=1e-6)
    assert opt.report()["steps"] == opt.session.steps == 6
    loop(opt, model, 0, 3)
    assert opt.steps == 9


@pytest.mark.parametrize("row,choices", ROWS)
def test_any_row_goes_on_alone(four, row, choices, tmp_path):
    before = four.run(collected, row, choices, 8, str(tmp_path), ranks=3)
    _, model, steps = dealt(None, row, choices, str(tmp_path), 3)
    assert steps == 16 and all(torch.isfinite(value).all() for value in model.values()) and len(before) == 3


def test_one_that_was_alone_is_joined(four, tmp_path):
    model, opt = made(None, "saef", {})
    loop(opt, model, 0, 4)
    torch.save(opt.state_dict(), tmp_path / "0.pt")
    for at, _, steps in four.run(dealt, "saef", {}, str(tmp_path), 1, ranks=2):
        assert at.tobytes() == opt.flat.read().tobytes() and steps == 12


def someone_elses(group):
    model, opt = made(group, "local-sgd", {})
    found = copy.deepcopy(opt.state_dict())
    found["sordino"]["rank"] = 1 - rank_of(group)
    with pytest.raises(sordino.MismatchError, match="every rank loads its own"):
        opt.load_state_dict(found)


def test_another_ranks_state_is_told(four):
    four.run(someone_elses, ranks=2)


def kept(group, folder, steps):
    rank = rank_of(group)
    model, opt = made(group, "qsr", {"compress": "orq(9)", "feedback": "residual"}, steps=40)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 40)
    torch.manual_seed(rank)
    more = sordino.load(folder, opt, model, scheduler=scheduler)
    began, draws = opt.steps, []
    while opt.steps < steps:
        opt.zero_grad()
        noise = torch.randn(1)
        draws.append(noise.item())
        x = torch.randn(8, 6, generator=torch.Generator().manual_seed(rank + 10 * opt.steps)) + 0.1 * noise
        model(x).square().mean().backward()
        opt.step()
        scheduler.step()
        if opt.steps in (9, 23):
            sordino.save(folder, opt, model, scheduler=scheduler, note="kept")
    return began, (more or {}).get("note"), values(model), draws


def test_checkpoints_go_on_with_the_same_bits(four, tmp_path):
    straight = four.run(kept, str(tmp_path / "a"), 40, ranks=2)
    four.run(kept, str(tmp_path / "b"), 20, ranks=2)
    found = four.run(kept, str(tmp_path / "b"), 40, ranks=2)
    for (began, note, model, draws), (_, none, whole, all_draws) in zip(found, straight):
        assert began == 9 and note == "kept" and none is None
        assert equal(model, whole) and draws == all_draws[9:]
    names = sorted(path.name for path in (tmp_path / "b/checkpoint").iterdir())
    assert names == ["latest", "step-000000023"]
    manifest = json.loads((tmp_path / "b/checkpoint/step-000000023/manifest.json").read_text())
    assert manifest["ranks"] == 2 and manifest["steps"] == 23
    other = four.run(kept, str(tmp_path / "b"), 30, ranks=3)
    assert all(began == 23 and note == "kept" for began, note, *_ in other)
    assert torch.isfinite(other[0][2]["0.weight"]).all()


def spoilt(group, folder):
    rank = rank_of(group)
    model, opt = made(group, "local-sgd", {})
    loop(opt, model, rank, 3)
    sordino.save(folder, opt, model)
    with pytest.raises((OSError, TypeError, AttributeError)) as raised:
        sordino.save(folder, opt, model, thing=(lambda: 0) if rank == 1 else None)
    assert rank == 1 or "rank 1" in str(raised.value)
    with pytest.raises(sordino.RequestError, match="has no `scheduler`"):
        sordino.load(folder, opt, model, scheduler=opt)
    loop(opt, model, rank, 3, first=3)


def test_a_checkpoint_that_fails_on_one_rank_fails_on_all_and_spoils_nothing(four, tmp_path):
    four.run(spoilt, str(tmp_path), ranks=2)
    assert (tmp_path / "checkpoint/latest").read_text() == "step-000000003"
    assert (tmp_path / "checkpoint/step-000000003/rank-1.pt").is_file()
