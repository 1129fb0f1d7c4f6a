"""kill -9 on one worker of torchrun: the group is started again and goes on from the last checkpoint."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

import sordino  # noqa: E402

SCRIPT = Path(__file__).with_name("torch_survivor.py")


def launch(folder, how):
    folder.mkdir()
    paths = [str(Path(sordino.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    # Otherwise a group that is started again finds the addresses of the one before in the launcher's store.
    fresh = {"OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    environment = {**os.environ, **fresh, "PYTHONPATH": os.pathsep.join(p for p in paths if p)}
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "3",
        "--max-restarts",
        "1",
    ]
    done = subprocess.run(
        [*command, SCRIPT, str(folder), how], env=environment, capture_output=True, text=True, timeout=150
    )
    assert done.returncode == 0, done.stderr[-4000:]
    losses = [[json.loads(line) for line in open(folder / f"losses-{rank}.jsonl")] for rank in range(3)]
    models = [torch.load(folder / f"model-{rank}.pt", weights_only=True) for rank in range(3)]
    return losses, models, json.loads((folder / "told-0.json").read_text())


def test_a_killed_worker_costs_the_steps_since_the_checkpoint_and_no_bit(tmp_path):
    straight, models, told = launch(tmp_path / "straight", "lives")
    losses, others, survived = launch(tmp_path / "killed", "dies")
    for one, other in zip(models, others):
        assert all(torch.equal(one[key], other[key]) for key in one)
    for before, after in zip(straight, losses):
        first, second = [row for row in after if row["began"] == 0], [row for row in after if row["began"] > 0]
        # Those that live go on in silence until the next meeting.
        assert 20 <= first[-1]["step"] < 24 and second[0] == {**second[0], "step": 18, "began": 18}
        wanted = {row["step"]: row["loss"] for row in before}
        assert len(wanted) == 40 and all(row["loss"] == wanted[row["step"]] for row in after), "the loss shows no jump"
        assert second[-1]["step"] == 39
    assert told["resumed_at"] == [] and survived["resumed_at"] == [18]
    assert survived["rounds"] == told["rounds"] and survived["steps"] == 40
    points = (tmp_path / "killed/report/record.jsonl").read_text().splitlines()
    assert [json.loads(point)["step"] for point in points] == list(range(4, 41, 4)), (
        "no point is lost, none is there twice"
    )
    summary = json.loads((tmp_path / "killed/report/summary.json").read_text())
    assert "step 16" in summary["environment"]["resumed"], "the round that was under way began at step 16"
    assert "resumed" not in json.loads((tmp_path / "straight/report/summary.json").read_text())["environment"]
