"""The direction of imports and the size of things, read from the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import djqueue

PACKAGE = Path(djqueue.__file__).parent
# From the bottom to the top: a module imports from its own layer and from those named before it.
LAYERS = {
    "pure": "backoff calls conf conf_rules converters crontab encryption events exceptions histogram limits planned"
    " records routing schedules serializers signals signature_check states uniqueness uuid7",
    "rows": "migrations models store",
    "asking": "attempt batches canvas carried context control decorator definition destinations drafts eager enqueue"
    " hooks lookup options rates redaction registry results resultsets resulttree retrying task_logging"
    " typed_arguments unique updates workflows",
    "doing": "beat worker",
    "edges": "admin api apps backend checks doctor management observability tasks testing urls",
}
LAYER_OF = {name: place for place, names in enumerate(LAYERS.values()) for name in names.split()}
OPTIONAL = {
    "cryptography",
    "environ",
    "ephem",
    "gevent",
    "msgpack",
    "opentelemetry",
    "prometheus_client",
    "pydantic",
    "rich",
    "yaml",
}
# Functions that import, and why.
LATE_IMPORTS = {
    ("djqueue.worker.patched", "main"): "the process is patched before the site is imported",
    ("djqueue.apps", "ready"): "checks register themselves once the apps are loaded",
    ("djqueue.models.task", "_elsewhere"): "the narrow tables' models import the task's",
}
LONGEST_FILE = 300
LONGEST_FUNCTION = 40


@cache
def sources() -> dict[str, ast.Module]:
    """Return the syntax tree of every module, by its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(), filename=str(path))
    return found


def is_package(module: str) -> bool:
    return (PACKAGE.parent / Path(*module.split(".")) / "__init__.py").exists()


