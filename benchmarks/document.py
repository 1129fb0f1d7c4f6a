"""docs/benchmarks.md, written from results.json and from nothing else."""

import math
import statistics

from chart import drawn

__all__ = ["goals", "text", "write"]

HEAD = """<!-- Written by benchmarks/run.py from benchmarks/results.json; do not edit. -->

# Against what people use today

Four workers, each a host of its own with one link, train the same PyTorch modules to the same target with what PyTorch
brings along and with Sordino. How long does that take on links of {links}, and how many bytes does a worker send?

```sh
cargo xtask python                     # an environment with torch and sordino
sudo python3 benchmarks/run.py         # Linux; it goes on where it was interrupted
```

{date}, {machine}; Linux {kernel}, Python {python}, torch {torch}, sordino {sordino}{commit}. All that is measured took {minutes:.0f} minutes.

## How it is measured

- Hosts are network namespaces that a bridge joins by veth links. A token bucket at both ends of every link holds its rate,
  both ways. There is no latency but what queues make.
- All four workers share {cores}, one thread each. Computing is therefore slower than on four machines, for
  everybody alike, and what a method computes beside training costs more here.
- What a network is, its data, batch, steps, target and rates stand in `benchmarks/plan.toml`, fixed before the first run. Two
  things of ours were changed after a partial one: orq remembers nothing, and what is evaluated is, for every method
  alike, the mean of all workers' parameters. Two rows of ours came after the first whole run, for what that had left to be
  wished for, and replace others: those whose words are late. Their outer step was chosen by single runs on these networks.
  Rates rise for a tenth of a run and then fall as a cosine.
- Every method has the same three peak rates (those of the optimizer it steps with) and three periods of its own. Where a
  method has no period it has three rates; PowerSGD has three ranks instead. Every case runs with one seed; what is soonest on
  a link, or leanest, runs with {seeds} seeds, and the median counts. A case is given up when another that talks no more was at the target
  by then.
- **Time to target** is the steps that a run makes until its evaluation meets the target, unshaped, times the seconds of a
  step on shaped links, over {pace} steps. Steps that talk and steps that do not are counted and timed apart, so that a
  schedule whose rounds grow counts as it is, and one period, the shortest, is enough to time them. Steps that take seconds in
  all are timed {passes} times, behind those of all other methods on that link, and the median counts. Evaluations cost
  nothing.
- **Ceiling** is (compute + talk) / compute: how much sooner than DDP in fp32 one could be that makes as many steps and never
  talks. Compute is a step of four workers that do not talk, timed with the other steps of that link, for the machine is shared
  and not always as fast; talk is what DDP's step takes longer.{spread}
- **Bytes** are those that the kernel counted on a worker's link.
"""


