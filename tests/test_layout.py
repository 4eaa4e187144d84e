"""The layout: imports point inward, structures are named in one place, modules and functions stay small."""

import ast
import io
import re
import tokenize
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from cases import NAMES

SOURCE = Path(__file__).parents[1] / "src" / "mixtura"
FILES = sorted(SOURCE.rglob("*.py"))
EVERY = pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(SOURCE).as_posix())

CORE = [
    "record",
    "moments",
    "family",
    "mixture",
    "covariance",
    "data",
    "room",
    "feed",
    "rows",
    "e_step",
    "gaps",
    "measure",
    "native",
    "missing",
    "pooled",
    "em",
    "stop",
    "start",
    "survey",
    "sound",
    "draws",
    "criteria",
    "relabel",
]
"""What a fit is made of; it knows nothing of estimators and what lies around them."""

FACE = [
    "estimator",
    "fitted",
    "published",
    "planned",
    "cells",
    "select",
    "fits",
    "fitting",
    "given",
    "grouped",
    "many",
    "impute",
    "inputs",
    "scoring",
    "reproduce",
    "watch",
    "apps",
    "scanpy",
]

DEFAULTS = {
    "estimator.py": {"covariance_type"},  # the signatures that users see
    "many.py": {"covariance_type"},
    "ratio.py": {"covariance_type"},
    "apps/": {"covariance", "default"},  # what a command does when it is told nothing
    "scanpy/": {"covariance_type", "modelNames"},
}
"""Where a structure's name may stand outside covariance/: as the default value of these parameters."""

LONG_FILES: dict[str, str] = {}
LONG_FUNCTIONS: dict[tuple[str, str], str] = {}
"""Exceptions to the sizes below, each with its reason."""

MOST_LINES, MOST_BODY = 300, 40


def name_of(path):
    """mixtura.a.b of a file."""
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in FILES}


def loaded(tree):
    """Modules of mixtura that are imported when this one is: not those imported inside a function."""
    found, waiting = set(), [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            whole = {f"{node.module}.{a.name}" for a in node.names}
            modules = {name if name in MODULES else node.module for name in whole}
            found |= modules
        waiting.extend(ast.iter_child_nodes(node))
    return {name for name in found if name in MODULES}


def parse(path):
    return ast.parse(path.read_text())


GRAPH = {name: loaded(parse(path)) - {name} for name, path in MODULES.items()}


def test_the_graph_is_seen():
    assert "mixtura.record" in GRAPH["mixtura.moments"]
    assert "mixtura.covariance.base" in GRAPH["mixtura.em"]
    assert len(GRAPH) > 20


def test_imports_have_no_cycle():
    tuple(TopologicalSorter(GRAPH).static_order())


def test_the_core_does_not_know_its_face():
    for name, needs in GRAPH.items():
        if name.split(".")[1:2] and name.split(".")[1] in CORE:
            outward = {n for n in needs if n.split(".")[1:2] and n.split(".")[1] in FACE}
            assert not outward, f"{name} imports {outward}"


def test_structures_and_sources_stand_alone():
    """A structure needs Record, the contract and the compiled M-step; a source needs nothing at all."""
    known = ("mixtura.record", "mixtura.native.eigen")
    for name, needs in GRAPH.items():
        if name.startswith("mixtura.covariance"):
            assert all(n.startswith("mixtura.covariance") or n in known for n in needs), (name, needs)
        if name.startswith("mixtura.data"):
            assert all(n.startswith("mixtura.data") for n in needs), (name, needs)


def test_apps_are_leaves():
    """So is what serves AnnData, which is made of both: nothing imports it."""
    outer = ("mixtura.apps", "mixtura.scanpy", "mixtura.__main__")
    for name, needs in GRAPH.items():
        if not name.startswith(outer):
            assert not any(n.startswith("mixtura.apps") for n in needs), f"{name} imports apps when it loads"
        if not name.startswith("mixtura.scanpy"):
            assert not any(n.startswith("mixtura.scanpy") for n in needs), f"{name} imports scanpy when it loads"


def test_the_package_itself_loads_nothing():
    assert GRAPH["mixtura"] == set()
    tree = parse(SOURCE / "__init__.py")
    top = [n for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom))]
    assert {getattr(n, "module", None) for n in top} <= {"importlib", "typing"}


