"""Examples in documents do what they say, and the stubs name what there is."""

import ast
import doctest
import inspect
from pathlib import Path

import numpy
import pytest

import sordino
import sordino._sordino
import sordino.errors
import sordino.result

FLAGS = doctest.ELLIPSIS


def documented():
    for module in (sordino, sordino._sordino, sordino.errors, sordino.result):
        yield module.__name__, module
        for name, thing in vars(module).items():
            if name.startswith("__") or inspect.ismodule(thing):
                continue
            yield f"{module.__name__}.{name}", thing
            if isinstance(thing, type):
                for member, value in vars(thing).items():
                    yield f"{module.__name__}.{name}.{member}", value


EXAMPLES = {
    name: doc for name, thing in documented() if isinstance(doc := getattr(thing, "__doc__", None), str) and ">>>" in doc
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_does_what_it_says(name):
    names = {"sordino": sordino, "numpy": numpy, **vars(sordino.result)}
    test = doctest.DocTestParser().get_doctest(EXAMPLES[name], names, name, None, 0)
    found = doctest.DocTestRunner(optionflags=FLAGS).run(test)
    assert found.attempted > 0 and found.failed == 0


def test_there_are_examples_of_the_compiled_part():
    assert sum(name.startswith("sordino._sordino.") for name in EXAMPLES) >= 8


def test_the_guide_does_what_it_says():
    guide = Path(__file__).parents[2] / "docs" / "python.md"
    found = doctest.testfile(str(guide), module_relative=False, optionflags=FLAGS)
    assert found.attempted > 10 and found.failed == 0


def stub():
    return ast.parse((Path(sordino.__file__).parent / "_sordino.pyi").read_text())


def members(body):
    names = set()
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign):
            names.add(node.target.id)
    return {name for name in names if not name.startswith("__")}


def public(thing):
    return {name for name in dir(thing) if not name.startswith("__")}


def test_the_stub_names_all_that_there_is():
    tree = stub()
    assert members(tree.body) == public(sordino._sordino)
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    assert classes
    for name, node in classes.items():
        assert members(node.body) == public(getattr(sordino._sordino, name)), name


def test_the_stub_knows_arguments_and_leaves_nothing_open():
    tree = stub()
    text = ast.unparse(tree)
    assert "Incomplete" not in text
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            here = list(inspect.signature(getattr(sordino, node.name)).parameters)
            there = [a.arg for a in node.args.posonlyargs + node.args.args + node.args.kwonlyargs]
            assert here == there, node.name


def test_all_public_names_are_told():
    assert sorted(sordino.__all__) == sordino.__all__
    for name in sordino.__all__:
        assert getattr(sordino, name).__doc__, name
    compiled = public(sordino._sordino)
    assert compiled <= set(sordino.__all__)
    assert (Path(sordino.__file__).parent / "py.typed").exists()
