"""The fabric over torch.distributed."""

import os
import time

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from test_session import SEED, STEPS, TASK, driven, recipe_of  # noqa: E402
from torch_ranks import Ranks, four  # noqa: E402, F401

import sordino  # noqa: E402
from sordino.torch import Fabric  # noqa: E402

LENGTHS = [0, 1, 247, 248, 249, 256, 3_000_001, 5]


def word(rank, to, length):
    return np.random.default_rng([rank, to, length]).bytes(length)


def crowd(group):
    """All send all their words to all before anybody listens; the caller's collectives go on in between."""
    fabric = Fabric(group, timeout=30)
    peers = [peer for peer in range(fabric.size) if peer != fabric.rank]
    for length in LENGTHS:
        for to in peers:
            fabric.send(to, word(fabric.rank, to, length))
    total = torch.ones(3)
    torch.distributed.all_reduce(total, group=group)
    for length in LENGTHS:
        for peer in reversed(peers):
            assert fabric.receive(peer) == word(peer, fabric.rank, length)
    fabric.settle()
    assert all(not waiting for waiting in fabric.sent.values())
    sums = np.arange(5, dtype=np.float32) + fabric.rank
    fabric.all_reduce(sums)
    return total.tolist(), sums.tolist(), fabric.everybodys(bytes([fabric.rank]))


def test_all_send_to_all_without_waiting(four):
    for total, sums, words in four.run(crowd):
        assert total == [4.0] * 3 and words == [bytes([rank]) for rank in range(4)]
        assert sums == [4 * i + 6 for i in range(5)]


def pressed(group):
    fabric = Fabric(group, timeout=30)
    if fabric.rank == 0:
        time.sleep(0.3)
        return [fabric.receive(1) for _ in range(200)]
    for i in range(200):
        fabric.send(0, str(i).encode() * 200)
    kept = len(fabric.sent[0])
    fabric.settle()
    return kept


def test_one_that_sends_on_and_on_waits_for_its_listener(four):
    heard, kept = four.run(pressed, ranks=2)
    assert heard == [str(i).encode() * 200 for i in range(200)] and kept <= 64


def session(group):
    fabric = Fabric(group, timeout=30)
    start = np.zeros(8, np.float32)
    ours = sordino.Session(
        sordino.Recipe("local-sgd", optim="sgd(rate=0.5, momentum=0)"),
        [("x", (8,))],
        start,
        fabric,
        steps=8,
        own_optimizer=True,
    )

    def gradient(x, step, client, out):
        out[:] = x - client
        return 0.0

    while not ours.done:
        ours.round(gradient)
    return ours.model


def test_a_session_meets_over_it(four):
    for model in four.run(session):
        np.testing.assert_allclose(model, 1.5, atol=0.02)


def driven_over_gloo(group, *arguments):
    fabric = Fabric(group, timeout=60)
    found = driven(fabric, *arguments)
    fabric.settle()
    return found


LATE = {"staleness": "delayed(3)", "exchange": "two_phase(piece=100)", "compress": "orq(9)"}
HOSTS = {"topology": "hosts(2)", "compress": "topk(0.1)", "feedback": "residual"}


@pytest.mark.parametrize("row", ["local-sgd", "qsr", "saef", "powersgd", LATE, HOSTS])
def test_four_gloo_processes_get_the_bits_of_the_programs_threads(four, row):
    recipe = recipe_of(row) if isinstance(row, str) else sordino.Recipe("local-sgd", {"schedule.every": 4, **row})
    ran = sordino.run(recipe, TASK, workers=4, steps=STEPS, seed=SEED)
    ranks = four.run(driven_over_gloo, ran.recipe.to_toml(), TASK, 4, STEPS, SEED, 1)
    for model, *_ in ranks:
        assert model.tobytes() == np.concatenate([x.ravel() for x in ran.model.values()]).tobytes()
    assert max(rank[2] for rank in ranks) == ran.summary["bytes_sent_per_worker"]
    assert max(rank[3] for rank in ranks) == ran.summary["bytes_received_per_worker"]


