"""What is measured, in which order, and what is remembered of it.

Every measurement is a line of `measurements.jsonl` under a key of all it depends on, so a run that was interrupted goes
on where it was, and a plan that changed measures what changed.
"""

import json
import math
import statistics
import time

import results
from plan import Case, cap
from pool import Failure

__all__ = ["Bench"]

SHORT = 6.0
"""Shaped steps that take so many seconds in all are timed several times."""


class Bench:
    """All measurements of a plan."""

    def __init__(self, plan, pool, path, build):
        self.plan, self.pool, self.path, self.build = plan, pool, path, build
        self.known, self.failed, self.passes = {}, {}, {}
        if path.exists():
            for line in path.read_text().splitlines():
                row = json.loads(line)
                self.known[row["key"]] = row
        self.progress = Progress(plan)

    def run(self):
        """Everything, and what it came to: a list of what stands in results.json for every network."""
        paces = {network: self.paces(network) for network in self.plan.networks}
        reached = {network: self.reach(network, paces[network]) for network in self.plan.networks}
        return paces, reached, self.wholes(paces, reached)

    def minutes(self):
        """What all measurements took, those of earlier runs included."""
        return sum(seconds for group in self.progress.took.values() for seconds in group) / 60

    def measured(self, job, link, what):
        """One measurement, from memory if it is there. None where it failed; `failed` then says how."""
        key = self.plan.key(job, link, self.build)
        row = self.known.get(key)
        # A run that was given up early is not known as far as a longer one.
        if row is None or row.get("limit", 0) < job["limit"] and not row.get("ended"):
            began = time.monotonic()
            try:
                # Starting them is not a part of what is foretold of the others.
                self.pool.ready()
                began = time.monotonic()
                answers = self.pool.do(job, link)
            except Failure as failure:
                self.failed[what] = str(failure)
                self.progress.done(what, time.monotonic() - began)
                return None
            row = {"key": key, "what": what, "link": link, "limit": job["limit"], "wall": time.monotonic() - began}
            if job["purpose"] == "pace":
                row |= {"told": results.agree(answers), "ended": True}
            else:
                told = answers[0]
                row |= {"told": told, "ended": told["reached"] or sum(told["kinds"].values()) < job["limit"]}
            self.known[key] = row
            with self.path.open("a") as file:
                file.write(json.dumps(row) + "\n")
        self.progress.done(what, row["wall"])
        return row["told"]

    # --- seconds of a step -------------------------------------------------------------------------------------------

    def paces(self, network):
        """Steps of every method and period on every link: {(method, period, link): measured}. Those of workers that are alone
        are timed with those of each link, for a machine is not always as fast. What takes little is timed again behind
        all others, and the median counts."""
        found = {}
        for link in self.plan.links:
            timed = {}
            for again in range(self.plan.settings["passes"]):
                for method in ["alone", *self.plan.compared()]:
                    for paced in dict.fromkeys(self.plan.paced(method, period) for period in self.plan.periods(method)):
                        times = timed.setdefault((method, paced), [])
                        if again == 0 or times and times[0]["seconds"] <= SHORT:
                            times += self.timed(network, method, paced, link, again)
            for method in ["alone", *self.plan.compared()]:
                for period in self.plan.periods(method):
                    times = sorted(timed[method, self.plan.paced(method, period)], key=results.pace)
                    found[method, period, link] = times[len(times) // 2] if times else None
        return found

    def timed(self, network, method, period, link, again):
        """One pass over the steps of a case: what was measured, in a list; nothing where that failed."""
        case = Case(network, method, len(self.plan.rates(network, method)) // 2, period)
        job = self.plan.job(case, "pace", self.plan.seeds[0])
        if again > 0:
            job["again"] = again
        what = f"steps of {network}/{method}/period {period} at {link}"
        told = self.measured(job, link, what)
        if told is None:
            return []
        self.passes.setdefault(what, []).append(told["seconds"])
        return [told]

    # --- steps to the target -----------------------------------------------------------------------------------------

    def reach(self, network, paces):
        """Runs to the target: {case: {seed: kinds or None}}. All of the grid with the first seed; with the others what
        came out soonest on some link, or leanest."""
        found = {}
        for method in self.plan.compared():
            grid, steps = self.plan.grid(network, method), {}
            for case in grid:
                run = self.to_target(case, self.plan.seeds[0], cap(case, steps, grid))
                found[case] = {self.plan.seeds[0]: run}
                steps[case] = None if run is None else sum(run.values())
            for case in self.chosen(network, method, {case: found[case] for case in grid}, paces).values():
                self.repeat(case, found)
        for link in self.plan.links:
            self.leanest(network, link, found, paces)
        return found

    def repeat(self, case, found):
        """Runs a case with the other seeds as well."""
        for seed in self.plan.seeds[1:]:
            if seed not in found[case]:
                found[case][seed] = self.to_target(case, seed)

    def leanest(self, network, link, found, paces):
        """The case of ours that sends least of those that are not later than the best peer, on one link, every seed counted;
        none if all are later."""
        ours = set(self.plan.compared("ours"))
        peers = (case for case, runs in found.items() if case.method not in ours and len(runs) == len(self.plan.seeds))
        limit = min((self.median(case, found, paces, link) for case in peers), default=None)
        if limit is None:
            return None
        first, sent = self.plan.seeds[0], {}
        for case, runs in found.items():
            measured = paces[case.method, case.period, link]
            if case.method in ours and measured is not None and results.seconds_of(runs[first], measured) <= limit:
                sent[case] = results.bytes_of(runs[first], measured)
        for case in sorted(sent, key=sent.get):
            self.repeat(case, found)
            if self.median(case, found, paces, link) <= limit:
                return case
        return None

    def median(self, case, found, paces, link):
        """The median over seeds of the time to target; a seed that did not meet it counts as never."""
        measured = paces[case.method, case.period, link]
        if measured is None:
            return math.inf
        return statistics.median(results.seconds_of(found[case][seed], measured) for seed in self.plan.seeds)

    def to_target(self, case, seed, most=None):
        """Steps of every kind that a run makes to the target; none if it does not meet it, or only after `most` steps."""
        network = self.plan.networks[case.network]
        limit = None
        if most is not None:
            limit = min(network["steps"], -(-int(most + 1) // network["every"]) * network["every"])
        job = self.plan.job(case, "reach", seed, limit)
        run = self.measured(job, None, f"run of {case}/seed {seed}")
        return None if run is None else results.spent(run, network["target"], network["measure"])

    def chosen(self, network, method, grid, paces):
        """The case that is soonest with the first seed, for every link."""
        seed, found = self.plan.seeds[0], {}
        for link in self.plan.links:
            times = {}
            for case, runs in grid.items():
                measured = paces[method, case.period, link]
                if measured is not None and runs[seed] is not None:
                    times[case] = results.seconds_of(runs[seed], measured)
            if times:
                found[link] = min(times, key=times.get)
        return found

    # --- whole runs --------------------------------------------------------------------------------------------------

    def wholes(self, paces, reached):
        """One shaped run of every method, with the case that is best there: seconds foretold and seconds found."""
        network, link = self.plan.whole["network"], self.plan.whole["link"]
        target, measure = (self.plan.networks[network][key] for key in ("target", "measure"))
        found = {}
        for method in self.plan.compared():
            grid = {case: runs for case, runs in reached[network].items() if case.method == method}
            case = self.chosen(network, method, grid, paces[network]).get(link)
            if case is None:
                continue
            seed = self.plan.seeds[0]
            job = self.plan.job(case, "reach", seed)
            run = self.measured(job, link, f"whole run of {case} at {link}")
            kinds = None if run is None else results.spent(run, target, measure)
            if kinds is not None:
                foretold = results.seconds_of(grid[case][seed], paces[network][method, case.period, link])
                share = sum(kinds.values()) / sum(run["kinds"].values())
                found[method] = {"foretold": foretold, "found": run["seconds"] * share, "steps": sum(kinds.values())}
        return found


class Progress:
    """Says what was done and how long the rest may take."""

    def __init__(self, plan):
        self.began, self.took, self.left = time.monotonic(), {}, {}
        networks, compared = list(plan.networks), plan.compared()
        for network in networks:
            for link in plan.links:
                paced = [{plan.paced(method, period) for period in plan.periods(method)} for method in compared]
                # Ours are mostly short, theirs are not.
                again = (plan.settings["passes"] - 1) * (1 + len(plan.compared("ours")))
                self.left["steps", network, link] = 1 + sum(len(periods) for periods in paced) + again
            grid = sum(len(plan.grid(network, method)) for method in compared)
            # Methods mostly have one or two cases that are best somewhere.
            self.left["run", network, None] = grid + int(1.5 * (len(plan.seeds) - 1) * len(compared))
        self.left["whole", plan.whole["network"], None] = len(compared)

    def done(self, what, seconds):
        kind, network = what.split()[0], what.split(" of ")[1].split("/")[0]
        group = (kind, network, what.split(" at ")[1] if kind == "steps" else None)
        self.left[group] = max(0, self.left.get(group, 0) - 1)
        self.took.setdefault(group, []).append(seconds)
        overall = [took for group in self.took.values() for took in group]
        mean = sum(overall) / len(overall)
        left = 0.0
        for group, count in self.left.items():
            rows = self.took.get(group) or [t for other, rows in self.took.items() if other[0] == group[0] for t in rows]
            left += count * (sum(rows) / len(rows) if rows else mean)
        minutes = (time.monotonic() - self.began) / 60
        print(f"{minutes:5.1f} min  about {left / 60:.0f} left  {seconds:5.1f} s  {what}", flush=True)
