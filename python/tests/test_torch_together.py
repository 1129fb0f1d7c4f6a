"""Several processes with one model: what parameters, gradients and running statistics may be like."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch_ranks import four  # noqa: E402, F401

import sordino  # noqa: E402


def rank_of(group):
    return torch.distributed.get_rank(group)


def rows(rank, step, count=8, inputs=6):
    made = torch.Generator().manual_seed(1000 * rank + step)
    return torch.randn(count, inputs, generator=made), torch.randint(0, 3, (count,), generator=made)


def network(seed=0, norm=False):
    torch.manual_seed(seed)
    middle = [torch.nn.BatchNorm1d(16)] if norm else []
    return torch.nn.Sequential(torch.nn.Linear(6, 16), *middle, torch.nn.ReLU(), torch.nn.Linear(16, 3))


def values(model):
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def backward(model, rank, step, scale=1.0):
    x, y = rows(rank, step)
    loss = torch.nn.functional.cross_entropy(model(x), y) * scale
    loss.backward()
    return loss.item()


def loop(opt, model, rank, steps, first=0):
    for step in range(first, first + steps):
        opt.zero_grad()
        backward(model, rank, step)
        opt.step()


# --- beginning, groups, tied, frozen and unused parameters -----------------------------------------------------------


class Odd(torch.nn.Module):
    """Tied, frozen and unused parameters, and ranks that begin apart."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.one, self.two = torch.nn.Linear(6, 6), torch.nn.Linear(6, 6)
        self.two.weight = self.one.weight
        self.fixed = torch.nn.Linear(6, 6).requires_grad_(False)
        self.unused, self.seldom, self.out = torch.nn.Linear(6, 6), torch.nn.Linear(6, 6), torch.nn.Linear(6, 3)

    def forward(self, x, seldom=False):
        x = self.fixed(self.two(torch.relu(self.one(x))))
        return self.out(self.seldom(x) if seldom else x)


def odd(group, row, choices):
    rank = rank_of(group)
    model = Odd(seed=rank)
    groups = [
        {"params": [*model.one.parameters(), model.two.bias], "lr": 0.1},
        {"params": [*model.fixed.parameters(), *model.unused.parameters()]},
        {"params": [*model.seldom.parameters(), *model.out.parameters()], "lr": 0.01},
    ]
    opt = sordino.wrap(torch.optim.AdamW(groups, lr=0.05, weight_decay=0.1), row, model=model, group=group, **choices)
    began = values(model)
    names = opt.flat.names
    for step in range(6):
        opt.zero_grad()
        x, y = rows(rank, step)
        torch.nn.functional.cross_entropy(model(x, seldom=rank == 1), y).backward()
        opt.step()
    opt.finish()
    unused = [p.grad is None for p in model.unused.parameters()]
    return began, values(model), names, unused, model.one.weight is model.two.weight


@pytest.mark.parametrize("row,choices", [("local-sgd", {"schedule": "constant(3)"}), ("sync-sgd", {})])
def test_groups_tied_frozen_and_unused_parameters(four, row, choices):
    found = four.run(odd, row, choices, ranks=2)
    torch.manual_seed(0)
    first = Odd(0)
    for began, ended, names, unused, tied in found:
        assert equal(began, first.state_dict()), "everybody begins from rank 0, frozen parameters included"
        assert names.count("one.weight") == 1 and "two.weight" not in names and not any("fixed" in n for n in names)
        assert all(unused) and tied
        assert equal(ended, found[0][1])
        assert torch.equal(ended["unused.weight"], began["unused.weight"]), "nobody's gradient is no gradient"
        assert torch.equal(ended["fixed.weight"], began["fixed.weight"])
        assert not torch.equal(ended["one.weight"], began["one.weight"])
        assert not torch.equal(ended["seldom.weight"], began["seldom.weight"]), "one rank's gradient moves all"


