"""Hosts on one machine: network namespaces, joined by veth links through a bridge that has a namespace of its own.

Every host has one link. Both its ends are shaped by a token bucket, so a host sends and hears at its rate and no
faster. The machine's own network is not touched. Needs root, `ip` and `tc`.
"""

import fcntl
import os
import subprocess
from pathlib import Path

__all__ = ["DEVICE", "Hosts", "address", "bucket", "rate_of"]

PREFIX = "sordino-bench-"
DEVICE = "eth0"
SWITCH = PREFIX + "switch"
LOCK = Path("/run/sordino-bench.lock")


def address(host):
    """The address of a host, by its number."""
    return f"10.77.0.{host + 1}"


def rate_of(link):
    """Bits per second of a link as the plan writes it: `10mbit`, `1gbit`."""
    for unit, factor in (("kbit", 1e3), ("mbit", 1e6), ("gbit", 1e9)):
        if link.endswith(unit):
            return float(link.removesuffix(unit)) * factor
    raise ValueError(f"`{link}` is no rate of a link: expected a number of kbit, mbit or gbit, as in `10mbit`")


def bucket(link):
    """The size of the token bucket in bytes: what the link carries in a millisecond, and two frames at least.

    A bucket as large as a message would let it pass at the speed of memory.
    """
    return max(3200, int(rate_of(link) / 8 * 1e-3))


def _ip(*words, check=True):
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if check and done.returncode:
        raise RuntimeError(f"`ip {' '.join(words)}` failed: {done.stderr.strip() or done.returncode}")
    return done.stdout


class Hosts:
    """So many hosts, for as long as the `with` lasts. Leftovers of a run that was killed are taken away first."""

    def __init__(self, count):
        self.count = count
        self.names = [f"{PREFIX}{host}" for host in range(count)]

    def __enter__(self):
        self.lock = LOCK.open("w")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError("another run of the benchmark holds the hosts; wait for it to end") from None
        _sweep()
        try:
            self._build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        _sweep()
        self.lock.close()

    def _build(self):
        _ip("netns", "add", SWITCH)
        _ip("-n", SWITCH, "link", "add", "bridge", "type", "bridge", "forward_delay", "0")
        _ip("-n", SWITCH, "link", "set", "bridge", "up")
        for host, name in enumerate(self.names):
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
            port = f"port{host}"
            _ip("link", "add", DEVICE, "netns", name, "type", "veth", "peer", "name", port, "netns", SWITCH)
            _ip("-n", SWITCH, "link", "set", port, "master", "bridge", "up")
            _ip("-n", name, "address", "add", f"{address(host)}/24", "dev", DEVICE)
            _ip("-n", name, "link", "set", DEVICE, "up")

    def shape(self, link):
        """Sets the rate of every link, both ways; none takes the token buckets away."""
        # Frames are cut to size where they are sent: counters then see the heads that a real wire carries. Above 100 Mbit/s
        # that would take more time of the processor than the link leaves it.
        whole = link is None or rate_of(link) > 100e6
        for host, name in enumerate(self.names):
            _ip("-n", name, "link", "set", DEVICE, "gso_max_segs", "65535" if whole else "1")
            for space, device in ((name, DEVICE), (SWITCH, f"port{host}")):
                tc = ["tc", "-n", space, "qdisc"]
                if link is None:
                    # There may be none to take away.
                    subprocess.run([*tc, "del", "dev", device, "root"], capture_output=True)
                    continue
                words = ["root", "tbf", "rate", link, "burst", str(bucket(link)), "latency", "400ms"]
                done = subprocess.run([*tc, "replace", "dev", device, *words], capture_output=True, text=True)
                if done.returncode:
                    raise RuntimeError(f"`tc` set no rate of {link} on {device}: {done.stderr.strip()}")

    def variables(self, port):
        """What ranks of torch.distributed that are hosts find in their environment, beside RANK."""
        shared = {**os.environ, "GLOO_SOCKET_IFNAME": DEVICE, "OMP_NUM_THREADS": "1", "MASTER_ADDR": address(0)}
        return shared | {"MASTER_PORT": str(port), "WORLD_SIZE": str(self.count)}

    def command(self, host, words):
        """The command that runs `words` on a host."""
        return ["ip", "netns", "exec", self.names[host], *words]


def _sweep():
    """Takes away every namespace of ours, and with it links and whatever is left running there."""
    for line in _ip("netns", "list", check=False).splitlines():
        name = line.split()[0]
        if name.startswith(PREFIX):
            for pid in _ip("netns", "pids", name, check=False).split():
                subprocess.run(["kill", "-9", pid], capture_output=True)
            _ip("netns", "delete", name, check=False)
