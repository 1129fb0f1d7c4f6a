"""Peers that PyTorch does not bring along: installed beside it, tried on four hosts, and told of with what they said.

Each has an environment of its own under target/, on top of the one that workers run in. DeepSpeed compiles a part of
itself at first, which takes minutes.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from hosts import address

__all__ = ["PEERS", "all_of_them", "environment", "last_words"]

HERE = Path(__file__).parent
PEERS = {
    # The optimizer is not in what came after.
    "DeepSpeed 1-bit Adam": ("deepspeed<0.19", "onebit_adam"),
    "hivemind": ("hivemind", "hivemind_averager"),
}


def all_of_them(hosts, python, target):
    """What every peer said: its name, version, whether it ran, and its own words where it did not."""
    hosts.shape(None)
    return [{"name": name, **_try(hosts, python, target, *peer)} for name, peer in PEERS.items()]


def environment(python, target, package):
    """The interpreter of an environment that has a package on top of another interpreter's, and what pip said if not."""
    folder = target / f"with-{_name(package)}"
    own = folder / "bin" / "python"
    if not (folder / "installed.txt").exists():
        print(f"installing {package}", flush=True)
        subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
        ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
        base, here = (
            subprocess.run([which, "-c", ask], check=True, capture_output=True, text=True).stdout.strip()
            for which in (python, own)
        )
        (Path(here) / "base.pth").write_text(base + "\n")
        pip = [own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", package]
        done = subprocess.run(pip, capture_output=True, text=True)
        if done.returncode:
            return own, "pip: " + last_words(done.stderr)
        (folder / "installed.txt").write_text(package)
    return own, None


def _name(package):
    return package.split("<")[0]


def _try(hosts, python, target, package, example):
    own, broken = environment(python, target, package)
    if broken is not None:
        return {"version": None, "runs": False, "said": broken}
    ask = f"from importlib.metadata import version; print(version('{_name(package)}'))"
    version = subprocess.run([own, "-c", ask], capture_output=True, text=True).stdout.strip() or None
    print(f"trying {package} {example}", flush=True)
    return {"version": version} | _run(hosts, own, example)


def _run(hosts, python, example, limit=420):
    shared = hosts.variables(29400) | {"LOCAL_RANK": "0", "PYTHONUNBUFFERED": "1"}
    # A launcher would put these where the environment's programs are found.
    shared["PATH"] = f"{Path(python).parent}:{os.environ.get('PATH', '')}"
    ranks = [
        subprocess.Popen(
            hosts.command(rank, [str(python), str(HERE / "peers.py"), example]),
            env={**shared, "RANK": str(rank), "HOST_ADDR": address(rank)}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )
        for rank in range(hosts.count)
    ]  # fmt: skip
    said = []
    try:
        for rank in ranks:
            said.append(rank.communicate(timeout=limit)[0])
    except subprocess.TimeoutExpired:
        said.append(f"it said nothing for {limit} s")
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
    if len(said) == len(ranks) and all(rank.returncode == 0 for rank in ranks):
        return {"runs": True, "said": last_words(said[0])}
    broken = [text for text in said if "Error" in text] or said[-1:]
    return {"runs": False, "said": last_words(broken[0])}


def last_words(text):
    """The line of an output that names an error, or else its last one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [line for line in lines if "Error:" in line or "Error(" in line or line.startswith("ERROR")]
    return re.sub(r"^\[rank\d+\]: ", "", (named or lines or ["nothing"])[-1])[:300]


if __name__ == "__main__":
    sys.exit("this is a part of run.py")