def alike(group, row, choices, kind, keys):
    model = network()
    opt = sordino.wrap(getattr(torch.optim, kind)(model.parameters(), **keys), row, group=group, **choices)
    loop(opt, model, 0, 12)
    opt.finish()
    bare = network()
    plain = getattr(torch.optim, kind)(bare.parameters(), **keys)
    loop(plain, bare, 0, 12)
    return values(model), values(bare)


@pytest.mark.parametrize("kind,keys", [("SGD", {"lr": 0.1, "momentum": 0.9}), ("AdamW", {"lr": 0.01})])
@pytest.mark.parametrize("row", ["sync-sgd", "local-sgd"])
def test_ranks_with_the_same_rows_go_where_one_goes(four, row, kind, keys):
    for ours, plain in four.run(alike, row, {}, kind, keys):
        assert equal(ours, plain), "two equal numbers have an exact mean"


def named(group):
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Flatten(), torch.nn.LayerNorm(8)
    )
    with_model = sordino.wrap(torch.optim.SGD(model.parameters(), lr=0.1), "local-sgd", model=model, group=group)
    without = sordino.wrap(torch.optim.SGD(model.parameters(), lr=0.1), "local-sgd", group=group)
    return with_model.flat.layout(), with_model.buffers.layout(), without.flat.layout()


def test_names_and_roles_come_from_the_model(four):
    ours, buffers, bare = four.run(named, ranks=2)[0]
    assert [(name, role) for name, _, role in ours] == [
        ("0.weight", "weight"), ("0.bias", "bias"), ("1.weight", "norm"), ("1.bias", "norm"), ("3.weight", "norm"),
        ("3.bias", "norm"),
    ]  # fmt: skip
    assert [name for name, _, _ in buffers] == ["1.running_mean", "1.running_var"]
    assert bare[0] == ("group0.0", (2, 1, 3, 3), "weight") and bare[1] == ("group0.1", (2,), "bias")


def thawed(group):
    model = network()
    model[0].requires_grad_(False)
    opt = sordino.wrap(torch.optim.SGD(model.parameters(), lr=0.1), "local-sgd", group=group, schedule="constant(1)")
    backward(model, 0, 0)
    opt.step()
    model[0].requires_grad_(True)
    with pytest.raises(sordino.RequestError, match="was frozen when"):
        opt.step()


def test_a_parameter_that_thaws_is_told(four):
    four.run(thawed, ranks=2)


# --- precision --------------------------------------------------------------------------------------------------------


def low(group, dtype, row, choices):
    model = network().to(dtype)
    rank = rank_of(group)
    opt = sordino.wrap(torch.optim.SGD(model.parameters(), lr=0.1), row, model=model, group=group, **choices)
    losses = []
    for step in range(30):
        opt.zero_grad()
        x, y = rows(rank, step % 4)
        loss = torch.nn.functional.cross_entropy(model(x.to(dtype)).float(), y)
        loss.backward()
        losses.append(loss.item())
        opt.step()
    opt.finish()
    master = opt.session.model
    here = opt.flat.read()
    rounded = torch.from_numpy(np.array(master)).to(dtype).float().numpy()
    return losses, here, rounded, [p.dtype for p in model.parameters()]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "row,choices",
    [("local-sgd", {"schedule": "constant(3)"}), ("sync-sgd", {"compress": "orq(9)", "exchange": "gather"})],
)
def test_parameters_of_low_precision_follow_a_master_of_full(four, dtype, row, choices):
    found = four.run(low, dtype, row, choices, ranks=2)
    for losses, here, rounded, dtypes in found:
        assert np.mean(losses[-4:]) < np.mean(losses[:4]) - 0.05 and set(dtypes) == {dtype}
        assert here.tobytes() == found[0][1].tobytes()
        if row == "local-sgd":
            assert here.tobytes() == rounded.tobytes(), "parameters are the agreed model, rounded"