# ---- names of structures


def docstrings(tree):
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return {
        id(n.body[0].value)
        for n in ast.walk(tree)
        if isinstance(n, holders) and n.body and isinstance(n.body[0], ast.Expr)
    }


def defaults(tree):
    """Constants that are default values, and of which parameter."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.Lambda)):
            a = node.args
            last = (a.posonlyargs + a.args)[-len(a.defaults) :] if a.defaults else []
            for arg, value in [*zip(last, a.defaults, strict=True), *zip(a.kwonlyargs, a.kw_defaults, strict=True)]:
                found[id(value)] = arg.arg
        elif isinstance(node, ast.keyword):
            found[id(node.value)] = node.arg
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[id(node.value)] = node.target.id
    return found


@EVERY
def test_structures_are_named_in_one_place(path):
    where = path.relative_to(SOURCE).as_posix()
    if where.startswith("covariance/"):
        return
    tree = parse(path)
    quiet, given = docstrings(tree), defaults(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value in NAMES and id(node) not in quiet:
            allowed = set().union(*(names for at, names in DEFAULTS.items() if where.startswith(at)))
            assert given.get(id(node)) in allowed, f"{where}:{node.lineno} names {node.value!r}"


@EVERY
def test_structures_are_known_by_their_contract(path):
    """Nothing outside covariance/ imports one of them, so nothing can ask which one it has."""
    if path.parent.name == "covariance":
        return
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.ImportFrom):
            taken = {a.name for a in node.names} & {"Full", "Diag", "Spherical", "Tied"}
            assert not taken, f"{path.name}:{node.lineno} imports {taken}"


# ---- sizes and docstrings


@EVERY
def test_a_module_begins_with_its_duty(path):
    text = ast.get_docstring(parse(path))
    assert text, "no docstring"
    first = text.split("\n\n")[0].replace("\n", " ")
    assert re.match(r"^[A-Z`].*\.$", first), f"not a sentence: {first}"
    # One sentence: no full stop inside, other than in a number, a name or an abbreviation.
    assert not re.search(r"[a-z)]\. [A-Z]", first), f"more than a sentence: {first}"


def code_lines(path):
    """Lines that hold code: neither blank, comment nor docstring."""
    text = path.read_text()
    tree = ast.parse(text)
    docs = set()
    for node in ast.walk(tree):
        # Also the strings under constants and attributes.
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            docs |= set(range(node.lineno, node.end_lineno + 1))
    skip = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    lines = {n for t in tokens if t.type not in skip for n in range(t.start[0], t.end[0] + 1)}
    return lines - docs


@EVERY
def test_files_are_a_screen_or_two(path):
    where = path.relative_to(SOURCE).as_posix()
    count = len(code_lines(path))
    assert (count <= MOST_LINES) != (where in LONG_FILES), f"{count} lines of code"


@EVERY
def test_functions_fit_on_a_screen(path):
    where = path.relative_to(SOURCE).as_posix()
    lines = code_lines(path)
    for node in ast.walk(parse(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            # The body: a signature that is long because it says much is not counted.
            body = [n for n in lines if node.body[0].lineno <= n <= node.end_lineno]
            fits = len(body) <= MOST_BODY
            assert fits != ((where, node.name) in LONG_FUNCTIONS), f"{node.name} has {len(body)} lines"


def test_suites_without_checks_of_shapes_exist():
    import conftest

    for name in conftest.UNCHECKED:
        assert (Path(__file__).parent / f"{name}.py").exists(), name


def test_exceptions_name_what_exists():
    for where in [*LONG_FILES, *(w for w, _ in LONG_FUNCTIONS), *DEFAULTS]:
        assert (SOURCE / where).exists(), f"{where} is gone: take its exception out"
