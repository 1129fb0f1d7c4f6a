"""A process that is alone, and what an optimizer has to be for the rest of torch."""

import copy
import json
import pickle

import pytest

torch = pytest.importorskip("torch")

import sordino  # noqa: E402


def network(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Linear(6, 16), torch.nn.BatchNorm1d(16), torch.nn.ReLU(), torch.nn.Linear(16, 3)
    )


def rows(step, count=8):
    made = torch.Generator().manual_seed(step)
    return torch.randn(count, 6, generator=made), torch.randint(0, 3, (count,), generator=made)


def loss_of(model, step):
    x, y = rows(step)
    return torch.nn.functional.cross_entropy(model(x), y)


def same(a, b):
    return all(
        x.dtype == y.dtype and torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values())
    )


def groups(model, kind, **keys):
    return kind(
        [
            {"params": list(model[0].parameters()), "lr": 0.05},
            {"params": [*model[1].parameters(), *model[3].parameters()]},
        ],
        lr=0.02,
        **keys,
    )


@pytest.mark.parametrize("row", ["sync-sgd", "qsr", "saef", "slowmo"])
@pytest.mark.parametrize(
    "kind,keys", [(torch.optim.SGD, {"momentum": 0.9, "weight_decay": 1e-3}), (torch.optim.AdamW, {})]
)
def test_alone_a_wrapped_optimizer_is_the_one_inside_bit_for_bit(row, kind, keys):
    plain, ours = network(), network()
    one, other = groups(plain, kind, **keys), sordino.wrap(groups(ours, kind, **keys), row, model=ours)
    schedules = [torch.optim.lr_scheduler.CosineAnnealingLR(o, 20) for o in (one, other)]
    for step in range(20):
        for model, optimizer, schedule in ((plain, one, schedules[0]), (ours, other, schedules[1])):
            for part in range(2):  # gradients are accumulated
                (loss_of(model, 2 * step + part) / 2).backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
    assert same(plain, ours)
    assert other.report()["bytes_sent"] == 0 and other.report()["steps"] == 20


def test_alone_clipping_is_not_left_out():
    model, bare = network(), network()
    opt = sordino.wrap(torch.optim.SGD(model.parameters(), lr=0.5), "celgc", clip=0.01)
    plain = torch.optim.SGD(bare.parameters(), lr=0.5)
    for step in range(3):
        for net, optimizer in ((model, opt), (bare, plain)):
            optimizer.zero_grad()
            loss_of(net, step).backward()
        norm = torch.linalg.vector_norm(torch.cat([p.grad.flatten() for p in bare.parameters()]))
        assert norm > 0.02
        for p in bare.parameters():
            p.grad.mul_(0.02 / norm)
        before = [p.detach().clone() for p in model.parameters()]
        opt.step()
        plain.step()
        moved = torch.linalg.vector_norm(
            torch.cat([(p.detach() - q).flatten() for p, q in zip(model.parameters(), before)])
        )
        assert float(moved) == pytest.approx(0.01, rel=1e-4)
        for p, q in zip(model.parameters(), bare.parameters()):
            torch.testing.assert_close(p, q)
        assert opt.param_groups[0]["lr"] == 0.5


def test_alone_a_scaler_skips_what_it_would_skip():
    plain, ours = network(), network()
    one = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9)
    other = sordino.wrap(torch.optim.SGD(ours.parameters(), lr=0.1, momentum=0.9), "qsr")
    scalers = [torch.amp.GradScaler("cpu", init_scale=2.0**14, growth_interval=2) for _ in range(2)]
    for step in range(10):
        for model, optimizer, scaler in ((plain, one, scalers[0]), (ours, other, scalers[1])):
            with torch.autocast("cpu", torch.bfloat16):
                loss = loss_of(model, step) * (float("inf") if step in (3, 7) else 1.0)
            scaler.scale(loss).backward()
            if step % 2:
                scaler.unscale_(optimizer)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
    assert same(plain, ours) and scalers[0].get_scale() == scalers[1].get_scale()
    assert other.steps == 10