def little(group):
    """Moves below half a unit of bf16, which only a master in f32 can add up."""
    parameter = torch.nn.Parameter(torch.full((4,), 1.0, dtype=torch.bfloat16))
    opt = sordino.wrap(torch.optim.SGD([parameter], lr=1.0), "local-sgd", group=group, schedule="constant(1)")
    for step in range(8):
        # Only rank 0 moves: by one unit below 1, 2^-8, of which a quarter is agreed on among four.
        move = 2.0**-8 if rank_of(group) == 0 and step % 2 == 0 else 0.0
        parameter.grad = torch.full((4,), move, dtype=torch.bfloat16)
        opt.step()
    return float(parameter[0]), float(opt.session.model[0])


def test_small_moves_add_up_in_the_master(four):
    for parameter, master in four.run(little):
        assert master == 1.0 - 2.0**-8 and parameter == 1.0 - 2.0**-8


def scaled(group, row, choices, exploding):
    rank = rank_of(group)
    model = network()
    opt = sordino.wrap(torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9), row, group=group, **choices)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8, growth_interval=100)
    for step in range(12):
        opt.zero_grad()
        x, y = rows(rank, step)
        with torch.autocast("cpu", torch.bfloat16):
            loss = torch.nn.functional.cross_entropy(model(x), y)
        infinite = exploding and rank == 1 and step in (2, 5)
        scaler.scale(loss * (float("inf") if infinite else 1.0)).backward()
        if step % 2:
            scaler.unscale_(opt)
        scaler.step(opt)
        scaler.update()
    return values(model), opt.steps, opt.report()["rounds"], scaler.get_scale()


@pytest.mark.parametrize("row,choices,rounds", [("local-sgd", {"schedule": "constant(3)"}, 4), ("sync-sgd", {}, 10)])
def test_a_scaler_that_skips_on_one_rank_keeps_all_together(four, row, choices, rounds):
    found = four.run(scaled, row, choices, True, ranks=2)
    for model, steps, meetings, _ in found:
        assert equal(model, found[0][0]) and steps == 12 and meetings == rounds
        assert all(torch.isfinite(value).all() for value in model.values())
    assert [scale for *_, scale in found] == [2.0**8, 2.0**6]
    calm = four.run(scaled, row, choices, False, ranks=2)
    assert not equal(calm[0][0], found[0][0]) and calm[0][2] == (4 if row == "local-sgd" else 12)


# --- accumulation, meetings, closures --------------------------------------------------------------------------------


def accumulated(group, parts):
    rank = rank_of(group)
    model = network()
    opt = sordino.wrap(torch.optim.SGD(model.parameters(), lr=0.1), "sync-sgd", group=group)
    for step in range(4):
        opt.zero_grad()
        x, y = rows(rank, step)
        for xs, ys in zip(x.chunk(parts), y.chunk(parts)):
            (torch.nn.functional.cross_entropy(model(xs), ys) / parts).backward()
        opt.step()
    return values(model), opt.report()["rounds"]


def test_gradients_are_accumulated_between_steps(four):
    whole, parts = four.run(accumulated, 1, ranks=2)[0], four.run(accumulated, 4, ranks=2)[0]
    assert whole[1] == parts[1] == 4
    for name in whole[0]:
        torch.testing.assert_close(whole[0][name], parts[0][name], rtol=1e-5, atol=1e-6)


def searched(group):
    rank = rank_of(group)
    model = network()
    opt = sordino.wrap(
        torch.optim.LBFGS(model.parameters(), max_iter=3), "local-sgd", group=group, schedule="constant(2)"
    )
    x, y = rows(rank, 0)

    def closure():
        opt.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        return loss

    losses = [float(opt.step(closure)) for _ in range(4)]
    return losses, values(model)


def test_searching_optimizers_meet_too(four):
    found = four.run(searched, ranks=2)
    assert equal(found[0][1], found[1][1]) and all(losses[-1] < losses[0] for losses, _ in found)


def unlimited(group):
    model, rank = network(), rank_of(group)
    opt = sordino.wrap(
        torch.optim.SGD(model.parameters(), lr=1e-6), "qsr", group=group, max_every=5, schedule="qsr(base=2, alpha=1)"
    )
    told = []
    for step in range(13):
        opt.zero_grad()
        backward(model, rank, step)
        opt.step()
        told.append(opt.report()["rounds"])
    apart = values(model)
    opt.finish()
    agreed, rounds = values(model), opt.report()["rounds"]
    loop(opt, model, rank, 5)
    return told, apart, agreed, rounds, opt.report()["rounds"], values(model)


