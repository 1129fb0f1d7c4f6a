"""Sessions: the bits of the program's threads, by processes, threads and a caller's own steps."""

import json
from pathlib import Path

import numpy
import pytest
from ports import Wires, processes, threads

import sordino

CASES = {
    "local-sgd": {"schedule": "constant(3)"},
    "sync-sgd": {},
    "qsr": {"compress": "orq(9)", "feedback": "residual"},
    "qsgd": {"schedule": "constant(2)", "payload": "displacement"},
    "saef": {},
    "diloco": {"schedule": "constant(4)"},
    "ef21": {},
    "powersgd": {},
    "celgc": {},
}
TASK, STEPS, SEED, WORKERS = "quadratic(dim=70, noise=0.1)", 24, 5, 4


def recipe_of(row):
    return sordino.Recipe(row, CASES[row], optim={"rate": 0.07})


def driven(port, toml, task, workers, steps, seed, batch):
    """The run of one rank: what it ends at, what it sent, and what it saved."""
    problem = sordino.problem(task, workers=workers, seed=seed, batch=batch)
    session = sordino.Session(
        sordino.Recipe.from_toml(toml),
        problem.tensors,
        problem.start,
        port,
        buffers=problem.buffers,
        seed=seed,
        steps=steps,
        rows=problem.rows,
        own_optimizer=True,
    )
    while not session.done:
        session.round(problem.gradient)
    model, buffers = session.evaluated()
    return model, buffers, session.bytes_sent, session.bytes_received, session.ledger()


def flat(model):
    return numpy.concatenate([x.ravel() for x in model.values()])


@pytest.mark.parametrize("row", CASES)
def test_four_processes_get_the_bits_of_the_programs_threads(row):
    ran = sordino.run(recipe_of(row), TASK, workers=WORKERS, steps=STEPS, seed=SEED)
    ranks = processes(WORKERS, driven, ran.recipe.to_toml(), TASK, WORKERS, STEPS, SEED, 1)
    for model, _, _, _, _ in ranks:
        assert model.tobytes() == flat(ran.model).tobytes()
    assert max(rank[2] for rank in ranks) == ran.summary["bytes_sent_per_worker"]
    assert max(rank[3] for rank in ranks) == ran.summary["bytes_received_per_worker"]
    keys = ("from", "to", "purpose", "messages", "bytes")
    training = lambda flows: sorted(tuple(f[k] for k in keys) for f in flows if f["purpose"] not in ("evaluate", "control"))
    assert training(flow for rank in ranks for flow in rank[4]) == training(ran.summary["flows"])
    other = sordino.run(recipe_of(row), TASK, workers=WORKERS, steps=STEPS, seed=SEED + 1)
    assert flat(other.model).tobytes() != flat(ran.model).tobytes()


def test_a_network_with_real_rows_gets_the_same_bits_over_threads_of_python():
    recipe = sordino.Recipe("qsr", compress="orq(9)", feedback="residual", schedule="qsr(base=2)")
    ran = sordino.run(recipe, "digits-mlp", workers=2, steps=12, seed=3)
    ranks = threads(2, driven, ran.recipe.to_toml(), "digits-mlp", 2, 12, 3, None)
    for model, _, _, _, _ in ranks:
        assert model.tobytes() == flat(ran.model).tobytes()
    assert any(tensor.ndim == 2 for tensor in ran.model.values())


def powers(x, step, client, out):
    """The fourth powers of the task `polynomial(noise=0)`, in numpy's own float32 arithmetic."""
    gap = x - numpy.float32(0)
    out[:] = numpy.float32(4) * gap * gap * gap
    return float((gap.astype(float) ** 4).sum())


def test_gradients_that_numpy_makes_give_the_same_bits():
    task = "polynomial(dim=70, noise=0, start=1.5)"
    recipe = sordino.Recipe("sync-sgd", compress="randk(0.3)", exchange="gather", optim={"rate": 0.01})
    ran = sordino.run(recipe, task, workers=3, steps=20, seed=2)

    def rank(port):
        start = numpy.full(70, 1.5, numpy.float32)
        session = sordino.Session(ran.recipe, [("x", (70,), "weight")], start, port, seed=2, steps=20, own_optimizer=True)
        while not session.done:
            session.round(powers)
        return session.model

    for model in threads(3, rank):
        assert model.tobytes() == ran.model["x"].tobytes()
    assert len(set(ran.model["x"].tolist())) > 1, "what was said is drawn, and so is where it led"


