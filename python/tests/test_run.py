"""Whole runs on the library's own tasks."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy
import pytest

import sordino


def test_the_same_choices_and_seed_give_the_same_bits_and_others_do_not():
    def model(**more):
        ran = sordino.run("local-sgd", "mushrooms-logistic", **{"workers": 2, "steps": 20, **more})
        return b"".join(x.tobytes() for x in ran.model.values())

    assert model() == model() != model(seed=1)
    assert model() != model(workers=3)


def test_a_result_holds_arrays_and_shows_curves(tmp_path):
    recipe = sordino.Recipe("qsr", compress="orq(9)", feedback="residual")
    ran = sordino.run(recipe, "mushrooms-logistic", workers=2, steps=100, out=tmp_path / "run")
    assert ran.summary["method"] == "qsr" and ran.summary["task"] == "mushrooms-logistic"
    assert ran.points["accuracy"][-1] == ran.summary["accuracy"] > 0.5
    assert ran.points["train_loss"].dtype == numpy.float64 and len(ran.points["step"]) > 2
    assert ran.model and all(x.dtype == numpy.float32 for x in ran.model.values())
    assert sum(x.size for x in ran.model.values()) == ran.summary["parameters"]
    assert ran.recipe["compress"] == "orq(levels=9)" and ran.recipe["optim.rate"] > 0
    assert os.path.getsize(ran.report) > 10_000
    shown = ran._repr_html_()
    assert shown.count("<svg") == 2 and "held-out loss" in shown and "report.html" in shown
    with pytest.raises(sordino.RequestError, match="already holds a run"):
        sordino.run(recipe, "mushrooms-logistic", out=tmp_path / "run")


def test_a_custom_recipe_runs_under_its_own_name():
    recipe = sordino.Recipe("custom", schedule="constant(2)", optim={"rate": 0.1})
    ran = sordino.run(recipe, "quadratic", workers=2, steps=8)
    assert ran.summary["method"] == "custom" and ran.summary["rounds"] == 4


def test_a_run_that_diverges_is_a_finding():
    ran = sordino.run(sordino.Recipe("sync-sgd", optim={"rate": 1e6}), "quadratic", workers=2, steps=100)
    assert ran.summary["diverged"] and "diverged" in repr(ran)
    assert "<figure" in ran._repr_html_()


def test_other_threads_of_python_go_on_while_a_run_runs():
    ticks, done = [], threading.Event()

    def tick():
        while not done.wait(0.005):
            ticks.append(time.monotonic())

    thread = threading.Thread(target=tick)
    thread.start()
    sordino.run("sync-sgd", "mushrooms-logistic", workers=2, steps=500)
    done.set()
    thread.join()
    assert len(ticks) > 5


def test_a_run_that_is_not_quiet_tells_of_its_points(capsys):
    sordino.run("sync-sgd", "quadratic", workers=1, steps=4, eval_every=2, quiet=False)
    assert capsys.readouterr().out.count("round ") == 2


@pytest.mark.skipif(sys.platform == "win32", reason="signals are Unix's")
def test_ctrl_c_ends_a_run_after_its_round():
    script = "import sordino; print('begun', flush=True); sordino.run('sync-sgd', 'quadratic', workers=2, steps=10**7)"
    # Whoever runs the tests in the background may have told them to ignore it.
    heeds = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    run = subprocess.Popen([sys.executable, "-c", script], **pipes, **heeds)
    assert run.stdout.readline() == "begun\n"
    time.sleep(0.5)
    run.send_signal(signal.SIGINT)
    _, told = run.communicate(timeout=60)
    assert run.returncode != 0 and told.rstrip().endswith("KeyboardInterrupt")
