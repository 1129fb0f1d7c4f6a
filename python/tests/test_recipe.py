"""Recipes, registries and errors."""

import copy
import pickle
import subprocess

import pytest

import sordino


def test_a_choice_is_made_by_keyword_by_dotted_key_and_by_dictionary():
    recipe = sordino.Recipe("qsr", {"schedule.base": 8}, compress="orq(9)", optim={"rate": 0.05, "clip": None})
    assert recipe["compress"] == "orq(levels=9)"
    assert recipe["schedule"] == "qsr(base=8)"
    assert recipe["optim.rate"] == 0.05 and recipe["optim.clip"] == "none"
    assert recipe["feedback.lambda"] is None
    recipe["feedback"] = "residual"
    recipe.set("feedback.lambda=0.5")
    assert recipe["feedback"] == "residual(lambda=0.5)"
    assert recipe.method == "qsr" and recipe.choices()["schedule"] == "qsr(base=8)"


def test_a_recipe_survives_toml_copies_and_pickling():
    recipe = sordino.Recipe("saef", compress="topk(0.05)")
    for other in (sordino.Recipe.from_toml(recipe.to_toml()), copy.copy(recipe), pickle.loads(pickle.dumps(recipe))):
        assert other == recipe and repr(other) == repr(recipe)
    assert recipe != sordino.Recipe("saef")
    assert repr(recipe) == "Recipe('saef', compress='topk(ratio=0.05)')"
    other = copy.copy(recipe)
    other["compress"] = "dense"
    assert recipe["compress"] == "topk(ratio=0.05)"


REFUSALS = [
    (lambda: sordino.Recipe("qsrr"), "unknown method `qsrr`; did you mean `qsr`?"),
    (lambda: sordino.Recipe("qsr", compres="orq"), "unknown axis `compres`; did you mean `compress`?"),
    (lambda: sordino.Recipe("qsr", compress="topp"), "did you mean `topk`?"),
    (lambda: sordino.Recipe("qsr", compress="topk(0.1"), "expected `,` or `)` at character 9"),
    (lambda: sordino.Recipe("qsr", compress=True), "None, but True came"),
    (lambda: sordino.Recipe("qsr", compress=0.1), "`compress` is an axis"),
    (lambda: sordino.Recipe("qsr", {"compress.bits": 3}), "unknown key"),
    (lambda: sordino.Recipe("qsr")["nothing"], "unknown axis `nothing`"),
    (lambda: sordino.Recipe.from_toml("method = 3 4"), "not a TOML recipe"),
    (lambda: sordino.compressor("orq(8)"), "compress = orq(levels=8)"),
    (lambda: sordino.schedule("sometimes"), "unknown element of `schedule` `sometimes`"),
    (lambda: sordino.explain("orqq"), "did you mean `orq`?"),
    (lambda: sordino.run("qsr", "digits-mpl"), "unknown task `digits-mpl`; did you mean `digits-mlp`?"),
    (lambda: sordino.run("qsr", workers=0), "`workers` is from 1 to"),
    (lambda: sordino.run("qsr", steps=3, epochs=1.0), "give one of them"),
    (lambda: sordino.problem("quadratic", workers=0), "at least one worker"),
]


@pytest.mark.parametrize("refused, sentence", REFUSALS)
def test_a_wrong_request_is_refused_with_a_cure(refused, sentence):
    with pytest.raises(sordino.RequestError) as told:
        refused()
    assert sentence in str(told.value)
    assert isinstance(told.value, ValueError) and isinstance(told.value, sordino.SordinoError)


def test_a_mix_that_makes_no_sense_is_refused_in_the_programs_words():
    recipe = sordino.Recipe("qsr", compress="topk(0.1)", exchange="reduce")
    with pytest.raises(sordino.RequestError, match="an all-reduce adds messages up on the way"):
        recipe.check()
    with pytest.raises(sordino.RequestError, match="an all-reduce adds messages up on the way"):
        sordino.run(recipe, "quadratic")


def test_every_row_is_a_method_with_its_recipe():
    methods = sordino.methods()
    names = [m.name for m in methods]
    assert names == sorted(names) and {"qsr", "saef", "diloco", "fedavg", "ef21"} <= set(names)
    for method in methods:
        assert method.about and method.paper
        assert sordino.Recipe.from_toml(method.toml) == sordino.Recipe(method.name)
        for axis, choice in method.recipe.items():
            assert sordino.Recipe(method.name, {axis: choice}) == sordino.Recipe(method.name)


def test_every_element_of_every_axis_is_listed_and_explained():
    axes = {axis.name: axis for axis in sordino.axes()}
    assert {"compress", "schedule", "task", "local.estimate"} <= set(axes)
    orq = next(choice for choice in axes["compress"].elements if choice.name == "orq")
    assert orq.keys["levels"] == "3" and "clip" in orq.keys
    for axis in axes.values():
        assert axis.name in sordino.explain(axis.name)
        for choice in axis.elements:
            assert choice.about in sordino.explain(choice.name)


def test_auto_follows_the_rate():
    recipe = sordino.Recipe("qsr")
    alphas = [recipe.resolve(rate=rate)["schedule.alpha"] for rate in (0.1, 0.2)]
    assert alphas[1] == pytest.approx(2 * alphas[0], rel=1e-5)
    assert recipe["schedule.alpha"] is None
    assert sordino.Recipe("qsr", optim="sgd(rate=0.2)").resolve()["schedule.alpha"] == alphas[1]


def test_what_needs_pytorch_is_not_imported_before_it_is_asked_for():
    import sys

    script = "import sordino, sys; sys.exit('torch' in sys.modules or not {'wrap', 'ddp_hook'} <= set(dir(sordino)))"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
    with pytest.raises(AttributeError, match="no attribute 'wrapp'"):
        sordino.wrapp