@pytest.mark.parametrize("row", ["local-sgd", "sync-sgd", "saef", "qsr", "orq"])
def test_a_callers_own_steps_are_those_that_ours_would_be(row):
    """Plain descent by hand, at a rate that falls, is the run that our own descent makes."""
    rate = numpy.float32(0.07)
    choices = {"optim": "sgd(rate=0.07, momentum=0, schedule=constant)", **CASES.get(row, {})}
    ran = sordino.run(sordino.Recipe(row, choices), TASK, workers=3, steps=STEPS, seed=SEED)

    def rank(port):
        problem = sordino.problem(TASK, workers=3, seed=SEED)
        session = sordino.Session(ran.recipe, problem.tensors, problem.start, port, seed=SEED, steps=STEPS)
        gradient = numpy.zeros(70, numpy.float32)
        step = 0
        while not session.done:
            session.begin()
            x = began = session.point
            offer, steps = numpy.zeros(70, numpy.float32), session.pace(float(rate))
            for _ in range(steps):
                problem.gradient(x, step, port.rank, gradient)
                moved = gradient if session.payload == "gradient" else gradient * rate
                if session.payload != "gradient":
                    x = x - moved
                offer = offer + moved
                step += 1
            session.set_point(x) if session.payload == "parameters" else session.set_offer(offer)
            session.close_after(steps)
            if session.payload == "gradient":
                session.place(began - session.update * rate)
        return session.model, session.looks_ahead, session.times()["compute"]

    for model, looks_ahead, compute in threads(3, rank):
        assert model.tobytes() == ran.model["x"].tobytes()
        assert looks_ahead == (row == "saef")
        assert compute > 0


def test_open_and_close_go_by_the_recipes_own_rate():
    recipe = sordino.Recipe("qsr", schedule="qsr(base=1, alpha=0.2)", optim="sgd(rate=0.1, momentum=0, schedule=cosine)")
    ran = sordino.run(recipe, "quadratic(dim=3)", workers=1, steps=60, seed=0, eval_every=1)
    session = sordino.Session(ran.recipe, [("x", (3,))], numpy.zeros(3, numpy.float32), steps=60)
    silences = []
    while not session.done:
        silences.append(session.open())
        session.set_point(session.point)
        told = session.close()
        assert told.silence == silences[-1] and numpy.isnan(told.loss)
    assert silences == ran.points["silence"][1:].tolist() and max(silences) > 4
    assert sum(silences) == session.steps == 60 and session.rounds == len(silences)


def lone(row="local-sgd", n=70, **more):
    return sordino.Session(row, [("x", (n,))], numpy.ones(n, numpy.float32), **{"steps": 12, **more})


def halves(x, step, client, out):
    out[:] = x / 2
    return float((x**2).sum() / 4)


def apart(x, step, client, out):
    """Every rank's bowl has its minimum elsewhere."""
    loss = halves(x, step, client, out)
    out += client
    return loss


@pytest.mark.parametrize("row", ["qsr", "saef", "ef21", "powersgd", "diloco"])
def test_a_session_that_was_saved_goes_on_as_if_nothing_had_happened(row):
    def rank(port, at):
        session = sordino.Session(
            recipe_of(row), [("x", (70,))], numpy.linspace(-3, 3, 70, dtype=numpy.float32), port, steps=24, own_optimizer=True
        )
        while not session.done:
            if session.rounds == at:
                state, before = session.save(), session.ledger()
                session = sordino.Session(
                    recipe_of(row), [("x", (70,))], numpy.zeros(70, numpy.float32), port, steps=24, own_optimizer=True
                )
                session.load(state)
                assert session.ledger() == before and session.rounds == at
                at = -1
            session.round(apart)
        return session.model, session.bytes_sent, session.bytes_received

    whole, parted = threads(2, rank, -1), threads(2, rank, 2)
    for (model, sent, received), (other, sent_again, received_again) in zip(whole, parted):
        assert model.tobytes() == other.tobytes()
        # Ranks that meet again compare what they mean to do, which is no training.
        assert (sent, received) == (sent_again, received_again)