def imported(module: str, node: ast.AST) -> Iterator[str]:
    """Yield the modules of this package, and the names of others, that an import statement names."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        origin = node.module or ""
        if node.level:
            above = module.split(".")[: None if is_package(module) and node.level == 1 else -node.level]
            if is_package(module) and node.level > 1:
                above = module.split(".")[: 1 - node.level]
            origin = ".".join([*above, *([origin] if origin else [])])
        for alias in node.names:
            submodule = f"{origin}.{alias.name}"
            yield submodule if submodule in sources() else origin


def imports(module: str, *, types_too: bool = True) -> set[str]:
    """Return what a module imports, wherever in the file."""
    skipped: set[ast.AST] = set()
    if not types_too:
        for node in ast.walk(sources()[module]):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                skipped.update(child for statement in node.body for child in ast.walk(statement))
    return {name for node in ast.walk(sources()[module]) if node not in skipped for name in imported(module, node)}


def part_of(module: str) -> str:
    """Return the part of the package that a module belongs to: ``store`` of ``djqueue.store.claim``."""
    return module.split(".")[1] if "." in module else ""


def ours(names: set[str]) -> set[str]:
    return {name for name in names if name == "djqueue" or name.startswith("djqueue.")}


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_every_module_has_a_layer():
    assert {part_of(module) for module in sources()} - {""} <= LAYER_OF.keys()


def test_relative_and_absolute_imports_are_understood():
    """The other tests rest on this."""
    assert "djqueue.store.settle" in imports("djqueue.store.exchange")
    assert "djqueue.records" in imports("djqueue.store.release")
    assert "djqueue.store.results" in imports("djqueue.results")
    assert "djqueue.models.task" in imports("djqueue.models")
    assert "djqueue.registry" in imports("djqueue.definition")
    assert "djqueue.definition" in imports("djqueue.context") - imports("djqueue.context", types_too=False)


@pytest.mark.parametrize("module", [module for module in sources() if part_of(module)])
def test_imports_go_downwards_only(module):
    layer = LAYER_OF[part_of(module)]
    upwards = {name for name in ours(imports(module)) if part_of(name) and LAYER_OF[part_of(name)] > layer}
    assert not upwards


@pytest.mark.parametrize("module", [module for module in sources() if part_of(module)])
def test_names_are_imported_from_the_module_that_owns_them(module):
    """The lazy names of the package are for its users."""
    public = {
        alias.name
        for node in ast.walk(sources()[module])
        if isinstance(node, ast.ImportFrom) and (node.module, node.level) in {("djqueue", 0), (None, 1)}
        for alias in node.names
        if not is_package(module)
    }
    assert not public & (set(djqueue.__all__) - {"states"})


def test_no_module_imports_itself_through_others():
    graph = {module: ours(imports(module, types_too=False)) - {module} for module in sources() if part_of(module)}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None


@pytest.mark.parametrize("module", [module for module in sources() if part_of(module) == "store"])
def test_the_store_knows_sql_and_records_but_no_models(module):
    assert not {name for name in imports(module) if part_of(name) == "models" or name.startswith("django.db.models")}


def test_only_enqueue_inserts_tasks():
    importers = {module for module in sources() if "djqueue.store.insert" in imports(module)}
    # The migrations take the procedure's text from there.
    assert importers == {"djqueue.enqueue", "djqueue.store.routines"}
    importers = {module for module in sources() if "djqueue.store.plant" in imports(module)}
    # What a running task adds to its workflow is inserted when it is settled.
    assert importers == {"djqueue.canvas.planting", "djqueue.store.grow", "djqueue.store.routines"}


@pytest.mark.parametrize("module", [m for m in sources() if part_of(m) in {"admin", "doctor", "worker", "results"}])
def test_only_the_store_writes_task_state(module):
    """No statement outside it inserts, updates or deletes; the admin goes through Django for its own tables."""
    for node in ast.walk(sources()[module]):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            words = node.value.upper().split()
            assert not any(
                words[place : place + 2] in (["INSERT", "INTO"], ["DELETE", "FROM"]) for place in range(len(words))
            ), node.value


def test_the_runner_touches_no_table_of_ours():
    names = ours(imports("djqueue.worker.runner"))
    assert not {name for name in names if part_of(name) in {"store", "models"}}


@pytest.mark.parametrize("module", sources())
def test_functions_import_only_what_must_come_late(module):
    late = {
        (module, function.name)
        for function in functions(sources()[module])
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
        and not {name.split(".")[0] for name in imported(module, node)} <= OPTIONAL
    }
    assert late <= LATE_IMPORTS.keys()


@pytest.mark.parametrize("module", sources())
def test_files_and_functions_are_short(module):
    tree = sources()[module]
    path = PACKAGE.parent / Path(*module.split("."))
    path = path / "__init__.py" if is_package(module) else path.with_suffix(".py")
    assert len(path.read_text().splitlines()) <= LONGEST_FILE
    too_long = {}
    for function in functions(tree):
        lines = (function.end_lineno or 0) - function.lineno + 1
        if ast.get_docstring(function):
            text = function.body[0]
            lines -= (text.end_lineno or 0) - text.lineno + 1
        if lines > LONGEST_FUNCTION:
            too_long[function.name] = lines
    assert not too_long


@pytest.mark.parametrize("module", [m for m in sources() if part_of(m) and sources()[m].body])
def test_every_module_says_what_it_owns(module):
    assert ast.get_docstring(sources()[module])


def run_python(code: str) -> str:
    """Run code in an interpreter of its own, where nothing is configured."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=PACKAGE.parent,
        env={},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_needs_no_settings_and_loads_no_django():
    run_python(
        "import djqueue, sys\n"
        "assert djqueue.__version__\n"
        "assert not [name for name in sys.modules if name.split('.')[0] in ('django', 'psycopg')]"
    )


def test_tasks_can_be_defined_without_settings():
    out = run_python(
        "from djqueue import shared_task\n"
        "@shared_task(name='early', queue='mail')\n"
        "def early(x): return x + 1\n"
        "print(early(1), early)"
    )
    assert out == "2 <@task: early>\n"


def test_tasks_can_be_defined_in_the_models_of_an_app():
    """That is, while Django is still loading models, of which none may be imported yet."""
    run_python(
        "import sys\n"
        "from django.conf import settings\n"
        "settings.configure(INSTALLED_APPS=['djqueue'])\n"
        "from djqueue import shared_task, AsyncResult, current_task, states, uuid\n"
        "shared_task(name='early')(lambda: None)\n"
        "assert 'djqueue.models' not in sys.modules\n"
        "import django; django.setup()\n"
        "assert 'djqueue.models' in sys.modules"
    )


@pytest.mark.parametrize("name", djqueue.__all__)
def test_every_public_name_is_there(name):
    assert getattr(djqueue, name) is not None


def test_a_name_that_is_not_public_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'djqueue' has no attribute 'Celery'"):
        djqueue.Celery  # noqa: B018