def test_without_a_length_rounds_are_bounded_and_finish_closes_the_last(four):
    found = four.run(unlimited, ranks=2)
    told, apart, agreed, rounds, later, _ = found[0]
    assert told == [0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3] and rounds == 4 and later == 5
    assert not equal(apart, found[1][1]) and equal(agreed, found[1][2]) and equal(found[0][5], found[1][5])
    for name, value in agreed.items():
        assert torch.equal(value, (apart[name] + found[1][1][name]) / 2)


def paused(group):
    """Signs lose something; at a meeting the model is asked for, and the next step finds a gradient of zero."""
    model, rank = network(), rank_of(group)
    choices = {"compress": "sign", "feedback": "residual(lambda=1)", "schedule": "constant(1)"}
    opt = sordino.wrap(torch.optim.SGD(model.parameters(), lr=0.1), "local-sgd", group=group, **choices)
    loop(opt, model, rank, 3)
    ahead, owed = opt.flat.read(), opt.session.model - opt.session.point
    opt.finish()
    there, agreed = opt.flat.read(), opt.session.model
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    opt.step()
    return ahead, there, agreed, owed, opt.session.model


def test_a_model_asked_for_at_a_meeting_moves_nothing_that_is_said(four):
    found = four.run(paused, ranks=2)
    for ahead, there, agreed, _, after in found:
        assert there.tobytes() == agreed.tobytes() and not np.array_equal(ahead, there)
        assert np.abs(after - agreed).max() > 1e-4, "what was owed is said, though nobody moved"
        assert after.tobytes() == found[0][4].tobytes()


def warmed(group):
    model, rank = network(), rank_of(group)
    opt = sordino.wrap(
        torch.optim.SGD(model.parameters(), lr=0.1),
        "qsr",
        group=group,
        warmup=6,
        steps=20,
        schedule="qsr(base=2, alpha=0.3)",
    )
    told = []
    for step in range(20):
        opt.zero_grad()
        backward(model, rank, step)
        opt.step()
        told.append(opt.report()["rounds"])
    return told


def test_warm_up_is_told_to_the_schedule(four):
    # Until step 6 the base interval, then (0.3/0.1)² = 8 or 9 steps.
    grown = int((0.3 / 0.1) ** 2)
    told = four.run(warmed, ranks=2)[0]
    ends = [step + 1 for step in range(20) if told[step] > (told[step - 1] if step else 0)]
    assert ends == [2, 4, 6, 6 + grown, 20]


def moments(group, state):
    model, rank = network(), rank_of(group)
    opt = sordino.wrap(
        torch.optim.AdamW(model.parameters(), lr=0.01), "local-sgd", group=group, schedule="constant(3)",
        **{"local.state": state},
    )  # fmt: skip
    loop(opt, model, rank, 2)
    before = [opt.state[p]["exp_avg"].clone() for p in model.parameters()]
    x, y = rows(rank, 2)
    opt.zero_grad()
    torch.nn.functional.cross_entropy(model(x), y).backward()
    grads = [p.grad.clone() for p in model.parameters()]
    opt.step()
    own = [b + (g - b) * 0.1 for b, g in zip(before, grads)]
    return own, [opt.state[p].get("exp_avg") for p in model.parameters()] if opt.state else None


def test_moments_are_kept_averaged_or_forgotten(four):
    kept, mean = four.run(moments, "keep", ranks=2), four.run(moments, "average", ranks=2)
    assert all(now is None for _, now in four.run(moments, "reset", ranks=2))
    for own, now in kept:
        for a, b in zip(own, now):
            torch.testing.assert_close(a, b)
    for _, now in mean:
        for a, b, c in zip(mean[0][0], mean[1][0], now):
            torch.testing.assert_close((a + b) / 2, c)