def test_another_number_of_ranks_goes_on_from_the_same_model():
    def begun(port):
        session = sordino.Session(recipe_of("saef"), [("x", (70,))], numpy.ones(70, numpy.float32), port, own_optimizer=True)
        for _ in range(3):
            session.round(apart)
        session.record_point(1.5)
        return session.save(), session.model, session.ledger()

    former = threads(4, begun)

    def goes_on(port):
        session = sordino.Session(recipe_of("saef"), [("x", (70,))], numpy.zeros(70, numpy.float32), port, own_optimizer=True)
        session.load_dealt([state for state, _, _ in former])
        before, flows = session.model, session.ledger()
        session.round(halves)
        return before, session.model, flows

    for size in (2, 3, 6):
        ranks = threads(size, goes_on)
        for before, after, _ in ranks:
            assert before.tobytes() == former[0][1].tobytes()
            assert after.tobytes() == ranks[0][1].tobytes() != before.tobytes()
        flows = lambda all_ranks: sorted(tuple(flow.values()) for rank in all_ranks for flow in rank[2])
        assert flows(ranks) == flows(former), "no byte is forgotten and none counted twice"


def test_what_a_gradient_raises_comes_out_unchanged():
    session = lone(own_optimizer=True)

    class Unlucky(Exception):
        pass

    unlucky = Unlucky("row 7")

    def gradient(x, step, client, out):
        raise unlucky

    with pytest.raises(Unlucky) as told:
        session.round(gradient)
    assert told.value is unlucky
    with pytest.raises(sordino.MismatchError, match="broke off in the middle of a round"):
        session.round(halves)
    with pytest.raises(TypeError):
        lone(own_optimizer=True).round(lambda x, step, client, out: "a loss")
    with pytest.raises(KeyboardInterrupt):
        lone(own_optimizer=True).round(lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))


@pytest.mark.parametrize("raised, kind", [(ConnectionResetError, "TimeoutError_"), (TimeoutError, "TimeoutError_"), (EOFError, "TimeoutError_"), (OSError, "SystemError_"), (KeyError, "SystemError_")])
def test_what_a_port_raises_is_the_cause_of_an_error_of_its_kind(raised, kind):
    class Broken:
        rank, size = 1, 2

        def send(self, to, data):
            raise raised("the wire is cut")

        def receive(self, from_):
            return b""

    with pytest.raises(getattr(sordino, kind), match="rank 1 could not send to rank 0.*the wire is cut") as told:
        lone(port=Broken(), own_optimizer=True).round(halves)
    assert type(told.value.__cause__) is raised
    assert isinstance(told.value, TimeoutError) == (kind == "TimeoutError_")


def test_ctrl_c_in_a_port_is_ctrl_c():
    class Waiting(Wires):
        def receive(self, from_):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        threads(2, lambda port: lone(port=port, own_optimizer=True).round(halves), port=Waiting)


def test_a_port_may_hand_over_anything_like_bytes():
    class Odd(Wires):
        kinds = (bytes, bytearray, memoryview, lambda b: numpy.frombuffer(b, numpy.uint8))
        turn = 0

        def receive(self, from_):
            Odd.turn += 1
            return self.kinds[Odd.turn % 4](super().receive(from_))

    def rank(port):
        session = lone(port=port, own_optimizer=True)
        while not session.done:
            session.round(halves)
        return session.model

    plain, odd = threads(2, rank), threads(2, rank, port=Odd)
    assert plain[0].tobytes() == odd[1].tobytes() and Odd.turn > 8

    class Wrong(Wires):
        def receive(self, from_):
            return 12

    with pytest.raises(sordino.SystemError_, match="the number 12 came"):
        threads(2, rank, port=Wrong)


def test_ranks_that_mean_different_runs_find_out_before_they_train():
    def rank(port):
        lone("local-sgd" if port.rank else "sync-sgd", port=port, own_optimizer=True).round(halves)

    with pytest.raises(sordino.MismatchError, match="another recipe than rank 0"):
        threads(2, rank)


CANNOT = [
    ({"row": "async-sgd"}, "participation=first_b"),
    ({"row": "gpipe"}, "placement="),
    ({"row": "cocoa"}, "local=dual"),
    ({"row": "fedavg"}, "participation="),
    ({"row": "scaffold"}, "participation="),
    ({"row": sordino.Recipe("local-sgd", local="scaffold", optim={"momentum": 0})}, "local=scaffold"),
    ({"row": sordino.Recipe("local-sgd", local={"estimate": "micro_norms(4)"})}, "local.estimate=micro_norms"),
    ({"row": sordino.Recipe("sync-sgd", exchange="reduce(engine)")}, "no all_reduce"),
    ({"row": sordino.Recipe("sync-sgd", compress="topk(0.1)", exchange="reduce")}, "all-reduce"),
    ({"row": 7}, "a recipe is a Recipe or the name of a row"),
]


