"""Sockets between every two ranks of a group: words leave as soon as they are said.

A process group's own sends wait until the receiver has said where it wants a word, and that says itself behind whatever is
on its way already. Over a slow link a meeting of all with all takes more than twice what its bytes need.

One thread does it all. Whoever waits for one word takes in what the others say meanwhile and lets go of what they
will take, so two that send to each other never wait for each other.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from collections import deque

import torch
import torch.distributed as dist

__all__ = ["Mesh"]

JOINING = 10.0
"""Seconds that a rank has to connect; it is there already, since all make their meshes at the same place."""

TOKEN = 16
PLACE = struct.Struct(f"4sH{TOKEN}s")
"""Where a rank listens, and what it wants to hear from whoever comes: others may find the port."""

AT_ONCE = 1 << 20
"""Bytes taken from one peer before the next has its turn."""


class Mesh:
    """The sockets of one rank. :meth:`join` makes it, on all ranks or on none."""

    def __init__(self, sockets: dict[int, socket.socket]):
        self.sockets, self.poll = sockets, select.poll()
        self.peers = {sock.fileno(): peer for peer, sock in sockets.items()}
        self.waiting: dict[int, deque] = {peer: deque() for peer in sockets}
        """Words that have not left, or not wholly."""
        self.heard: dict[int, deque] = {peer: deque() for peer in sockets}
        self.coming = {peer: _Word() for peer in sockets}
        self.gone: dict[int, str] = {}
        for sock in sockets.values():
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.poll.register(sock, select.POLLIN)

    @classmethod
    def join(cls, group, rank: int, size: int) -> Mesh | None:
        """A collective call over a group whose tensors live on the host. None where any two ranks cannot connect."""
        sockets: dict[int, socket.socket] = {}
        listener, place = None, b""
        token = os.urandom(TOKEN)
        try:
            address = _address()
            listener = socket.create_server((address, 0), backlog=size)
            place = PLACE.pack(socket.inet_aton(address), listener.getsockname()[1], token)
        except OSError:
            pass
        places = _told(place.ljust(PLACE.size, b"\0"), group, size)
        well = all(any(told) for told in places)
        try:
            if well:
                _connect(sockets, listener, places, rank, size, token)
        except OSError:
            well = False
        if listener is not None:
            listener.close()
        if not all(any(told) for told in _told(bytes([well]), group, size)):
            for sock in sockets.values():
                sock.close()
            return None
        return cls(sockets)

    def send(self, to: int, word, most: int, timeout: float) -> None:
        """Sends a copy of a word; waits only while more than `most` words for that peer have not left."""
        waiting = self.waiting[to]
        waiting.append(memoryview(struct.pack("<Q", len(word)) + bytes(word)))
        if len(waiting) == 1:
            self._let_go(to)
        self._until(lambda: len(waiting) <= most, to, timeout)

    def receive(self, from_: int, timeout: float) -> bytes:
        """The next word of a peer."""
        heard = self.heard[from_]
        self._until(lambda: heard, from_, timeout)
        return heard.popleft()

    def here(self, peers) -> bool:
        """Whether a word of each of them is here, after all that can move has moved; never waits."""
        self._turn(0)
        return all(self.heard[peer] for peer in peers)

    def settle(self, to: int, timeout: float) -> None:
        """Waits until everything for a peer has left."""
        self._until(lambda: not self.waiting[to], to, timeout)

    def close(self) -> None:
        """Lets go of the sockets."""
        for sock in self.sockets.values():
            sock.close()

    def _until(self, true, peer: int, timeout: float) -> None:
        limit = time.monotonic() + timeout
        while not true():
            if peer in self.gone:
                raise RuntimeError(self.gone[peer])
            left = limit - time.monotonic()
            if left <= 0:
                raise RuntimeError("Timed out waiting")
            self._turn(left)

    def _turn(self, seconds: float) -> None:
        """Waits until something can be done, and does it."""
        for number, events in self.poll.poll(1000 * seconds):
            peer = self.peers[number]
            if events & select.POLLOUT:
                self._let_go(peer)
            if events & ~select.POLLOUT and peer not in self.gone:
                self._take_in(peer)

    def _let_go(self, peer: int) -> None:
        waiting = self.waiting[peer]
        try:
            while waiting:
                sent = self.sockets[peer].send(waiting[0])
                if sent < len(waiting[0]):
                    waiting[0] = waiting[0][sent:]
                else:
                    waiting.popleft()
        except BlockingIOError:
            pass
        except OSError as error:
            self._lose(peer, str(error))
            return
        if peer not in self.gone:
            self.poll.modify(self.sockets[peer], select.POLLIN | (select.POLLOUT if waiting else 0))

    def _take_in(self, peer: int) -> None:
        coming, taken = self.coming[peer], 0
        try:
            while taken < AT_ONCE:
                count = self.sockets[peer].recv_into(coming.room())
                if count == 0:
                    self._lose(peer, "it closed the connection")
                    return
                taken += count
                word = coming.grow(count)
                if word is not None:
                    self.heard[peer].append(word)
        except BlockingIOError:
            pass
        except OSError as error:
            self._lose(peer, str(error))

    def _lose(self, peer: int, why: str) -> None:
        """What was heard before is still there to be taken."""
        if peer not in self.gone:
            self.gone[peer] = why
            self.poll.unregister(self.sockets[peer])


class _Word:
    """A word that is coming in: eight bytes that say how long it is, then the word."""

    def __init__(self):
        self._expect(bytearray(8), head=True)

    def _expect(self, bytes_, head: bool):
        self.bytes, self.head, self.have = bytes_, head, 0

    def room(self) -> memoryview:
        return memoryview(self.bytes)[self.have :]

    def grow(self, count: int) -> bytes | None:
        """Counts what has come; the word, if that was the last of it."""
        self.have += count
        if self.have < len(self.bytes):
            return None
        if self.head:
            length = int.from_bytes(self.bytes, "little")
            if length > 0:
                self._expect(bytearray(length), head=False)
                return None
            word = b""
        else:
            word = bytes(self.bytes)
        self._expect(bytearray(8), head=True)
        return word


def _address() -> str:
    """This host's address, as Gloo finds it: that of the device it is told to use, else the one that its name has."""
    device = os.environ.get("GLOO_SOCKET_IFNAME", "").split(",")[0]
    if device:
        import fcntl

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            asked = struct.pack("256s", device.encode()[:15])
            return socket.inet_ntoa(fcntl.ioctl(sock.fileno(), 0x8915, asked)[20:24])  # SIOCGIFADDR
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError:
        return "127.0.0.1"


def _told(word: bytes, group, size: int) -> list[bytes]:
    """Everybody's word, all of one length."""
    ours = torch.frombuffer(bytearray(word), dtype=torch.uint8)
    words = [torch.empty_like(ours) for _ in range(size)]
    dist.all_gather(words, ours, group=group)
    return [bytes(word.tolist()) for word in words]


def _connect(sockets: dict, listener, places: list[bytes], rank: int, size: int, token: bytes) -> None:
    """Connects to all ranks below, and is connected to by all above."""
    for peer in range(rank):
        address, port, theirs = PLACE.unpack(places[peer])
        sock = sockets[peer] = socket.create_connection((socket.inet_ntoa(address), port), timeout=JOINING)
        sock.sendall(theirs + struct.pack("<I", rank))
    limit = time.monotonic() + JOINING
    while len(sockets) < size - 1:
        listener.settimeout(max(0.01, limit - time.monotonic()))
        sock, _ = listener.accept()
        sock.settimeout(JOINING)
        said = b""
        while len(said) < TOKEN + 4 and (more := sock.recv(TOKEN + 4 - len(said))):
            said += more
        if said[:TOKEN] == token:
            sockets[struct.unpack("<I", said[TOKEN:])[0]] = sock
        else:
            sock.close()
