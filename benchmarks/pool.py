"""The workers as their conductor sees them: four processes on four hosts, who are given one job at a time."""

import json
import os
import selectors
import subprocess
import time
from pathlib import Path

from hosts import DEVICE, address

__all__ = ["Failure", "Pool"]

HERE = Path(__file__).parent


class Failure(Exception):
    """A job that ended in an error, or never did."""


class Pool:
    """Four workers on their hosts. They are started when they are needed, and anew after a job that failed."""

    def __init__(self, hosts, python, folder, log):
        self.hosts, self.python, self.folder, self.log = hosts, python, folder, log
        self.workers, self.port = [], 29500

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def ready(self):
        """Starts the workers, if there are none."""
        if not self.workers:
            try:
                self.start()
            except BaseException:
                self.stop()
                raise

    def start(self):
        # A port that a killed process held is not free at once.
        self.port += 1
        count = self.hosts.count
        environment = {
            **os.environ,
            "GLOO_SOCKET_IFNAME": DEVICE,
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self.hosts.shape(None)
        with self.log.open("a") as log:
            for rank in range(count):
                words = [str(self.python), str(HERE / "worker.py"), str(rank), str(count)]
                words += [address(0), str(self.port), str(self.folder)]
                self.workers.append(
                    subprocess.Popen(
                        self.hosts.command(rank, words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                        env=environment, start_new_session=True,
                    )
                )  # fmt: skip
        self._hear("hello", 120)

    def stop(self):
        for worker in self.workers:
            worker.kill()
        for worker in self.workers:
            worker.wait()
        self.workers = []
        self.hosts.shape(None)

    def do(self, job, link, limit=900):
        """What every worker answers to a job, on links of that rate (none: unshaped). `limit` is in seconds."""
        self.ready()
        try:
            self._say(job)
            self._hear("ready", 180)
            self.hosts.shape(link)
            self._say("go")
            answers = self._hear("done", limit)
        except (Failure, BrokenPipeError) as failure:
            self.stop()
            raise Failure(str(failure)) from None
        except BaseException:
            self.stop()
            raise
        self.hosts.shape(None)
        return answers

    def _say(self, what):
        for worker in self.workers:
            worker.stdin.write(json.dumps(what) + "\n")
            worker.stdin.flush()

    def _hear(self, word, limit):
        """One answer of every worker. The first that tells of an error ends the job: the others wait for it in vain."""
        until, answers = time.monotonic() + limit, {}
        with selectors.DefaultSelector() as waiting:
            for rank, worker in enumerate(self.workers):
                waiting.register(worker.stdout, selectors.EVENT_READ, rank)
            while len(answers) < len(self.workers):
                events = waiting.select(max(0.0, until - time.monotonic()))
                if not events:
                    raise Failure(f"{len(self.workers) - len(answers)} workers were silent for {limit} s")
                for key, _ in events:
                    line = key.fileobj.readline()
                    answer = json.loads(line) if line else {"error": "the worker died; its log tells why"}
                    if "error" in answer:
                        raise Failure(answer["error"])
                    answers[key.data] = answer[word]
                    waiting.unregister(key.fileobj)
        return [answers[rank] for rank in sorted(answers)]