@pytest.mark.parametrize("what, sentence", CANNOT)
def test_what_a_session_cannot_do_is_refused_by_name(what, sentence):
    with pytest.raises(sordino.RequestError, match=sentence):
        lone(**what)


def test_calls_out_of_turn_are_refused_and_harm_nothing():
    session = lone()
    for call in (lambda: session.pace(0.1), lambda: session.close(), lambda: session.close_after(1)):
        with pytest.raises(sordino.RequestError):
            call()
    with pytest.raises(sordino.RequestError, match="own_optimizer=True"):
        session.round(halves)
    with pytest.raises(sordino.RequestError, match="round.gradient"):
        lone(own_optimizer=True).begin()
    session.begin()
    with pytest.raises(sordino.RequestError, match="open already"):
        session.begin()
    with pytest.raises(sordino.RequestError, match="must have 70 entries, 3 came"):
        session.set_point(numpy.zeros(3, numpy.float32))
    steps = session.pace(0.1)
    with pytest.raises(sordino.RequestError, match=f"a round of {steps} silent steps was closed after {steps + 1}"):
        session.close_after(steps + 1)
    with pytest.raises(sordino.MismatchError, match="`start` has 4 entries"):
        sordino.Session("qsr", [("x", (70,))], numpy.zeros(4, numpy.float32))
    with pytest.raises(sordino.RequestError, match="a tensor is"):
        sordino.Session("qsr", ["x"], numpy.zeros(4, numpy.float32))


def test_federated_clients_are_played_by_ranks():
    recipe = sordino.Recipe("fedavg", participation="sampled(3, clients=7)", schedule="constant(2)", optim={"rate": 0.1})
    asked = []

    def gradient(x, step, client, out):
        asked.append(client)
        out[:] = x - client
        return 0.0

    def rank(port):
        session = sordino.Session(
            recipe, [("x", (5,))], numpy.zeros(5, numpy.float32), port, steps=24, rows=[10] * 7, own_optimizer=True
        )
        while not session.done:
            session.round(gradient)
        return session.model

    alone = sordino.Session(recipe, [("x", (5,))], numpy.zeros(5, numpy.float32), steps=24, rows=[10] * 7, own_optimizer=True)
    while not alone.done:
        alone.round(gradient)
    assert set(asked) <= set(range(7)) and len(set(asked)) > 3
    for model in threads(2, rank):
        assert model.tobytes() == alone.model.tobytes(), "however many ranks play them"


def test_buffers_meet_as_the_recipe_says():
    def rank(port, choice):
        session = sordino.Session(
            sordino.Recipe("local-sgd", buffers=choice, schedule="constant(2)"),
            [("w", (4, 2)), ("mean", (3,), "buffer")],
            numpy.zeros(8, numpy.float32),
            port,
            buffers=numpy.full(3, port.rank, numpy.float32) * 0,
            steps=8,
            own_optimizer=True,
        )

        def gradient(x, step, client, out, buffers):
            buffers += client + 1
            return 0.0

        session.round(gradient)
        met = session.buffers
        session.set_buffers(met + 1)
        return met, session.buffers, session.evaluated()[1]

    for choice, met in (("average", [3, 3]), ("root", [2, 2]), ("local", [2, 4])):
        found = threads(2, rank, choice)
        assert [f[0].tolist() for f in found] == [[m] * 3 for m in met], choice
        assert all((after == before + 1).all() for before, after, _ in found)
        assert found[0][2].tolist() == found[1][2].tolist() or choice == "average" or choice == "root"


class Motor(Wires):
    def all_reduce(self, x):
        for to in range(self.size):
            if to != self.rank:
                self.send(to, x.tobytes())
        for from_ in range(self.size):
            if from_ != self.rank:
                x += numpy.frombuffer(self.receive(from_), numpy.float32)


def test_an_engine_of_the_ports_own_adds_up_where_it_is_asked_to():
    def rank(port, exchange):
        recipe = sordino.Recipe("sync-sgd", exchange=exchange, optim={"rate": 0.1})
        session = lone(recipe, port=port, own_optimizer=True)
        while not session.done:
            session.round(apart)
        return session.model, session.bytes_sent, session.bytes_received

    ours, theirs = threads(3, rank, "reduce"), threads(3, rank, "reduce(engine)", port=Motor)
    for (model, _, _), (other, sent, received) in zip(ours, theirs):
        numpy.testing.assert_allclose(model, other, rtol=1e-5)
        assert sent > 0 and abs(sent - received) <= 4 * 12 * 2


