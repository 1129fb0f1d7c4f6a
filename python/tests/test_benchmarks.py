"""The benchmark's arithmetic, plan and page; measuring needs root and an hour and is not for here."""

import json
import math
import sys
from pathlib import Path

import pytest

pytest.importorskip("tomllib")
HERE = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(HERE))

import document  # noqa: E402
import hosts  # noqa: E402
import plan as plans  # noqa: E402
import results  # noqa: E402
import tried  # noqa: E402
from measure import Bench  # noqa: E402
from plan import Case  # noqa: E402


def test_the_plan_is_whole_and_every_method_has_the_same_grid():
    plan = plans.read()
    for network in plan.networks:
        for method in plan.compared():
            grid = plan.grid(network, method)
            assert len(grid) == 3 * len(plan.periods(method)) and len(plan.periods(method)) in (1, 3)
            assert len(plan.rates(network, method)) == 3
            # What talks least comes first, for `cap`.
            periods = plan.periods(method)
            assert sorted(periods, reverse=plan.methods[method].get("hook") != "powersgd") == periods


def test_steps_are_timed_once_where_their_seconds_do_not_depend_on_the_period():
    plan = plans.read()
    assert [plan.paced("qsr", period) for period in plan.periods("qsr")] == [4, 4, 4]
    assert [plan.paced("powersgd", rank) for rank in plan.periods("powersgd")] == [1, 2, 4]


def test_a_plan_that_contradicts_itself_is_refused():
    settings = json.loads(json.dumps(plans.read().settings))
    settings["networks"]["cnn"]["measure"] = "speed"
    with pytest.raises(ValueError, match="measured by `speed`"):
        plans.Plan(settings)
    settings = json.loads(json.dumps(plans.read().settings))
    settings["networks"]["lstm"]["optimizer"] = "rprop"
    with pytest.raises(ValueError, match="no rates for `rprop`"):
        plans.Plan(settings)


def test_a_key_knows_all_that_a_measurement_depends_on_and_nothing_else():
    plan = plans.read()
    case = Case("lstm", "qsr", 1, 16)
    job = plan.job(case, "reach", seed=0)
    key = plan.key(job, None, "build")
    assert key == plan.key(plan.job(case, "reach", seed=0, limit=40), None, "build")
    assert key != plan.key(plan.job(case, "reach", seed=1), None, "build")
    assert key != plan.key(job, "10mbit", "build") and key != plan.key(job, None, "another build")
    theirs = plan.job(Case("lstm", "ddp", 1, 1), "pace")
    assert plan.key(theirs, None, "build") == plan.key(theirs, None, "another build")


def test_a_curve_meets_its_target_between_two_evaluations():
    assert results.crossing([[10, 3.0], [20, 2.0], [30, 1.0]], 1.5, "loss") == 25
    assert results.crossing([[10, 0.5], [20, 0.7]], 0.6, "accuracy") == pytest.approx(15)
    assert results.crossing([[10, 0.9]], 0.6, "accuracy") == 10
    assert results.crossing([[10, 3.0], [20, 2.0]], 1.5, "loss") is None
    assert results.crossing([[10, math.nan]], 1.5, "loss") is None


def answer(sent):
    kinds = {"local": {"count": 8, "seconds": 0.8, "sent": 0}, "meet": {"count": 2, "seconds": 1.0, "sent": sent}}
    return {"kinds": kinds, "seconds": 1.8, "sent": sent, "ledger": sent - 10}


def test_time_to_target_is_steps_of_every_kind_times_their_seconds():
    measured = results.agree([answer(100), answer(300)])
    assert results.pace(measured) == pytest.approx(0.18)
    run = {"curve": [[50, 2.0], [100, 1.0]], "kinds": {"local": 90, "meet": 10}}
    kinds = results.spent(run, 1.5, "loss")
    assert kinds == {"local": 67.5, "meet": 7.5}
    assert results.seconds_of(kinds, measured) == pytest.approx(67.5 * 0.1 + 7.5 * 0.5)
    assert results.bytes_of(kinds, measured) == pytest.approx(7.5 * 100)
    assert results.seconds_of(None, measured) == math.inf
    # A kind that the shaped steps did not see counts as their mean.
    assert results.seconds_of({"sync": 10}, measured) == pytest.approx(1.8)


