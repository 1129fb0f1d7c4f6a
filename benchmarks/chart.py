"""One picture of the results: seconds to target, a panel for each network and link, drawn as SVG by hand."""

import math
import statistics

__all__ = ["drawn"]

ROW, PANEL, LABEL, BAR, TOP = 16, 330, 130, 150, 40
COLORS = {"theirs": "#8a8f98", "ours": "#2f6fb0"}


def drawn(results):
    """The SVG, as text."""
    plan, parts, depth = results["plan"], [], 0
    for row, (name, network) in enumerate(results["networks"].items()):
        titles = [method for method in network["methods"]]
        high = TOP + ROW * len(titles)
        for column, link in enumerate(plan["links"]):
            x, y = column * PANEL, row * high
            parts.append(f'<text x="{x + LABEL}" y="{y + 24}" font-weight="bold">{name}, {link}</text>')
            times = {method: _seconds(network["methods"][method]["links"].get(link)) for method in titles}
            known = [seconds for seconds in times.values() if seconds is not None]
            longest = max(known, default=1.0)
            for at, method in enumerate(titles):
                parts += _bar(x, y + TOP + at * ROW, plan["methods"][method], times[method], longest)
        depth = (row + 1) * high
    width = PANEL * len(plan["links"])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{depth + 8}" viewBox="0 0 {width} {depth + 8}" '
        'font-family="sans-serif" font-size="11">\n<rect width="100%" height="100%" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _seconds(row):
    if row is None:
        return None
    seconds = statistics.median(math.inf if value is None else value for value in row["seconds"])
    return seconds if math.isfinite(seconds) else None


def _bar(x, y, method, seconds, longest):
    title = method["title"].replace("`", "")
    parts = [f'<text x="{x + LABEL - 6}" y="{y + 11}" text-anchor="end">{title}</text>']
    if seconds is None:
        return [*parts, f'<text x="{x + LABEL}" y="{y + 11}" fill="#999">target not met</text>']
    wide = max(1.0, BAR * seconds / longest)
    parts.append(f'<rect x="{x + LABEL}" y="{y + 2}" width="{wide:.1f}" height="{ROW - 4}" fill="{COLORS[method["side"]]}"/>')
    parts.append(f'<text x="{x + LABEL + wide + 4:.1f}" y="{y + 11}">{seconds:.1f} s</text>')
    return parts
