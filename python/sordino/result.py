"""What a run came to."""

from __future__ import annotations

import html
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy

if TYPE_CHECKING:
    from sordino._sordino import Recipe


@dataclass(frozen=True, repr=False)
class Result:
    """A run in numbers; a notebook shows its curves.

    >>> import sordino
    >>> ran = sordino.run("sync-sgd", "quadratic(dim=4)", workers=2, steps=40)
    >>> ran
    <sync-sgd on quadratic: 40 rounds, 40 steps, training loss ...>
    >>> ran._repr_html_().startswith("<figure")
    True
    """

    #: Losses, bytes and seconds by name, as in `summary.json`.
    summary: dict[str, Any]
    #: The record as columns: arrays by name, a row a look at the model; what is not known is NaN.
    points: dict[str, numpy.ndarray]
    #: The model at the end: tensors by name, running statistics among them.
    model: dict[str, numpy.ndarray]
    #: The recipe as it was carried out, every `auto` replaced.
    recipe: Recipe
    #: Where the report is, if the run was asked to write.
    report: str | None = None

    def __repr__(self) -> str:
        s = self.summary
        loss = "diverged" if s["diverged"] else f"training loss {_short(s['train_loss'])}"
        return f"<{s['method']} on {s['task']}: {s['rounds']} rounds, {s['steps']} steps, {loss}>"

    def _repr_html_(self) -> str:
        s = self.summary
        words = [repr(self)[1:-1], f"{_bytes(s['bytes_sent_per_worker'] + s['bytes_received_per_worker'])} a worker"]
        if s["accuracy"] is not None:
            words.append(f"accuracy {100 * s['accuracy']:.2f} %")
        title = html.escape(", ".join(words))
        sent = self.points.get("bytes_sent")
        charts = _chart("step", self.points.get("step"), self.points)
        if sent is not None and sent[-1] > 0:
            charts += _chart("bytes sent by a worker", sent, self.points)
        where = ""
        if self.report is not None:
            where = f'<div>report: <a href="{html.escape(self.report)}">{html.escape(os.path.basename(self.report))}</a></div>'
        return f"<figure><figcaption>{title}</figcaption>{charts}{where}</figure>"


#: Curves of a chart: column, what it is called, colour.
_CURVES = (("train_loss", "training loss", "#1f6feb"), ("eval_loss", "held-out loss", "#d9480f"))
_WIDTH, _HEIGHT, _MARGIN = 380, 220, 42


def _chart(axis: str, x: numpy.ndarray | None, points: dict[str, numpy.ndarray]) -> str:
    """Losses against `x` as SVG."""
    curves = [(points[name], words, colour) for name, words, colour in _CURVES if name in points]
    if x is None or not curves:
        return ""
    every = numpy.concatenate([y[numpy.isfinite(y)] for y, _, _ in curves])
    if every.size == 0:
        return ""
    low, high = float(every.min()), float(every.max())
    left, right = float(numpy.nanmin(x)), float(numpy.nanmax(x))
    wide, tall = (right - left) or 1.0, (high - low) or 1.0
    lines = []
    for at, (y, words, colour) in enumerate(curves):
        keep = numpy.isfinite(x) & numpy.isfinite(y)
        across = _MARGIN + (x[keep] - left) / wide * (_WIDTH - _MARGIN - 8)
        down = _HEIGHT - _MARGIN - (y[keep] - low) / tall * (_HEIGHT - _MARGIN - 12)
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(across, down))
        lines.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        lines.append(f'<text x="{_WIDTH - 8}" y="{16 + 14 * at}" text-anchor="end" fill="{colour}">{words}</text>')
    floor = _HEIGHT - _MARGIN
    frame = f'<path d="M{_MARGIN} 8V{floor}H{_WIDTH - 8}" fill="none" stroke="#888"/>'
    marks = (
        f'<text x="{_MARGIN - 4}" y="16" text-anchor="end">{_short(high)}</text>'
        f'<text x="{_MARGIN - 4}" y="{floor}" text-anchor="end">{_short(low)}</text>'
        f'<text x="{_MARGIN}" y="{floor + 14}">{_short(left)}</text>'
        f'<text x="{_WIDTH - 8}" y="{floor + 14}" text-anchor="end">{_short(right)}</text>'
        f'<text x="{(_WIDTH + _MARGIN) // 2}" y="{floor + 30}" text-anchor="middle">{html.escape(axis)}</text>'
    )
    style = "font:11px sans-serif;fill:currentColor"
    return f'<svg width="{_WIDTH}" height="{_HEIGHT}" style="{style}">{frame}{marks}{"".join(lines)}</svg>'


def _short(x: float | None) -> str:
    return "unknown" if x is None else f"{x:.4g}"


def _bytes(count: float) -> str:
    """
    >>> _bytes(999), _bytes(1234567)
    ('999 B', '1.23 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.2f} {unit}"
        count /= 1000
    raise AssertionError