def weighed(group):
    model, rank = network(), rank_of(group)
    opt = sordino.wrap(
        torch.optim.SGD(model.parameters(), lr=0.1), "local-sgd", group=group, aggregate="weighted", rows=[30, 10][rank],
        schedule="epochs(1)", **{"local.batch": 10},
    )  # fmt: skip
    loop(opt, model, rank, 1)
    rounds = opt.report()["rounds"]
    before = values(model)
    loop(opt, model, rank, 1, first=1)
    return rounds, before, values(model), opt.report()["rounds"]


def test_rows_weigh_ranks_and_make_passes(four):
    found = four.run(weighed, ranks=2)
    # A pass is 2 steps on average over ranks of 3 and of 1.
    assert found[0][0] == 0 and found[0][3] == 1 and equal(found[0][2], found[1][2])


# --- running statistics and evaluation -------------------------------------------------------------------------------


def statistics(group, rule, batches):
    model, rank = network(norm=True), rank_of(group)
    opt = sordino.wrap(
        torch.optim.SGD(model.parameters(), lr=0.1),
        "local-sgd",
        model=model,
        group=group,
        schedule="constant(2)",
        buffers=rule,
    )
    model[1].running_mean.fill_(rank)
    loop(opt, model, rank, 1)
    apart = values(model)
    loop(opt, model, rank, 1, first=1)
    together = values(model)
    loader = [rows(rank, step)[0] for step in range(2)] if batches else None
    with sordino.averaged(opt, batches=loader):
        lent = values(model)
    return apart, together, lent, values(model)


def test_running_statistics_follow_their_rule(four):
    key, count = "1.running_mean", "1.num_batches_tracked"
    found = {rule: four.run(statistics, rule, False, ranks=2) for rule in ("average", "root", "local", "reestimate(2)")}
    for rule, (one, two) in found.items():
        assert one[0][key].sub(two[0][key]).abs().max() > 0.1
        apart = not torch.equal(one[1][key], two[1][key])
        assert apart == (rule in ("local", "reestimate(2)"))
        assert torch.equal(one[2][key], two[2][key]), "what is lent is the same everywhere"
        assert equal(one[1], one[3]) and equal(two[1], two[3]), "put back bit for bit"
        assert one[1][count] == 2
    own = found["local"]
    torch.testing.assert_close(found["average"][0][1][key], (own[0][1][key] + own[1][1][key]) / 2)
    assert torch.equal(found["root"][1][1][key], own[0][1][key])
    anew = four.run(statistics, "reestimate(2)", True, ranks=2)
    model = network(norm=True)
    model.load_state_dict(anew[0][2])
    means = [model[0](rows(rank, step)[0]).mean(0) for rank in range(2) for step in range(2)]
    torch.testing.assert_close(anew[0][2][key], torch.stack(means).mean(0))
    assert torch.equal(anew[0][2][key], anew[1][2][key]) and equal(anew[0][1], anew[0][3])


def lent(group, row, choices, steps):
    model, rank = network(), rank_of(group)
    opt = sordino.wrap(torch.optim.SGD(model.parameters(), lr=0.1), row, model=model, group=group, **choices)
    loop(opt, model, rank, steps)
    here = values(model)
    with sordino.averaged(opt):
        there = values(model)
    back = values(model)
    return here, there, back, opt.session.model


def test_between_meetings_the_mean_of_parameters_is_lent(four):
    found = four.run(lent, "local-sgd", {"schedule": "constant(4)"}, 6, ranks=2)
    for here, there, back, _ in found:
        assert equal(here, back)
        for name in here:
            assert torch.equal(there[name], (found[0][0][name] + found[1][0][name]) / 2)


def test_where_feedback_remembers_the_agreed_model_is_lent(four):
    for here, there, back, model in four.run(lent, "saef", {"schedule": "constant(4)"}, 6, ranks=2):
        assert equal(here, back) and not equal(here, there)
        flat = np.concatenate([value.numpy().ravel() for value in there.values()])
        assert flat.tobytes() == np.array(model).tobytes()