def test_the_ceiling_is_what_steps_without_talk_would_gain():
    alone = {"kinds": {"local": {"count": 10, "seconds": 0.1}}, "seconds": 1.0}
    dense = {"kinds": {"sync": {"count": 10, "seconds": 0.5}}, "seconds": 5.0}
    assert results.ceiling(alone, dense) == pytest.approx(5)
    assert results.ceiling(dense, alone) == 1


def test_a_case_is_worth_no_more_steps_than_one_that_talks_no_more():
    grid = [Case("cnn", "qsr", rate, period) for period in (48, 16, 4) for rate in (1, 0, 2)]
    reached = {grid[0]: 200.0, grid[1]: None, grid[3]: 150.0}
    assert plans.cap(grid[2], reached, grid) == 200
    assert plans.cap(grid[4], reached, grid) == 150
    assert plans.cap(grid[6], reached, grid) == 150
    # What talks less may need more steps and be sooner all the same.
    assert plans.cap(grid[2], {grid[3]: 150.0}, grid) is None


def test_the_leanest_is_the_case_that_sends_least_and_is_not_later_with_most_seeds(tmp_path):
    plan = plans.read()
    bench, link = Bench(plan, None, tmp_path / "measurements.jsonl", "build"), plan.links[0]
    step = {"count": 1, "seconds": 1.0, "sent": 0.0}
    measured = {"kinds": {"local": step, "meet": step | {"sent": 10.0}}, "seconds": 2.0}
    paces = {(method, period, link): measured for method in ("ddp", "qsr") for period in (1, 48, 16, 4)}
    peer, far, near, often = Case("cnn", "ddp", 1, 1), *(Case("cnn", "qsr", 1, period) for period in (48, 16, 4))
    found = {
        peer: {seed: {"meet": 100.0} for seed in plan.seeds},
        far: {0: {"local": 97.0, "meet": 2.0}},
        near: {0: {"local": 84.0, "meet": 6.0}},
        often: {0: {"local": 60.0, "meet": 20.0}},
    }
    others = {far: None, near: {"local": 93.0, "meet": 6.0}}
    bench.to_target = lambda case, seed: others[case]
    # What sends least is too late with the other seeds; what sends most is soonest, and needs no more of them.
    assert bench.leanest("cnn", link, found, paces) == near
    assert set(found[far]) == set(plan.seeds) and set(found[often]) == {0}
    others[near] = None
    found = {peer: found[peer], near: {0: found[near][0]}}
    assert bench.leanest("cnn", link, found, paces) is None


def test_short_steps_are_timed_in_every_pass_and_the_median_counts(tmp_path):
    plan = plans.read()
    plan.links, plan.methods = plan.links[:1], {name: plan.methods[name] for name in ("alone", "ddp", "qsr")}
    bench, seen = Bench(plan, None, tmp_path / "measurements.jsonl", "build"), []
    seconds = {("alone", 0): 1.0, ("alone", 1): 3.0, ("alone", 2): 2.0, ("ddp", 0): 60.0, ("qsr", 0): 5.0, ("qsr", 1): 4.0}

    def measured(job, link, what):
        told = next(name for name, method in plan.methods.items() if method == job["method"])
        seen.append((told, job.get("again", 0)))
        spent = seconds.get(seen[-1])
        return None if spent is None else {"kinds": {"local": {"count": 10}}, "seconds": spent}

    bench.measured = measured
    found = bench.paces("cnn")
    assert seen == [("alone", 0), ("ddp", 0), ("qsr", 0), ("alone", 1), ("qsr", 1), ("alone", 2), ("qsr", 2)]
    assert found["alone", 1, plan.links[0]]["seconds"] == 2.0
    assert found["qsr", 48, plan.links[0]]["seconds"] == 5.0  # of the two that there are, the longer
    alone = f"steps of cnn/alone/period 1 at {plan.links[0]}"
    assert results.spread(bench.passes) == {"median": 2.125, "most": 3.0, "of": alone}
    assert results.spread({alone: [1.0]}) is None


