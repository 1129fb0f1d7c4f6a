"""The benchmark, one command, as root on Linux (it makes hosts of network namespaces):

    python3 benchmarks/run.py             everything, nearly two hours on two cores
    python3 benchmarks/run.py --quick     everything once and nothing for long: does it run here?
    python3 benchmarks/run.py --document  the page again, from results.json

It goes on where an interrupted run was. Workers run in the environment that `cargo xtask python` makes, or in another
one that has torch and sordino (`--python`).
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import document
import tried
from hosts import Hosts
from measure import Bench
from plan import quick, read
from pool import Pool
from results import bytes_of, ceiling, pace, seconds_of, spread

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "target" / "benchmarks"
PYTHON = ROOT / "target" / "sordino-python" / "python" / "bin" / "python"
ASK = (
    "import json, hashlib, torch, sordino, sordino._sordino as library\n"
    "from importlib.metadata import version\n"
    "from pathlib import Path\n"
    "files = sorted(Path(sordino.__file__).parent.rglob('*.py')) + [Path(library.__file__)]\n"
    "build = hashlib.sha256(b''.join(file.read_bytes() for file in files)).hexdigest()[:16]\n"
    "print(json.dumps({'torch': torch.__version__, 'sordino': version('sordino'), 'build': build}))"
)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="a few minutes, whose numbers mean nothing")
    options.add_argument("--document", action="store_true", help="only write the page, from the results there are")
    options.add_argument("--python", type=Path, default=PYTHON, help="the interpreter that workers run in")
    options.add_argument("--no-tried", action="store_true", help="leave out the peers that have to be installed first")
    options = options.parse_args()
    page = (TARGET / "quick" if options.quick else ROOT / "docs") / "benchmarks.md"
    kept = TARGET / "quick" / "results.json" if options.quick else Path(__file__).parent / "results.json"
    if not options.document:
        kept.parent.mkdir(parents=True, exist_ok=True)
        results = measure(options)
        kept.write_text(json.dumps(results, indent=1) + "\n")
    document.write(json.loads(kept.read_text()), page)
    print(f"wrote {page.relative_to(ROOT)}")


def measure(options):
    """All measurements; what results.json holds."""
    if os.geteuid() != 0:
        sys.exit("the benchmark makes network namespaces, which only root may: run it with sudo, or in a container as root")
    if not options.python.exists():
        sys.exit(f"there is no {options.python}: run `cargo xtask python` first, or name an interpreter by --python")
    # A process that is told to end cleans up as one that is interrupted does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = TARGET / "quick" if options.quick else TARGET
    plan = quick(read()) if options.quick else read()
    told = subprocess.run([options.python, "-c", ASK], check=True, capture_output=True, text=True).stdout
    versions = json.loads(told.splitlines()[-1])
    subprocess.run([options.python, Path(__file__).parent / "data.py", TARGET / "data"], check=True)
    # Its methods fail, and are told of, where it cannot be installed.
    python, broken = tried.environment(options.python, TARGET, "torchft")
    python = options.python if broken else python
    with Hosts(plan.workers) as hosts, Pool(hosts, python, TARGET / "data", folder / "workers.log") as pool:
        bench = Bench(plan, pool, folder / "measurements.jsonl", versions["build"])
        paces, reached, wholes = bench.run()
        pool.stop()
        peers = [] if options.no_tried else tried.all_of_them(hosts, options.python, TARGET)
    return {
        "date": time.strftime("%Y-%m-%d"),
        "minutes": bench.minutes(),
        "spread": spread(bench.passes),
        "machine": machine(),
        "versions": versions | {"python": platform.python_version(), "kernel": platform.release(), "commit": commit()},
        "plan": plan.settings,
        "networks": {name: told_of(plan, bench, name, paces[name], reached[name]) for name in plan.networks},
        "whole": wholes,
        "failed": bench.failed,
        "tried": peers,
    }


def told_of(plan, bench, network, paces, reached):
    """What came out on one network, ready to be written down."""
    told = {"links": {}, "methods": {}}
    for link in plan.links:
        alone, dense = paces["alone", 1, link], paces["ddp", 1, link]
        lean = bench.leanest(network, link, reached, paces)
        told["links"][link] = {
            "compute": None if alone is None else pace(alone),
            "ceiling": None if alone is None or dense is None else ceiling(alone, dense),
            "leanest": None if lean is None else told_on(plan, link, lean, reached[lean], paces),
        }
    for method in plan.compared():
        grid = {case: runs for case, runs in reached.items() if case.method == method}
        row = {"links": {}, "grid": [], "wire": None}
        rates = plan.rates(network, method)
        for case, runs in grid.items():
            kinds = runs[plan.seeds[0]]
            row["grid"].append(
                {"period": case.period, "rate": rates[case.rate], "steps": None if kinds is None else sum(kinds.values())}
            )
        for link, case in bench.chosen(network, method, grid, paces).items():
            row["links"][link] = told_on(plan, link, case, grid[case], paces)
        # Bytes where frames are seen one by one, with the period that talks most.
        measured = paces.get((method, plan.periods(method)[-1], plan.links[0]))
        if measured is not None:
            row["wire"] = {"period": plan.periods(method)[-1], "sent": measured["sent"], "ledger": measured["ledger"]}
        told["methods"][method] = row
    return told


def told_on(plan, link, case, runs, paces):
    """What a case came to on one link, over all seeds."""
    measured = paces[case.method, case.period, link]
    seeds = [runs.get(seed) for seed in plan.seeds]
    return {
        "method": case.method,
        "period": case.period,
        "rate": plan.rates(case.network, case.method)[case.rate],
        "steps": [None if kinds is None else sum(kinds.values()) for kinds in seeds],
        "step": seconds_of(seeds[0], measured) / sum(seeds[0].values()),
        "seconds": [None if kinds is None else seconds_of(kinds, measured) for kinds in seeds],
        "bytes": [None if kinds is None else bytes_of(kinds, measured) for kinds in seeds],
    }


def machine():
    """What this ran on, in words."""
    processor = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            processor = line.split(":", 1)[1].strip()
    kilobytes = int(Path("/proc/meminfo").read_text().split()[1])
    return f"{processor}, {os.cpu_count()} cores, {kilobytes / 2**20:.0f} GiB"


def commit():
    done = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip() or None


if __name__ == "__main__":
    main()
