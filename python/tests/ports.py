"""Ranks that are processes, each with a pipe to every other: a port in a few lines."""

import multiprocessing
import queue
import threading
import traceback


class Pipes:
    """The port of one rank over pipes. A thread of its own sends, so that `send` does not wait for the receiver."""

    def __init__(self, rank, size, ends):
        self.rank, self.size, self.ends = rank, size, ends
        self.outbox = queue.SimpleQueue()
        self.sender = threading.Thread(target=self._sends, daemon=True)
        self.sender.start()

    def _sends(self):
        while (letter := self.outbox.get()) is not None:
            to, data = letter
            self.ends[to].send_bytes(data)

    def send(self, to, data):
        self.outbox.put((to, bytes(data)))

    def close(self):
        """What was sent is on its way before the rank leaves."""
        self.outbox.put(None)
        self.sender.join(20)

    def receive(self, from_):
        if not self.ends[from_].poll(60):
            raise TimeoutError(f"rank {from_} has been silent for a minute")
        return self.ends[from_].recv_bytes()


def _rank(work, rank, size, ends, answer, arguments):
    port = Pipes(rank, size, ends)
    try:
        answer.send((work(port, *arguments), None))
    except BaseException:
        answer.send((None, traceback.format_exc()))
    port.close()


def processes(size, work, *arguments):
    """What `work(port, *arguments)` returns on each of so many ranks, every rank a process."""
    context = multiprocessing.get_context("spawn")
    ends = [{} for _ in range(size)]
    for a in range(size):
        for b in range(a):
            ends[a][b], ends[b][a] = context.Pipe()
    answers, ranks = [], []
    for rank in range(size):
        here, there = context.Pipe(duplex=False)
        ranks.append(context.Process(target=_rank, args=(work, rank, size, ends[rank], there, arguments)))
        ranks[-1].start()
        there.close()
        answers.append(here)
    for links in ends:
        for end in links.values():
            end.close()
    results = [answer.recv() for answer in answers]
    for rank in ranks:
        rank.join()
    for rank, (_, error) in enumerate(results):
        assert error is None, f"rank {rank}: {error}"
    return [result for result, _ in results]


class Wires:
    """The port of one rank among threads of this process."""

    def __init__(self, rank, queues):
        self.rank, self.size, self.queues = rank, len(queues), queues

    def send(self, to, data):
        self.queues[to][self.rank].put(bytes(data))

    def receive(self, from_):
        try:
            return self.queues[self.rank][from_].get(timeout=20)
        except queue.Empty:
            raise TimeoutError(f"rank {from_} has been silent") from None


def threads(size, work, *arguments, port=Wires):
    """What `work(port, *arguments)` returns on each of so many ranks, every rank a thread."""
    queues = [[queue.SimpleQueue() for _ in range(size)] for _ in range(size)]
    results, errors = [None] * size, [None] * size

    def rank(r):
        try:
            results[r] = work(port(r, queues), *arguments)
        except BaseException as error:
            errors[r] = error

    all_ranks = [threading.Thread(target=rank, args=(r,)) for r in range(size)]
    for thread in all_ranks:
        thread.start()
    for thread in all_ranks:
        thread.join()
    for error in errors:
        if error is not None:
            raise error
    return results
