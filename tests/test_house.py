"""The limits of the house style, measured on the tree: what is not tested is not kept.

Sizes, complexity, nesting, the direction of imports, where JAX may be imported, what may never be called, docstrings.
Every test names all offenders at once. `python tests/test_house.py` also lists what is within the limit of nesting
but over the depth that we aim for.
"""

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FUNCTION_LINES, FILE_LINES, COMPLEXITY, NESTING, NESTING_AIM = 40, 300, 10, 3, 2

# Lowest first: a module imports only from its own layer and from those before it.
LAYERS = ("errors", "_registry", "_collecting", "_lazy", "_planfile", "_planparts", "costmodel", "ir", "passes")
LAYERS += ("solver", "search", "estimate", "plan", "runtime", "api", "validation", "views", "__init__", "demo", "cli")
LAYERS += ("__main__",)
# Plans and estimates draw themselves, a plan gives its shardings as JAX objects: imported within the functions that do.
LAZY_UPWARD = {("plan", "views"), ("plan", "runtime"), ("estimate", "views")}

JAX_FAMILY = {"jax", "jaxlib", "flax", "optax", "orbax", "grain", "equinox", "haiku", "jraph"}
JAX_ALLOWED = ("swplan/ir/reader.py", "swplan/ir/folding.py", "swplan/ir/_jax_shim.py", "swplan/ir/ops")
JAX_ALLOWED += ("swplan/runtime", "swplan/api.py")
JAX_NEVER = ("swplan/costmodel", "swplan/search", "swplan/solver", "swplan/estimate")  # not even within a function
SHIMS = {"swplan/runtime/_jax_shim.py", "swplan/ir/_jax_shim.py"}

UNSAFE_MODULES = {"pickle", "cPickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}
UNSAFE_CALLS = {"eval", "exec", "__import__"}

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
BRANCHES = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.match_case)
BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.TryStar, ast.Match)

Tree = tuple[str, ast.Module]


def sources(*folders: str) -> list[Path]:
    """The Python files below `folders` of the repository."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


@functools.cache
def parse(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def trees(*folders: str) -> Iterator[Tree]:
    """The files below `folders`, as (path from the root, syntax tree)."""
    return ((path.relative_to(ROOT).as_posix(), parse(path)) for path in sources(*folders))


def below(name: str, *folders: str) -> bool:
    """Whether the file `name` is, or lies in, one of `folders`."""
    return any(name == folder or name.startswith(folder + "/") for folder in folders)


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function of a file, also methods and functions within functions."""
    return (node for node in ast.walk(tree) if isinstance(node, FUNCTIONS))


