"""docs/reference/ says what is there: each option with its default, and a test that exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from djqueue import TaskDefinition, calls

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs/reference/options.md").read_text()
DEFINITIONS, CALLS = PAGE.split("\n## ")[1:]


def rows(section: str) -> list[list[str]]:
    """Return the cells of a table's rows, without its head."""
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def code(cell: str) -> str:
    assert cell.startswith("`")
    assert cell.endswith("`")
    return cell[1:-1]


@cache
def names_in(module: str) -> set[str]:
    def names(body: list[ast.stmt], prefix: str) -> Iterator[str]:
        for node in body:
            if isinstance(node, ast.ClassDef):
                yield from names(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield prefix + node.name

    return set(names(ast.parse((TESTS / f"{module}.py").read_text()).body, ""))


def test_every_option_of_a_definition_is_listed_with_its_default():
    options = {name for name, kind in TaskDefinition.__annotations__.items() if not kind.startswith("ClassVar")}
    assert {code(row[0]): code(row[1]) for row in rows(DEFINITIONS)} == {
        option: repr(getattr(TaskDefinition, option)) for option in options
    }


def test_every_argument_of_a_call_is_listed():
    arguments = calls.PLACING | calls.KEPT | calls.LINKING | {"stamped_headers"}
    assert {code(row[0]) for row in rows(CALLS)} == arguments


@pytest.mark.parametrize("named", sorted(set(re.findall(r"`(test_\w+\.[\w.]+)`", PAGE))))
def test_each_named_test_exists(named: str):
    module, _, test = named.partition(".")
    assert test in names_in(module)


def test_each_row_names_a_test():
    for row in rows(DEFINITIONS) + rows(CALLS):
        assert re.fullmatch(r"`test_\w+\.[\w.]+`", row[-1]), row
