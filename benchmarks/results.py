"""From measurements to times: the arithmetic, and nothing else."""

import math
import statistics

__all__ = ["agree", "bytes_of", "ceiling", "crossing", "pace", "seconds_of", "spent", "spread"]


def crossing(curve, target, measure):
    """The step at which a curve meets the target, between two evaluations on the straight line; none if it never does.

    A curve is rows of a step and what was measured there, and perhaps more.
    """
    sign = 1 if measure == "accuracy" else -1
    before = None
    for step, found, *_ in curve:
        if sign * (found - target) >= 0:
            if before is None or before[1] == found:
                return float(step)
            share = (target - before[1]) / (found - before[1])
            return before[0] + share * (step - before[0])
        before = (step, found)
    return None


def agree(answers):
    """What four workers measured, as one: means over the workers, the sums of bytes beside them."""
    kinds = {}
    for kind in answers[0]["kinds"]:
        rows = [answer["kinds"][kind] for answer in answers]
        count = rows[0]["count"]
        kinds[kind] = {
            "count": count,
            "seconds": statistics.fmean(row["seconds"] for row in rows) / count,
            "sent": statistics.fmean(row["sent"] for row in rows) / count,
        }
    ledgers = [answer["ledger"] for answer in answers]
    return {
        "kinds": kinds,
        "seconds": statistics.fmean(answer["seconds"] for answer in answers),
        "sent": [answer["sent"] for answer in answers],
        "ledger": None if None in ledgers else ledgers,
    }


def pace(measured):
    """Seconds of a step over all that were measured."""
    return measured["seconds"] / sum(row["count"] for row in measured["kinds"].values())


def spread(passes):
    """How many times as long the longest pass over the same steps took as the shortest: the median over all steps that were
    timed more than once, the most, and of which that is. `passes` has the seconds of every pass by what was timed."""
    found = {what: max(times) / min(times) for what, times in passes.items() if len(times) > 1}
    if not found:
        return None
    worst = max(found, key=found.get)
    return {"median": statistics.median(found.values()), "most": found[worst], "of": worst}


def spent(run, target, measure):
    """How many steps of every kind a run made until the target; none if it never met it."""
    steps = crossing(run["curve"], target, measure)
    if steps is None:
        return None
    made = sum(run["kinds"].values())
    return {kind: count * steps / made for kind, count in run["kinds"].items()}


def _over(kinds, measured, what):
    """Steps of every kind times what one takes. A kind that the shaped steps did not see counts as their mean."""
    rows = measured["kinds"]
    mean = sum(row[what] * row["count"] for row in rows.values()) / sum(row["count"] for row in rows.values())
    return sum(count * rows[kind][what] if kind in rows else count * mean for kind, count in kinds.items())


def seconds_of(kinds, measured):
    """Time to target: steps of every kind times the seconds of one. Infinite where the target was not met."""
    return math.inf if kinds is None else _over(kinds, measured, "seconds")


def bytes_of(kinds, measured):
    """Bytes that a worker sends until the target, on average over the workers."""
    return math.inf if kinds is None else _over(kinds, measured, "sent")


def ceiling(alone, dense):
    """(compute + talk) / compute: how much sooner one could be that makes the same steps and never talks.

    Talk is what a step of `dense` takes longer than one of `alone`, whatever hides behind the computing.
    """
    return max(1.0, pace(dense) / pace(alone))