def line_count(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, without the docstring."""
    total = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function, clean=False) is None:
        return total
    return total - (function.body[0].end_lineno - function.body[0].lineno + 1)


def complexity(function: ast.AST) -> int:
    """One, and one more for each branch, loop, handler and case, those of inner functions included."""
    return 1 + sum(isinstance(node, BRANCHES) for node in ast.walk(function))


def nesting(node: ast.AST) -> int:
    """How deep blocks of control flow lie in one another; `elif` adds nothing, an inner function starts anew."""
    deepest = 0
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (*FUNCTIONS, ast.ClassDef, ast.Lambda)):
            continue
        is_elif = isinstance(node, ast.If) and isinstance(child, ast.If) and node.orelse == [child]
        deepest = max(deepest, nesting(child) + (isinstance(child, BLOCKS) and not is_elif))
    return deepest


def over(measure, limit: int, *folders: str) -> list[str]:
    """The functions of which `measure` exceeds `limit`, one line each."""
    return [
        f"{name}:{function.lineno} {function.name}: {measure(function)} > {limit}"
        for name, tree in trees(*folders)
        for function in functions(tree)
        if measure(function) > limit
    ]


def imports(tree: ast.AST, package: str, lazy: bool = False) -> Iterator[tuple[str, int, bool]]:
    """(full name, line, whether it waits for a call) of all that a file of `package` imports."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno, lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            origin = ".".join([*parent, *filter(None, [node.module])])
            yield from ((f"{origin}.{alias.name}", node.lineno, lazy) for alias in node.names)
        else:
            yield from imports(node, package, lazy or isinstance(node, FUNCTIONS))


def file_imports(name: str, tree: ast.Module) -> Iterator[tuple[str, int, bool]]:
    """`imports` of the file at the path `name`."""
    return imports(tree, Path(name).parent.as_posix().replace("/", "."))


def layer(module: str) -> str:
    """The layer to which a full name below `swplan` belongs; the package's own names are those of `__init__`."""
    part = [*module.split("."), "__init__"][1]
    return part if part in LAYERS or module.count(".") > 1 else "__init__"


def upward(name: str, tree: ast.Module) -> list[str]:
    """The imports of one file that go from a lower layer to a higher one."""
    own = Path(name).relative_to("swplan").parts[0].removesuffix(".py")
    if own not in LAYERS:
        return [f"{name}: '{own}' is in no layer; add it to LAYERS and to the design"]
    found = []
    for module, line, lazy in file_imports(name, tree):
        if module.split(".")[0] != "swplan" or (lazy and (own, layer(module)) in LAZY_UPWARD):
            continue
        if layer(module) not in LAYERS or LAYERS.index(layer(module)) > LAYERS.index(own):
            found.append(f"{name}:{line} {own} imports {module}")
    return found


def jax_imports(name: str, tree: ast.Module) -> list[str]:
    """The imports of JAX, or of what imports it, in a file that must do without."""
    if below(name, *JAX_ALLOWED):
        return []
    return [
        f"{name}:{line} {module}"
        for module, line, lazy in file_imports(name, tree)
        if module.split(".")[0] in JAX_FAMILY and (not lazy or below(name, *JAX_NEVER))
    ]


def uses_jax_internals(name: str, tree: ast.Module) -> bool:
    """Whether a file imports `jax._src` or reaches into it."""
    imported = any(f"{module}.".startswith("jax._src.") for module, _, _ in file_imports(name, tree))
    return imported or any(isinstance(node, ast.Attribute) and node.attr == "_src" for node in ast.walk(tree))


def unsafe(name: str, tree: ast.Module) -> list[str]:
    """What could run code that a file brought with it: pickles, `eval`, `exec`."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    called = [node for node in calls if isinstance(node.func, ast.Name) and node.func.id in UNSAFE_CALLS]
    allowed = [node for node in calls for keyword in node.keywords if keyword.arg == "allow_pickle"]
    rows = [
        f"{name}:{line} {module}"
        for module, line, _ in file_imports(name, tree)
        if module.split(".")[0] in UNSAFE_MODULES
    ]
    return rows + [f"{name}:{node.lineno} {ast.unparse(node)}" for node in called + allowed]


def undocumented(name: str, tree: ast.Module) -> list[str]:
    """The module itself, its public classes and functions and their public methods, where they have no docstring."""
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    members = [node for scope in [tree, *classes] for node in scope.body if isinstance(node, FUNCTIONS)]
    public = [node for node in members if not node.name.startswith("_") and not is_overload(node)]
    rows = [] if ast.get_docstring(tree) else [f"{name}: the module"]
    return rows + [f"{name}:{node.lineno} {node.name}" for node in classes + public if not ast.get_docstring(node)]


def is_overload(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a function only declares one more signature."""
    return any(ast.unparse(decorator).endswith("overload") for decorator in function.decorator_list)


def gather(check, *folders: str) -> list[str]:
    """All rows of `check` over the files below `folders`."""
    return [row for name, tree in trees(*folders) for row in check(name, tree)]


def refuse(rows: list[str], rule: str) -> None:
    """Fail with every row, if there are any."""
    if rows:
        pytest.fail(f"{rule}:\n  " + "\n  ".join(rows), pytrace=False)


EVERYWHERE = ("swplan", "models", "benchmarks", "tests")


@pytest.mark.parametrize(
    ("rule", "measure", "limit"),
    [
        ("lines without docstring", line_count, FUNCTION_LINES),
        ("complexity", complexity, COMPLEXITY),
        ("nesting", nesting, NESTING),
    ],
)
def test_functions_are_within_the_limits(rule, measure, limit):
    refuse(over(measure, limit, *EVERYWHERE), rule)


def test_files_are_within_the_limit():
    counts = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in sources(*EVERYWHERE)}
    rows = [f"{path.relative_to(ROOT)}: {count}" for path, count in counts.items() if count > FILE_LINES]
    refuse(rows, f"files of more than {FILE_LINES} lines")


