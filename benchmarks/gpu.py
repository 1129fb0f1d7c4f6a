"""What it costs to compress a gradient that lies on a GPU by way of the host, beside its dense all-reduce.

    python benchmarks/gpu.py [--entries 100000000] [--out FILE]

needs a CUDA device, PyTorch and the package `sordino`. A gradient of normal entries is copied to pinned memory, encoded on
the host, decoded there, and copied back; every piece is timed by itself, the median of several runs. A dense all-reduce
takes 2 * 4 d bytes over the link (many ranks, a ring), the compressed exchange twice its message's bytes (in two phases)
and the way through the host. The rate of the link at which both take as long is where a kernel on the GPU would begin to
be needed: below it the host is no obstacle.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time

import numpy as np
import sordino
import torch

ELEMENTS = ["half", "sign", "bingrad(b)", "terngrad", "qsgd", "orq(9)", "topk(0.01)", "randk(0.01)"]
RATES = [1e9, 10e9, 100e9]


def seconds(run, times: int) -> float:
    """The median of several runs, after one that is not counted."""
    taken = []
    for _ in range(times + 1):
        torch.cuda.synchronize()
        began = time.perf_counter()
        run()
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[1:])


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--entries", type=int, default=100_000_000)
    options.add_argument("--times", type=int, default=5)
    options.add_argument("--out")
    options = options.parse_args()
    d = options.entries
    gradient = torch.randn(d, device="cuda") * 1e-3
    pinned = torch.empty(d, pin_memory=True)
    pageable = torch.empty(d)
    found = {
        "gpu": torch.cuda.get_device_name(),
        "cpu": next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.processor()),
        "torch": torch.__version__,
        "sordino": sordino.__version__,
        "entries": d,
        "to_host": seconds(lambda: pinned.copy_(gradient, non_blocking=True), options.times),
        "to_host_pageable": seconds(lambda: pageable.copy_(gradient), options.times),
        "to_gpu": seconds(lambda: gradient.copy_(pinned, non_blocking=True), options.times),
        "memcpy": seconds(lambda: pageable.copy_(pinned), options.times),
        "dense": {f"{rate:.0e}": 8 * 2 * 4 * d / rate for rate in RATES},
        "elements": {},
    }
    x = pinned.numpy()
    for name in ELEMENTS:
        code = sordino.compressor(name)
        message = code.encode(x)
        encode = seconds(lambda: code.encode(x), min(options.times, 3))
        decode = seconds(lambda: code.decode(message, d), min(options.times, 3))
        host = found["to_host"] + encode + decode + found["to_gpu"]
        # Both take as long where 16 d * 4 / rate = host + 16 bytes / rate.
        even = 8 * 2 * (4 * d - len(message)) / host
        found["elements"][name] = {
            "bytes": len(message),
            "encode": encode,
            "decode": decode,
            "host": host,
            "total": {f"{rate:.0e}": host + 8 * 2 * len(message) / rate for rate in RATES},
            "even_gbit": even / 1e9,
        }
        print(f"{name:14} {len(message) / 1e6:8.1f} MB  encode {encode:6.3f} s  decode {decode:6.3f} s  by the host {host:6.3f} s  even at {even / 1e9:6.1f} Gbit/s", flush=True)
    text = json.dumps(found, indent=2)
    if options.out:
        with open(options.out, "w") as file:
            file.write(text + "\n")
    else:
        print(text)


if __name__ == "__main__":
    main()