def write(results, path):
    """Writes the page, and the chart beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".svg").write_text(drawn(results))
    path.write_text(text(results, path.with_suffix(".svg").name))


def text(results, chart):
    """The page."""
    versions, plan = results["versions"], results["plan"]
    machine = results["machine"]
    parts = [
        HEAD.format(
            links=_listed([_link(link) for link in plan["links"]]),
            date=results["date"],
            machine=machine,
            kernel=versions["kernel"],
            python=versions["python"],
            torch=versions["torch"],
            sordino=versions["sordino"],
            commit=f" at {versions['commit']}" if versions["commit"] else "",
            minutes=results["minutes"],
            cores=machine.split(", ")[1],
            seeds=len(plan["seeds"]),
            pace=plan["pace"],
            passes=plan["passes"],
            spread=_spread(results["spread"]),
        ),
        f"\n![seconds to the target by link]({chart})\n",
        "\n## What was aimed at\n\n| goal | where | found | |\n|---|---|---|---|\n",
        *(f"| {what} | {where} | {found} | {'yes' if met else '**no**'} |\n" for what, where, found, met in goals(results)),
        "\nTimes are those of the soonest of ours. Bytes are judged, since the first whole run, by the case that sends least of those "
        "that are not later than the peer, in all of the grid; what the soonest sends is told beside it.\n",
    ]
    for name, network in results["networks"].items():
        parts += _network(plan, name, network)
    parts += _whole(results)
    parts += _wire(results)
    parts += _peers(results)
    return "".join(parts)


def _spread(spread):
    if spread is None:
        return ""
    return (
        f" The longest pass over the same steps took\n  {spread['median']:.2f} times as long as the shortest in the median, and "
        f"{spread['most']:.1f} times at most ({spread['of']})."
    )


def _network(plan, name, network):
    settings = plan["networks"][name]
    size = ", ".join(f"{key} {value}" for key, value in settings["settings"].items())
    unit = "correct" if settings["measure"] == "accuracy" else "nats a character"
    parts = [
        f"\n## {settings['module'].upper()} on {settings['data']}\n\n"
        f"{size}; batch {settings['batch']} a worker, {settings['steps']} steps at most, target {settings['target']} {unit}. "
        f"A step without any talk took {_listed([_milli(network['links'][link]['compute']) for link in plan['links']])} "
        "when the links were measured.\n",
        _head("seconds to target", plan["links"]),
    ]
    ceilings = [network["links"][link]["ceiling"] for link in plan["links"]]
    parts.append("| *ceiling over DDP, fp32* | " + " | ".join(_times(value) for value in ceilings) + " |\n")
    for method, row in network["methods"].items():
        cells = [_cell(row["links"].get(link), _dense(network, link)) for link in plan["links"]]
        parts.append(f"| {_title(plan, method)} | " + " | ".join(cells) + " |\n")
    parts.append("\nIn brackets: how many times sooner than DDP in fp32, period (or rank) and peak rate, steps.\n")
    parts.append(_head("bytes to target", plan["links"]))
    for method, row in network["methods"].items():
        cells = [_bytes(median(row["links"][link]["bytes"])) if link in row["links"] else "-" for link in plan["links"]]
        parts.append(f"| {_title(plan, method)} | " + " | ".join(cells) + " |\n")
    parts.append("\nSteps to target with the first seed, every case of the grid; a dash: not met, or given up.\n\n")
    parts.append("| method | period: steps at each rate |\n|---|---|\n")
    for method, row in network["methods"].items():
        periods = {}
        for case in sorted(row["grid"], key=lambda case: case["rate"]):
            periods.setdefault(case["period"], []).append(f"{case['steps']:.0f}" if case["steps"] is not None else "-")
        cells = [f"{period}: {', '.join(steps)}" for period, steps in periods.items()]
        parts.append(f"| {_title(plan, method)} | {'; '.join(cells)} |\n")
    return parts


def _head(first, links):
    """The head of a table with a column for each link."""
    return f"\n| {first} | " + " | ".join(_link(link) for link in links) + " |\n|---|" + "---|" * len(links) + "\n"


def _whole(results):
    where = results["plan"]["whole"]
    if not results["whole"]:
        return []
    parts = [
        f"\n## Whole runs\n\nOne shaped run of every method to the target, {where['network'].upper()} at "
        f"{_link(where['link'])}, beside the product of steps and seconds a step.\n\n"
        "| method | product | run | run / product |\n|---|---|---|---|\n"
    ]
    for method, row in results["whole"].items():
        title = _title(results["plan"], method)
        ratio = row["found"] / row["foretold"]
        parts.append(f"| {title} | {row['foretold']:.1f} s | {row['found']:.1f} s | {ratio:.2f} |\n")
    return parts


def _wire(results):
    plan = results["plan"]
    parts = [
        f"\n## Bytes, as the kernel and the ledger count them\n\nOver the shaped steps at {_link(plan['links'][0])}, the "
        "method's shortest period, the mean of four workers and the one that sends most. Frames carry 66 bytes of heads for "
        "1448 of load (1.046), each word of the fabric 8 of its own, and acknowledgements of what is heard come on top.\n\n"
        "| network | method | kernel | most | ledger | kernel / ledger |\n|---|---|---|---|---|---|\n"
    ]
    for name, network in results["networks"].items():
        for method, row in network["methods"].items():
            if row["wire"] is None:
                continue
            sent, ledger = row["wire"]["sent"], row["wire"]["ledger"]
            kernel = statistics.fmean(sent)
            told = "-" if ledger is None else _bytes(statistics.fmean(ledger))
            ratio = "-" if ledger is None else f"{kernel / max(1.0, statistics.fmean(ledger)):.3f}"
            parts.append(f"| {name} | {_title(plan, method)} | {_bytes(kernel)} | {_bytes(max(sent))} | {told} | {ratio} |\n")
    return parts


def _peers(results):
    parts = []
    if results["tried"]:
        parts.append(
            "\n## Tried\n\nInstalled beside the others and run on the same four hosts. What runs here and is not in the "
            "tables meets by the clock and not by steps: hivemind looks for company for 3 s at least.\n"
        )
        parts.append("\n| peer | version | runs on a processor | what it said |\n|---|---|---|---|\n")
        for peer in results["tried"]:
            said = peer["said"].replace("|", "\\|")
            parts.append(f"| {peer['name']} | {peer['version'] or '-'} | {'yes' if peer['runs'] else 'no'} | `{said}` |\n")
    if results["failed"]:
        parts.append("\n## Failed\n\nMeasurements that ended in an error.\n\n| measurement | error |\n|---|---|\n")
        parts += [f"| {what} | `{said[:200]}` |\n" for what, said in results["failed"].items()]
    return parts


def goals(results):
    """What was aimed at and what was found: (goal, where, found, whether it is met)."""
    plan, rows = results["plan"], []
    for name, network in results["networks"].items():
        for link in plan["links"]:
            ours, theirs = (best(plan, network, link, side) for side in ("ours", "theirs"))
            dense, top = _dense(network, link), network["links"][link]["ceiling"]
            where = f"{name}, {_link(link)}"
            if ours is None or theirs is None:
                rows.append(("both sides meet the target", where, "no", False))
                continue
            faster = theirs[0] / ours[0]
            if dense is not None and top is not None and link in ("10mbit", "100mbit"):
                share = dense / ours[0] / top
                rows.append(("0.9 of the ceiling over DDP", where, f"{share:.2f}", share >= 0.9))
            text_net = plan["networks"][name]["data"] != "fashion"
            need = 1.5 if link == "10mbit" and text_net else 1.0
            what = "1.5 times sooner than the best peer" if need > 1 else "never later than the best peer"
            rows.append((what, where, f"{faster:.2f} ({ours[2]} / {theirs[2]})", faster >= need))
            lean, fewer, found = network["links"][link]["leanest"], 0.0, "all are later"
            if lean is not None:
                seconds, sent = median(lean["seconds"]), median(lean["bytes"])
                fewer, sooner = theirs[1] / sent, theirs[0] / seconds
                case = f"{lean['method']}, period {lean['period']}, {sooner:.2f} times sooner"
                found = f"{fewer:.1f} ({case}); the soonest {theirs[1] / ours[1]:.1f}"
            rows.append(("5 times fewer bytes than it, and not later", where, found, fewer >= 5))
    return rows


def best(plan, network, link, side):
    """Seconds and bytes of the method of a side that is soonest on a link, and its name."""
    found = []
    for method, row in network["methods"].items():
        if plan["methods"][method]["side"] == side and link in row["links"]:
            seconds, sent = (median(row["links"][link][what]) for what in ("seconds", "bytes"))
            if math.isfinite(seconds):
                found.append((seconds, sent, method))
    return min(found, default=None)


def median(values):
    """The median over seeds; a seed that did not meet the target counts as never."""
    return statistics.median(math.inf if value is None else value for value in values)


def _dense(network, link):
    row = network["methods"].get("ddp", {"links": {}})["links"].get(link)
    return None if row is None else median(row["seconds"])


def _cell(row, dense):
    if row is None:
        return "-"
    seconds, steps = median(row["seconds"]), median(row["steps"])
    if not math.isfinite(seconds):
        return "not with most seeds"
    ratio = "" if dense is None or not math.isfinite(dense) else f"{dense / seconds:.1f}x; "
    return f"**{seconds:.1f}** ({ratio}{row['period']}, {row['rate']:g}, {steps:.0f})"


def _title(plan, method):
    return plan["methods"][method]["title"]


def _link(link):
    return link.replace("mbit", " Mbit/s").replace("gbit", " Gbit/s").replace("kbit", " kbit/s")


def _listed(words):
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def _milli(seconds):
    return "an unknown time" if seconds is None else f"{1e3 * seconds:.1f} ms"


def _times(value):
    return "-" if value is None else f"{value:.2f}x"


def _bytes(count):
    if not math.isfinite(count):
        return "-"
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count:.0f} B"