def test_where_gradients_travel_everybody_stands_at_the_model(four):
    for here, there, back, _ in four.run(lent, "qsgd", {}, 3, ranks=2):
        assert equal(here, back) and equal(here, there)


# --- bytes ------------------------------------------------------------------------------------------------------------


def counted(group, row, choices, folder):
    model, rank = network(), rank_of(group)
    opt = sordino.wrap(torch.optim.SGD(model.parameters(), lr=0.1), row, group=group, steps=8, **choices)
    for step in range(8):
        opt.zero_grad()
        opt.record(backward(model, rank, step))
        opt.step()
    return opt.report(folder)


def test_reports_count_bytes_and_are_written(four, tmp_path):
    dense = four.run(counted, "sync-sgd", {}, None, ranks=2)
    few = four.run(counted, "sync-sgd", {"compress": "sign", "exchange": "gather"}, str(tmp_path), ranks=2)
    entries = 6 * 16 + 16 + 16 * 3 + 3
    for one, other in zip(dense, few):
        assert one["rounds"] == 8 and one["bytes_sent"] > 8 * 4 * entries and one["seconds"]["meetings"] > 0
        # The large matrix travels in bits.
        assert other["bytes_sent"] < one["bytes_sent"]
        assert sum(row["bytes"] for row in other["ledger"]) >= other["bytes_sent"] > 0
    assert {"record.jsonl", "summary.json", "recipe.toml", "report.html"} <= {path.name for path in tmp_path.iterdir()}


# --- every choice -----------------------------------------------------------------------------------------------------

CODES = (
    "dense half natural sign bingrad(b) bingrad(pb) terngrad qsgd orq(5) topk(0.1) randk(0.1) block(0.1) powersgd(1)"
)
AGGREGATORS = "median trimmed(0.25) krum(0) geometric centered_clip sum(0.25) mean"
OUTER = "momentum(0.9,nesterov=true) adam fedadam fedyogi"
SCHEDULES = "constant(2) qsr(base=2,alpha=0.1) power(base=2,alpha=0.1,exponent=3) growing post_local(switch=3,every=2)"


def choices():
    """Every element of the axes that a caller who steps may choose from, one changed at a time."""
    for payload in ("displacement", "gradient"):
        every = {"payload": payload, "schedule": "constant(1)" if payload == "gradient" else "constant(2)"}
        for code in CODES.split():
            yield {**every, "compress": code, "exchange": "auto"}
            yield {**every, "compress": code, "feedback": "residual", "exchange": "auto"}
        for aggregator in AGGREGATORS.split():
            yield {**every, "aggregate": aggregator, "exchange": "gather"}
        yield {**every, "compress": "topk(0.1)", "feedback": "ef21(momentum=0.5)", "exchange": "gather"}
        yield {**every, "compress": "sign", "feedback": "residual", "exchange": "star(down=sign, feedback=residual)"}
    for outer in OUTER.split():
        yield {"schedule": "constant(2)", "outer": outer}
    for schedule in SCHEDULES.split():
        yield {"schedule": schedule, "payload": "parameters"}


def tried(group):
    rank, found = rank_of(group), []
    for chosen in choices():
        model = network()
        opt = sordino.wrap(torch.optim.SGD(model.parameters(), lr=0.05), "local-sgd", group=group, steps=5, **chosen)
        loop(opt, model, rank, 5)
        found.append((chosen, opt.flat.read().tobytes(), bool(np.isfinite(opt.flat.read()).all()), opt.report()))
    return found


def test_every_choice_that_a_round_has_is_had(four):
    ranks = four.run(tried)
    for (chosen, bits, finite, told), *others in zip(*ranks):
        assert finite and told["rounds"] >= 2, chosen
        # In a star rank 0 is beside the server.
        assert all(other[1] == bits and other[3]["bytes_sent"] > 0 for other in others), chosen
    kinds = {bits for _, bits, _, _ in ranks[0]}
    assert len(kinds) > 0.7 * len(ranks[0]), "choices are not ignored"