def test_it_is_an_optimizer_to_the_rest_of_torch():
    model = network()
    inner = torch.optim.AdamW(model.parameters(), lr=0.1)
    opt = sordino.wrap(inner, "qsr")
    assert isinstance(opt, torch.optim.Optimizer) and "AdamW" in repr(opt)
    assert opt.param_groups is inner.param_groups and opt.state is inner.state
    seen = []
    opt.register_step_pre_hook(lambda *_: seen.append("before"))
    opt.register_step_post_hook(lambda *_: seen.append("after"))
    torch.optim.lr_scheduler.StepLR(inner, 1, 0.5)

    def closure():
        opt.zero_grad()
        loss = loss_of(model, 0)
        loss.backward()
        return loss

    assert opt.step(closure).item() > 0 and seen == ["before", "after"] and len(opt.state) == 6
    with pytest.raises(sordino.RequestError, match="before wrapping"):
        opt.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))]})
    for copier in (pickle.dumps, copy.deepcopy, copy.copy):
        with pytest.raises(TypeError, match="state_dict"):
            copier(opt)
    with pytest.raises(sordino.RequestError, match="wrapped already"):
        sordino.wrap(opt, "qsr")
    with pytest.raises(TypeError, match="torch.optim.Optimizer"):
        sordino.wrap(model, "qsr")
    opt.zero_grad()
    assert all(p.grad is None for p in model.parameters())


def test_searching_optimizers_take_their_closure():
    model, bare = network(), network()
    opt, plain = sordino.wrap(torch.optim.LBFGS(model.parameters()), "local-sgd"), torch.optim.LBFGS(bare.parameters())
    for net, optimizer in ((model, opt), (bare, plain)):

        def closure():
            optimizer.zero_grad()
            loss = loss_of(net, 0)
            loss.backward()
            return loss

        optimizer.step(closure)
    assert same(model, bare)
    for row, keys, word in (("sync-sgd", {}, "payload"), ("local-sgd", {"clip": 1.0}, "clip")):
        with pytest.raises(sordino.RequestError, match=f"LBFGS.*{word}"):
            sordino.wrap(torch.optim.LBFGS(model.parameters()), row, **keys)


@pytest.mark.parametrize(
    "row,keys,words",
    [
        ("fedavg", {}, "`participation=.*` of `fedavg`"),
        ("fedprox", {"participation": "everyone", "schedule": "constant(4)"}, "local=.*pull"),
        ("scaffold", {}, "`local=scaffold"),
        ("cocoa", {}, "`local=dual"),
        ("zo-proxsvrg", {}, "prox"),
        ("zo-seeded", {}, "estimate"),
        ("clars", {}, "`optim=clars.*wrap such an optimizer"),
        ("lamb", {}, "`optim=lamb.*wrap such an optimizer"),
        ("celgc", {}, "pass clip="),
        ("dsp", {}, "`placement=pipeline"),
        ("async-sgd", {}, "participation=first_b"),
        ("dp-sgd", {}, "estimate|privacy"),
        ("dp-clip21", {}, "privacy"),
        ("qsr", {"optim": "sgd(rate=1)"}, "`optim`: the optimizer is the one that you wrap"),
        ("qsr", {"optim.rate": 1}, "`optim.rate`: the optimizer"),
        ("qsr", {"task": "digits"}, "`task`"),
        ("qsr", {"partition": "iid"}, "`partition`"),
        ("qsr", {"buffers": "average"}, "`buffers`: .*pass model="),
        ("qsr", {"fabric": "sim"}, "`fabric=sim"),
        ("qsr", {"schedule": "epochs(1)"}, "pass rows="),
        ("qsr", {"aggregate": "weighted"}, "pass rows="),
        ("sync-sgd", {"outer": "momentum(0.9)"}, "`outer=momentum.*the optimizer you wrap is the outer step"),
        ("qsr", {"compress": "topk(0.1)", "exchange": "reduce"}, "all-reduce adds messages up"),
        ("qsr", {"shedule": "constant(4)"}, "did you mean `schedule`"),
        ("qsrr", {}, "did you mean `qsr`"),
        ("qsr", {"clip": -1.0}, "clip=-1.0: expected a positive number"),
        ("qsr", {"rate_group": 3}, "rate_group=3"),
    ],
)
def test_what_cannot_be_had_in_torchs_step_is_refused_by_name(row, keys, words):
    model = network()
    with pytest.raises(sordino.RequestError, match=words):
        sordino.wrap(torch.optim.SGD(model.parameters(), lr=0.1), row, **keys)


def test_rows_that_only_pin_the_usual_optimizer_are_taken():
    taken = []
    for method in sordino.methods():
        model = network()
        try:
            sordino.wrap(torch.optim.SGD(model.parameters(), lr=0.1), method.name, clip=1.0)
        except sordino.RequestError:
            continue
        taken.append(method.name)
    wanted = (
        "sync-sgd local-sgd post-local-sgd qsr celgc qsgd terngrad orq bingrad-b bingrad-pb powersgd ef-sgd saef def "
        "residual-mixture ef21 clip21 clip21-sgd2m press-clip21 clip-gd parallel-clip slowmo diloco"
    )
    assert sorted(taken) == sorted(wanted.split())


