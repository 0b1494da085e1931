"""Reads one Python source file and counts what is in it."""

import ast
import warnings
from dataclasses import dataclass
from pathlib import Path

# What reading and `ast.parse` raise over bad syntax, a wrong encoding, null bytes or deep nesting.
PROBLEMS = (OSError, SyntaxError, ValueError, RecursionError, MemoryError)

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Analysis:
    """The counts of one file, named as the fields of ``SourceFile``."""

    parsed: bool
    problem_kind: str = ""
    problem: str = ""
    lines: int = 0
    functions: int = 0
    classes: int = 0
    documentable: int = 0
    documented: int = 0
    longest_function: str = ""
    longest_function_lines: int = 0


def analyse(path: str) -> Analysis:
    """Count what is in the file. One that does not parse is a finding, not an error."""
    source = b""
    try:
        source = Path(path).read_bytes()
        with warnings.catch_warnings():
            # About the author's escape sequences, which are not our business.
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except PROBLEMS as exc:
        return Analysis(parsed=False, problem_kind=type(exc).__name__, problem=str(exc), lines=_count_lines(source))
    return _count(tree, _count_lines(source))


def _count_lines(source: bytes) -> int:
    return len(source.splitlines())


def _count(tree: ast.Module, lines: int) -> Analysis:
    functions = [node for node in ast.walk(tree) if isinstance(node, Function)]
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    documentable = [tree, *classes, *functions]
    longest = max(functions, key=_length, default=None)
    return Analysis(
        parsed=True,
        lines=lines,
        functions=len(functions),
        classes=len(classes),
        documentable=len(documentable),
        documented=sum(ast.get_docstring(node, clean=False) is not None for node in documentable),
        longest_function=longest.name if longest else "",
        longest_function_lines=_length(longest) if longest else 0,
    )


def _length(function: Function) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1
