"""What docs/torch.md shows runs."""

import re
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from torch_ranks import four  # noqa: E402, F401

PAGE = Path(__file__).parents[2] / "docs" / "torch.md"


def shown(group, folder):
    rank = torch.distributed.get_rank(group)
    known = {"torch": torch, "folder": folder}
    known["rows"] = lambda step: torch.randn(4, 8, generator=torch.Generator().manual_seed(step * 10 + rank))
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), known)
    known["model"](known["rows"](0)).sum().backward()
    return known["opt"].report()["rounds"]


def test_the_page_runs_as_it_stands(four, tmp_path):
    rounds = four.run(shown, str(tmp_path))
    assert len(set(rounds)) == 1 and 1 < rounds[0] < 30
    assert (tmp_path / "model.pt").is_file()
