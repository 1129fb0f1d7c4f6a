"""The examples, cut short."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

import sordino  # noqa: E402

EXAMPLES = Path(__file__).parents[2] / "examples" / "python"


def run(name, *options, ranks=2):
    paths = [str(Path(sordino.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(p for p in paths if p)}
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)] if ranks > 1 else []
    command = [sys.executable, *launcher, str(EXAMPLES / name), *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr[-4000:]
    last = done.stdout.strip().splitlines()[-1]
    return {key.strip(): float(value) for key, value in re.findall(r"([a-z ]+) ([\d.]+)", last)}


def test_the_cnn_learns_on_few_bytes(tmp_path):
    ours = run("image_cnn.py", "--steps", "120", "--out", str(tmp_path))
    plain = run("image_cnn.py", "--steps", "120", "--ddp")
    assert ours["accuracy"] > 80 and plain["accuracy"] > 80
    assert ours["meetings"] < 40 and ours["bytes sent"] < plain["bytes sent"] / 10
    assert (tmp_path / "report.html").is_file()


def test_the_transformer_learns_and_runs_in_ddp(tmp_path):
    first = run("char_transformer.py", "--steps", "100", "--save", str(tmp_path))
    hooked = run("char_transformer.py", "--steps", "20", "--ddp")
    assert first["loss"] < 3.5 and first["meetings"] == 2
    assert hooked["meetings"] == 20 and hooked["bytes sent"] > 0
    assert (tmp_path / "checkpoint" / "latest").read_text() == "step-000000100"


def test_examples_run_alone():
    assert run("image_cnn.py", "--steps", "5", ranks=1)["bytes sent"] == 0


@pytest.mark.parametrize("name", ["image_cnn.py", "char_transformer.py"])
def test_an_example_is_short(name):
    assert len((EXAMPLES / name).read_text().splitlines()) < 120