def test_links_are_read_and_buckets_hold_no_message():
    assert hosts.rate_of("10mbit") == 1e7 and hosts.rate_of("1gbit") == 1e9
    assert hosts.bucket("10mbit") == 3200 and hosts.bucket("1gbit") == 125000
    with pytest.raises(ValueError, match="no rate of a link"):
        hosts.rate_of("fast")


def test_last_words_are_the_error():
    said = "a warning\n[rank0]: ModuleNotFoundError: No module named 'cupy'\nmore\n"
    assert tried.last_words(said) == "ModuleNotFoundError: No module named 'cupy'"
    assert tried.last_words("loss 2\n") == "loss 2" and tried.last_words("") == "nothing"


def found():
    """Results of two methods on the quick plan's networks."""
    plan = plans.quick(plans.read())
    link = plan.links[0]

    def row(seconds, sent):
        case = {"period": 4, "rate": 0.1, "steps": [20.0], "step": 0.1, "seconds": [seconds], "bytes": [sent]}
        grid = [{"period": 4, "rate": 0.1, "steps": 20.0}, {"period": 4, "rate": 0.2, "steps": None}]
        return {"links": {link: case}, "grid": grid, "wire": {"period": 4, "sent": [110, 130], "ledger": [100, 120]}}

    lost = {"links": {}, "grid": [{"period": 4, "rate": 0.1, "steps": None}], "wire": None}
    network = {
        "links": {link: {"compute": 0.05, "ceiling": 4.0, "leanest": row(20.0, 5e5)["links"][link] | {"method": "saef"}}},
        "methods": {"ddp": row(40.0, 6e6), "qsr": row(10.0, 1e6), "celgc": lost},
    }
    return {
        "date": "2030-01-01",
        "minutes": 1.0,
        "spread": {"median": 1.25, "most": 2.0, "of": "steps of x"},
        "machine": "a processor, 2 cores, 4 GiB",
        "versions": {"kernel": "6", "python": "3", "torch": "2", "sordino": "0", "commit": None},
        "plan": plan.settings,
        "networks": {name: network for name in plan.networks},
        "whole": {"qsr": {"foretold": 10.0, "found": 11.0, "steps": 20.0}},
        "failed": {"steps of x": "RuntimeError: no"},
        "tried": [{"name": "peer", "version": None, "runs": False, "said": "ImportError: a | b"}],
    }


def test_the_page_shows_what_wins_and_what_loses(tmp_path):
    told = json.loads(json.dumps(found()))
    document.write(told, tmp_path / "benchmarks.md")
    page = (tmp_path / "benchmarks.md").read_text()
    assert "| `qsr` | **10.0** (4.0x; 4, 0.1, 20) |" in page and "| `celgc` | - |" in page
    assert "| *ceiling over DDP, fp32* | 4.00x |" in page
    assert "| 0.9 of the ceiling over DDP | lstm, 100 Mbit/s | 1.00 | yes |" in page
    assert "| lstm, 100 Mbit/s | 12.0 (saef, period 4, 2.00 times sooner); the soonest 6.0 | yes |" in page
    assert "| `qsr` | 10.0 s | 11.0 s | 1.10 |" in page
    assert "`ImportError: a \\| b`" in page and "RuntimeError: no" in page
    assert "1.25 times as long as the shortest in the median, and 2.0 times at most (steps of x)." in page
    assert "kernel / ledger" in page and "| 1.091 |" in page
    picture = (tmp_path / "benchmarks.svg").read_text()
    assert picture.startswith("<svg") and "10.0 s" in picture and "target not met" in picture


def test_a_goal_that_is_missed_is_told():
    told = found()
    for network in told["networks"].values():
        network["methods"]["qsr"]["links"]["100mbit"] |= {"seconds": [50.0], "bytes": [5e6]}
        network["links"]["100mbit"]["leanest"] = None
    rows = document.goals(told)
    assert rows and not any(met for *_, met in rows)