def test_all_steps_made_is_an_end():
    model = network()
    opt = sordino.wrap(torch.optim.SGD(model.parameters(), lr=0.1), "qsr", steps=2)
    for _ in range(2):
        loss_of(model, 0).backward()
        opt.step()
    with pytest.raises(sordino.RequestError, match="all 2 steps"):
        opt.step()


def test_sparse_and_strange_parameters_are_refused_by_name():
    model = torch.nn.ModuleDict({"words": torch.nn.Embedding(5, 2, sparse=True)})
    opt = sordino.wrap(torch.optim.SGD(model.parameters(), lr=0.1), "qsr", model=model)
    model["words"](torch.tensor([1])).sum().backward()
    with pytest.raises(sordino.RequestError, match="`words.weight` has a sparse gradient"):
        opt.step()
    turning = torch.nn.Parameter(torch.zeros(2, dtype=torch.complex64))
    with pytest.raises(TypeError, match="group0.0.*complex64"):
        sordino.wrap(torch.optim.SGD([turning], lr=0.1), "qsr")
    fixed = network().requires_grad_(False)
    with pytest.raises(sordino.RequestError, match="no trainable parameter"):
        sordino.wrap(torch.optim.SGD(fixed.parameters(), lr=0.1), "qsr")


def test_alone_state_comes_back_and_an_unwrapped_optimizers_is_taken():
    model = network()
    opt = sordino.wrap(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), "qsr", model=model)
    for step in range(3):
        opt.zero_grad()
        loss_of(model, step).backward()
        opt.step()
    found, at = copy.deepcopy(opt.state_dict()), copy.deepcopy(model.state_dict())
    other = network(1)
    again = sordino.wrap(torch.optim.SGD(other.parameters(), lr=0.1, momentum=0.9), "qsr", model=other)
    other.load_state_dict(at)
    again.load_state_dict(found)
    assert again.steps == 3
    for net, optimizer in ((model, opt), (other, again)):
        optimizer.zero_grad()
        loss_of(net, 9).backward()
        optimizer.step()
    assert same(model, other)
    bare = torch.optim.SGD(network().parameters(), lr=0.3, momentum=0.9)
    again.load_state_dict(bare.state_dict())
    assert again.param_groups[0]["lr"] == 0.3
    tiny = torch.nn.Linear(2, 2)
    with pytest.raises(sordino.MismatchError, match="same model and groups"):
        sordino.wrap(torch.optim.SGD(tiny.parameters(), lr=0.1), "qsr").load_state_dict(found)


def test_alone_running_statistics_are_estimated_anew_and_put_back():
    model = network()
    opt = sordino.wrap(torch.optim.SGD(model.parameters(), lr=0.1), "qsr", model=model)
    loss_of(model, 0).backward()
    opt.step()
    before = copy.deepcopy(model.state_dict())
    with sordino.averaged(opt) as lent:
        assert lent is model and same(model, model)
    batches = [rows(step) for step in range(3)]
    with sordino.averaged(opt, batches=batches):
        hidden = [model[0](x) for x, _ in batches]
        torch.testing.assert_close(model[1].running_mean, torch.stack([h.mean(0) for h in hidden]).mean(0))
        torch.testing.assert_close(model[1].running_var, torch.stack([h.var(0) for h in hidden]).mean(0))
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values()))
    assert model.training and model[1].momentum == 0.1
    with pytest.raises(sordino.RequestError, match="no batch came"):
        with sordino.averaged(opt, batches=[]):
            pass


def test_alone_the_report_is_written(tmp_path):
    model = network()
    opt = sordino.wrap(torch.optim.SGD(model.parameters(), lr=0.1), "qsr", steps=4)
    for step in range(4):
        opt.zero_grad()
        loss = loss_of(model, step)
        loss.backward()
        opt.step()
        opt.record(loss.item())
    found = opt.report(tmp_path)
    assert found["steps"] == 4 and found["seconds"]["compute"] > 0
    points = [json.loads(line) for line in (tmp_path / "record.jsonl").read_text().splitlines()]
    assert [point["step"] for point in points] == [1, 2, 3, 4] and points[-1]["train_loss"] == loss.item()
    assert found["report"] == str(tmp_path / "report.html") and (tmp_path / "report.html").is_file()