def late(group):
    model = torch.nn.Linear(2, 2)
    inner = torch.optim.SGD(model.parameters(), lr=0.1)
    opt = sordino.wrap(inner, "local-sgd", group=group, timeout=60, schedule="constant(1)")
    torch.distributed.barrier(group)
    opt.fabric.timeout = 1.0
    if opt.fabric.rank == 2:
        time.sleep(4)
        return "slept"
    model(torch.ones(1, 2)).sum().backward()
    with pytest.raises((TimeoutError, ConnectionError)) as raised:
        opt.step()
    return str(raised.value)


def test_who_is_late_is_named():
    ranks = Ranks(3)
    try:
        found = ranks.run(late, ranks=3)
    finally:
        ranks.end()
    # Whoever waited first for rank 2 says so; the other may have lost the first by then.
    assert any("rank 2" in text for text in found[:2]), found


def test_without_a_process_group_the_cure_is_told():
    with pytest.raises(RuntimeError, match="init_process_group"):
        Fabric()
    assert os.environ.get("RANK") is None


def large_and_crossed(group):
    """Words larger than what a connection holds, between all at once: nobody may wait for one who waits for him."""
    fabric = Fabric(group, timeout=60)
    assert fabric.mesh is not None
    peers = [peer for peer in range(fabric.size) if peer != fabric.rank]
    for to in peers:
        fabric.send(to, word(fabric.rank, to, 20_000_000))
    for peer in peers:
        assert fabric.receive(peer) == word(peer, fabric.rank, 20_000_000)
    fabric.settle()
    return True


def test_words_larger_than_any_buffer_cross(four):
    assert all(four.run(large_and_crossed))


def apart(group):
    """One rank says that it listens where nobody does."""
    from sordino.torch import mesh

    found = mesh._address
    if torch.distributed.get_rank(group) == 1:
        mesh._address = lambda: "198.51.100.7"
    try:
        fabric = Fabric(group, timeout=30)
    finally:
        mesh._address = found
    return fabric.mesh is None, crowd_over(fabric)


def crowd_over(fabric):
    peers = [peer for peer in range(fabric.size) if peer != fabric.rank]
    for to in peers:
        fabric.send(to, word(fabric.rank, to, 300))
    heard = [fabric.receive(peer) == word(peer, fabric.rank, 300) for peer in peers]
    fabric.settle()
    return all(heard)


def test_ranks_that_cannot_connect_talk_through_the_process_group(four):
    assert four.run(apart) == [(True, True)] * 4


def closing(group):
    fabric = Fabric(group, timeout=20)
    if fabric.rank == 0:
        fabric.send(1, b"last words")
        fabric.mesh.close()
        return "left"
    heard = fabric.receive(0)
    with pytest.raises(ConnectionError, match="rank 1 lost rank 0") as raised:
        fabric.receive(0)
    return heard.decode(), str(raised.value)


def test_last_words_are_heard_and_who_left_is_named(four):
    heard, told = four.run(closing, ranks=2)[1]
    assert heard == "last words" and "closed the connection" in told


def stranger(group):
    """Somebody who finds the port but not the word is not taken for a rank."""
    import socket

    from sordino.torch import mesh

    made = socket.create_server

    strangers = []

    def and_a_stranger(place, **settings):
        listener = made(place, **settings)
        strangers.append(socket.create_connection(listener.getsockname()))
        strangers[0].sendall(bytes(mesh.TOKEN + 4))
        return listener

    socket.create_server = and_a_stranger
    try:
        fabric = Fabric(group, timeout=30)
    finally:
        socket.create_server = made
    return fabric.mesh is not None, crowd_over(fabric)


def test_a_stranger_at_the_door_is_sent_away(four):
    assert four.run(stranger) == [(True, True)] * 4
