"""A fixture for tests that run programs in the sandbox, and HumanEval's solutions made wrong."""

import ast
import os

import pytest

from scope_lab import sandbox
from scope_lab.errors import InputError


@pytest.fixture(scope="session")
def walls():
    """The sandbox, which must be there under CI=true; elsewhere a machine without one skips, and says why."""
    try:
        sandbox.require()
    except InputError as error:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(error))


OPERATORS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Mod: ast.Mult, ast.FloorDiv: ast.Mult}
COMPARISONS = {ast.Lt: ast.GtE, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.GtE: ast.Lt, ast.Eq: ast.NotEq}


class Wrong(ast.NodeTransformer):
    """Changes the n-th place of function `name` that can be changed: operator, comparison, number, result."""

    def __init__(self, name: str, place: int):
        self.name, self.place = name, place

    def here(self) -> bool:
        self.place -= 1
        return self.place == -1

    def visit_Module(self, node):
        for part in node.body:
            if isinstance(part, ast.FunctionDef) and part.name == self.name:
                self.generic_visit(part)
        return node

    def visit_BinOp(self, node):
        self.generic_visit(node)
        if type(node.op) in OPERATORS and self.here():
            node.op = OPERATORS[type(node.op)]()
        return node

    def visit_Compare(self, node):
        self.generic_visit(node)
        if type(node.ops[0]) in COMPARISONS and self.here():
            node.ops[0] = COMPARISONS[type(node.ops[0])]()
        return node

    def visit_Constant(self, node):
        if type(node.value) is int and self.here():
            return ast.copy_location(ast.Constant(node.value + 1), node)
        return node

    def visit_Return(self, node):
        self.generic_visit(node)
        if node.value is not None and self.here():
            node.value = ast.Constant(None)
        return node


def broken(problem, fails) -> str:
    """A problem's solution after the first change of one place that an oracle, `fails(program)`, calls wrong."""
    for place in range(200):
        wrong = Wrong(problem.tests.name, place)
        program = ast.unparse(ast.fix_missing_locations(wrong.visit(ast.parse(problem.starter + problem.solution))))
        if wrong.place >= 0:
            break
        if fails(program):
            return program
    raise AssertionError(f"{problem.id}: no change of one place breaks it")
