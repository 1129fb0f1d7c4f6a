"""The plan: what is compared, as plan.toml says, and the jobs that it comes to."""

import hashlib
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Case", "Plan", "cap", "quick", "read"]

HERE = Path(__file__).parent
MEASURES = {"accuracy": max, "loss": min}


@dataclass(frozen=True)
class Case:
    """One method on one network with one rate and one period: a point of the grid. `rate` counts the network's rates."""

    network: str
    method: str
    rate: int
    period: int

    def __str__(self):
        return f"{self.network}/{self.method}/period {self.period}/rate {self.rate}"


class Plan:
    """A plan that has been checked."""

    def __init__(self, settings):
        self.settings = settings
        self.links, self.workers, self.seeds = settings["links"], settings["workers"], settings["seeds"]
        self.networks, self.methods, self.whole = settings["networks"], settings["methods"], settings["whole"]
        for name, network in self.networks.items():
            if network["measure"] not in MEASURES:
                raise ValueError(f"network `{name}` is measured by `{network['measure']}`: expected accuracy or loss")
            for method in self.methods:
                optimizer = self.optimizer(name, method)
                if optimizer not in network["rates"]:
                    raise ValueError(f"network `{name}` has no rates for `{optimizer}`, which `{method}` steps with")
        for what, known in (("network", self.networks), ("link", self.links)):
            if self.whole[what] not in known:
                raise ValueError(f"whole runs are on the {what} `{self.whole[what]}`, which the plan does not have")

    def optimizer(self, network, method):
        """What steps inside: the network's optimizer, unless the method is about another."""
        return self.methods[method].get("optimizer", self.networks[network]["optimizer"])

    def compared(self, side=None):
        """The methods that are compared, of one side or of both."""
        sides = ("theirs", "ours") if side is None else (side,)
        return [name for name, method in self.methods.items() if method["side"] in sides]

    def periods(self, method):
        """Its periods, from what talks least to what talks most. A method without any has the period 1."""
        return self.methods[method]["periods"] or [1]

    def paced(self, method, period):
        """The period that shaped steps are timed with: the shortest, for a step of a kind takes as long with any. The ranks of
        PowerSGD are no periods: each is timed."""
        return period if self.methods[method]["family"] == "parallel" else min(self.periods(method))

    def rates(self, network, method):
        """The peak rates of its grid."""
        return self.networks[network]["rates"][self.optimizer(network, method)]

    def grid(self, network, method):
        """The cases of a method on a network, from what talks least to what talks most, the middle rate first."""
        count = len(self.rates(network, method))
        rates = sorted(range(count), key=lambda rate: abs(rate - count // 2))
        return [Case(network, method, rate, period) for period in self.periods(method) for rate in rates]

    def job(self, case, purpose, seed=0, limit=None):
        """What the workers are told: `pace` for shaped steps, `reach` for a run to the target."""
        network, method = self.networks[case.network], self.methods[case.method]
        steps = network["steps"]
        warmup = int(self.settings["warmup"] * steps)
        paced = max(self.settings["pace"], 2 * case.period if method.get("family") != "parallel" else 0)
        early = method.get("early", 0)
        if early:
            # Shaped steps see both what a run begins with and what it goes on with; a run begins with a share of it.
            early = self.settings["pace"] // 5 if purpose == "pace" else int(early * steps)
        return {
            "network": network,
            "method": method,
            "optimizer": self.optimizer(case.network, case.method),
            "rate": self.rates(case.network, case.method)[case.rate],
            "period": case.period,
            "purpose": purpose,
            "seed": seed,
            "steps": steps,
            "warmup": warmup,
            "early": early,
            "limit": limit or (min(paced + early, steps - 2) if purpose == "pace" else steps),
        }

    def key(self, job, link, build):
        """What a measurement is known by: everything that it depends on, the library's build included."""
        known = {k: v for k, v in job.items() if k != "limit" or job["purpose"] == "pace"}
        known["network"] = {k: v for k, v in job["network"].items() if k != "rates"}
        known["method"] = {k: v for k, v in job["method"].items() if k not in ("title", "side", "periods")}
        told = [known, link, build if job["method"]["family"] == "sordino" else None]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def read(path=HERE / "plan.toml"):
    """The plan of a file."""
    return Plan(tomllib.loads(path.read_text()))


def quick(plan):
    """The same plan in a few minutes: everything is done once and nothing for long. Its numbers mean nothing."""
    settings = json.loads(json.dumps(plan.settings))
    settings |= {"links": settings["links"][-2:-1], "seeds": settings["seeds"][:1], "pace": 10, "passes": 1}
    settings["whole"]["link"] = settings["links"][0]
    for network in settings["networks"].values():
        network |= {"steps": 20, "every": 10, "target": 0.2 if network["measure"] == "accuracy" else 3.6}
        network["rates"] = {name: rates[1:2] for name, rates in network["rates"].items()}
    for method in settings["methods"].values():
        method["periods"] = method["periods"][-1:]
    return Plan(settings)


def cap(case, reached, grid):
    """How many steps a case is worth: as many as the best that talks no more than it has needed to the target.

    With more it would be later on every link, so nothing is lost by giving it up. `reached` maps cases to steps.
    """
    order = [period for period in dict.fromkeys(other.period for other in grid)]
    ahead = set(order[: order.index(case.period) + 1])
    known = [steps for other, steps in reached.items() if other.period in ahead and steps is not None]
    return min(known, default=None)