def test_imports_go_only_downwards():
    refuse(gather(upward, "swplan"), "imports against the order of the layers")


def test_jax_is_imported_only_where_it_is_needed():
    refuse(gather(jax_imports, "swplan"), "imports of JAX outside " + ", ".join(JAX_ALLOWED))


def test_jax_internals_are_used_in_one_shim_only():
    users = {name for name, tree in trees("swplan", "models") if uses_jax_internals(name, tree)}
    assert users <= SHIMS, f"jax._src outside the shim: {sorted(users - SHIMS)}"
    assert len(users) <= 1, f"more than one shim: {sorted(users)}"


def test_models_import_nothing_from_swplan():
    rows = gather(lambda name, tree: [f"{name}:{row[1]} {row[0]}" for row in file_imports(name, tree)], "models")
    refuse([row for row in rows if row.split()[1].split(".")[0] == "swplan"], "models that know swplan")


def test_nothing_loads_code():
    refuse(gather(unsafe, "swplan"), "pickle, eval or exec")


def test_public_names_have_docstrings():
    refuse(gather(undocumented, "swplan", "models", "benchmarks"), "no docstring")
    refuse([f"{name}" for name, tree in trees("tests") if not ast.get_docstring(tree)], "test files without docstring")


@pytest.mark.parametrize("module", ["swplan", "swplan.costmodel"])
def test_import_is_free_of_jax(module):
    if not (ROOT / module.replace(".", "/") / "__init__.py").is_file() or not (ROOT / "swplan/__init__.py").is_file():
        pytest.skip(f"{module} has no __init__.py yet")
    code = f"import sys, {module}; sys.exit(', '.join(sorted(set(sys.modules) & {JAX_FAMILY!r})) or None)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"import {module} brings in: {done.stderr}"


SAMPLE = '''
def sample(rows):
    """Two lines
    of docstring."""
    for row in rows:
        if row:
            pass
        elif rows:
            while row: pass
    return [1 if row else 2 for row in rows]
'''


def test_the_measures_measure():
    function = next(functions(ast.parse(SAMPLE)))
    assert (line_count(function), complexity(function), nesting(function)) == (7, 6, 3)


@pytest.mark.parametrize(
    ("check", "name", "code", "count"),
    [
        (upward, "swplan/ir/graph.py", "from ..search import space\nfrom swplan import api, errors\nimport numpy", 2),
        (upward, "swplan/ir/graph.py", "import swplan\nfrom swplan import auto\nfrom . import layout", 2),
        (upward, "swplan/plan.py", "def f():\n    from swplan.views import html", 0),
        (upward, "swplan/plan.py", "from swplan.views import html", 1),
        (upward, "swplan/passes/a.py", "def f():\n    from ..views import html", 1),
        (upward, "swplan/surprise.py", "", 1),
        (jax_imports, "swplan/plan.py", "from jax import numpy\ndef f():\n    import jax", 1),
        (jax_imports, "swplan/costmodel/chip.py", "def f():\n    import jax", 1),
        (jax_imports, "swplan/ir/ops/linear.py", "import jax", 0),
        (unsafe, "swplan/plan.py", "import pickle\neval('1')\nnumpy.load(p, allow_pickle=True)\ncore.eval(1)", 3),
        (undocumented, "swplan/a.py", "class A:\n    def f(self): pass\n    def _g(self): pass", 3),
    ],
)
def test_the_checks_find_what_they_are_for(check, name, code, count):
    assert len(check(name, ast.parse(code))) == count


if __name__ == "__main__":
    for row in over(nesting, NESTING_AIM, *EVERYWHERE):
        print("nesting:", row)