def test_a_vector_that_was_lent_is_whoevers_who_keeps_it():
    class Keeper(Motor):
        def __init__(self, *args):
            super().__init__(*args)
            self.kept = []

        def all_reduce(self, x):
            super().all_reduce(x)
            self.kept.append((x[2:5], x[2:5].copy()))

    def rank(port):
        recipe = sordino.Recipe("sync-sgd", exchange="reduce(engine)", optim={"rate": 0.1})
        session = lone(recipe, port=port, own_optimizer=True)
        while not session.done:
            session.round(apart)
            if isinstance(port, Keeper):
                # What is written there now is nobody else's.
                assert all((kept == was).all() for kept, was in port.kept)
                port.kept[-1][0][:] = port.kept[-1][1][:] = 7
        return session.model

    for kept, lent in zip(threads(2, rank, port=Keeper), threads(2, rank, port=Motor)):
        assert kept.tolist() == lent.tolist()


def test_what_was_saved_goes_on_after_a_meeting_that_failed():
    class Faulty(Motor):
        sums = 0

        def all_reduce(self, x):
            self.sums += 1
            if self.sums == 3:
                raise ConnectionError("the network is down")
            super().all_reduce(x)

    def rank(port, own):
        recipe = sordino.Recipe("local-sgd", exchange="reduce(engine)", optim={"rate": 0.1, "momentum": 0})
        session, saved = lone(recipe, port=port, own_optimizer=own), None
        while not session.done:
            saved = session.save()
            try:
                if own:
                    session.round(apart)
                else:
                    session.begin()
                    x, g = session.point, numpy.zeros_like(session.point)
                    made = session.pace(0.1)
                    for step in range(made):
                        apart(x, session.steps + step, port.rank, g)
                        x -= numpy.float32(0.1) * g
                    session.set_point(x)
                    session.close_after(made)
            except ConnectionError:
                with pytest.raises(sordino.MismatchError, match="broke off"):
                    session.save()
                session.load(saved)
        return session.model

    for own in (True, False):
        for faulty, well in zip(threads(2, rank, own, port=Faulty), threads(2, rank, own, port=Motor)):
            assert faulty.tolist() == well.tolist()


def test_averages_and_broadcasts_are_collective_and_counted():
    def rank(port):
        session = lone(port=port)
        mine = numpy.full(3, port.rank, numpy.float32)
        mean, root = session.average(mine, "aside:loss"), session.broadcast(mine + 7)
        return mean.tolist(), root.tolist(), {f["purpose"] for f in session.ledger()}

    for mean, root, purposes in threads(3, rank):
        assert mean == [1, 1, 1] and root == [7, 7, 7] and "aside:loss" in purposes
    with pytest.raises(sordino.DataError, match="no purpose"):
        lone().average(numpy.zeros(3, numpy.float32), "fun")


def test_a_session_writes_its_record_and_its_report(tmp_path):
    def rank(port):
        session = lone("qsr", port=port, own_optimizer=True)
        while not session.done:
            told = session.round(halves)
            session.record_point(float(told.loss), eval_loss=1.0, accuracy=0.5, epoch=0.25)
            if session.rounds == 1:
                session.load(session.save())
        page = session.write(tmp_path / "run", task="halves", label="qsr of mine")
        return page, session.bytes_sent, session.times()

    ranks = threads(2, rank)
    assert [page is None for page, _, _ in ranks] == [False, True]
    page, sent, times = ranks[0]
    text = Path(page).read_text()
    assert "qsr of mine" in text and "<script" in text
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["bytes_sent_per_worker"] == max(s for _, s, _ in ranks) > 0
    assert (summary["task"], summary["workers"], summary["steps"]) == ("halves", 2, 12)
    assert summary["environment"]["resumed"] == "at round 1, step 4, from 2 ranks"
    points = [json.loads(line) for line in (tmp_path / "run" / "record.jsonl").read_text().splitlines()]
    assert [p["round"] for p in points] == [1, 2, 3] and points[0]["accuracy"] == 0.5
    assert points[0]["bytes_sent"] < points[-1]["bytes_sent"] == summary["bytes_sent_per_worker"]
    assert set(times) == {"compute", "cpu", "exchange", "wait", "wall"}
    assert 0 < times["compute"] < times["wall"]
    recipe = (tmp_path / "run" / "recipe.toml").read_text()
    assert 'method = "qsr"' in recipe and "workers = 2" in recipe
