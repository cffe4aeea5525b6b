"""What runs inside the two sandboxes of a function problem; the text of this file is sent into both.

One holds the program and answers calls (`serve`), the other holds the tests and makes them (`examine`). Two pipes of
plain values join them: no object of the program, with an `__eq__` or `__class__` of its own, ever stands where verdicts
are made, and the program sees the arguments of its calls and nothing else. It uses only Python's standard library.
"""

import ast
import builtins
import json
import os
import sys
import types
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

MAX_ANSWER = 16 << 20  # bytes of one returned value
MAX_ITEMS = 1_000_000  # of an iterator that is returned
SILENT = (StopIteration, StopAsyncIteration)  # would end a loop of the tests without a word


class Over(BaseException):
    """The examination ends here; not an Exception, so that no test can catch it."""


def pack(value: Any) -> Any:
    """A plain value as something that JSON holds; raises TypeError for any other. Subclasses count as their base."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**63 else {"int": hex(value)}
    if isinstance(value, float):
        return float(value)
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, bytes | bytearray):
        return {"bytes": value.hex()}
    if isinstance(value, dict):
        return {"dict": [[pack(key), pack(item)] for key, item in value.items()]}
    if isinstance(value, list):
        return [pack(item) for item in value]
    for kind in (tuple, set, frozenset):
        if isinstance(value, kind):
            return {kind.__name__: [pack(item) for item in value]}
    if isinstance(value, Iterator):
        return {"iterator": [pack(item) for item in islice(value, MAX_ITEMS)]}
    if type(value).__module__ == "numpy":
        return pack(value.tolist())
    raise TypeError(f"{type(value).__name__} is not a plain value")


def unpack(packed: Any) -> Any:
    """The value again. Raises ValueError or TypeError for what `pack` does not make."""
    if isinstance(packed, list):
        return [unpack(item) for item in packed]
    if not isinstance(packed, dict):
        return packed
    ((kind, content),) = packed.items()
    if kind == "int":
        return int(content, 16)
    if kind == "bytes":
        return bytes.fromhex(content)
    if kind == "complex":
        return complex(*content)
    items = [unpack(item) for item in content]
    makers: dict[str, Callable] = {"tuple": tuple, "set": set, "frozenset": frozenset, "dict": dict, "iterator": iter}
    return makers[kind](items)


# Where the program is


def serve(definitions: str, source: str, name: str, requests: int, answers: int) -> None:
    """Run the program, then call its function `name`, or the method of its class Solution, as asked.

    definitions  what the problem gives it: imports, helpers; an empty `name` among them does not count
    """
    with open(requests, "rb") as asked, open(answers, "wb") as told:

        def tell(message: Any) -> None:
            told.write(json.dumps(message).encode() + b"\n")
            told.flush()

        module = types.ModuleType("solution")  # not __main__: a program's own tests and examples do not run
        sys.modules["solution"] = module
        exec(definitions, module.__dict__)
        module.__dict__.pop(name, None)
        exec(compile(source, "solution.py", "exec"), module.__dict__)
        solution = getattr(module, "Solution", None)
        in_class = not hasattr(module, name) and hasattr(solution, name)
        tell("ready" if in_class or callable(getattr(module, name, None)) else "missing")
        for line in asked:
            arguments = unpack(json.loads(line))
            try:
                function = getattr(solution() if in_class else module, name)  # type: ignore[misc]
                answer = {"value": pack(function(*arguments[0], **arguments[1]))}
            except Exception as error:
                answer = {"error": type(error).__name__}
            tell(answer)


# Where the tests are


class Counted(ast.NodeTransformer):
    """Each `assert` counts as a check passed or failed, and the next one follows in either case."""

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        if isinstance(node.test, ast.Constant):
            return node
        passed, failed = (ast.parse(f"__count__({word!r})").body for word in ("passed", "failed"))
        caught = ast.ExceptHandler(ast.Name("Exception", ast.Load()), None, failed)
        counted = ast.Try(body=[node], handlers=[caught], orelse=passed, finalbody=[])
        return ast.fix_missing_locations(ast.copy_location(counted, node))


def examine(prompt: str, tests: str, name: str, requests: int, answers: int) -> None:
    """Run `tests`, whose check(candidate) or asserts call the other side; print what came of it, as JSON.

    prompt   definitions that the tests may use; they run first
    printed  passed, failed: numbers of checks; over: why it ended early: "does not run", "missing" (the function),
             "ended", "answer" (unreadable or too large), "arguments" (that cannot be passed) or "tests" (they are
             broken); null: it did not
    """
    out = os.dup(1)
    nowhere = os.open("/dev/null", os.O_WRONLY)
    os.dup2(nowhere, 1)  # what tests print is no result
    result: dict[str, Any] = {"passed": 0, "failed": 0, "over": None}
    asked, told = open(requests, "wb"), open(answers, "rb")  # noqa: SIM115

    def hear() -> Any:
        line = told.readline(MAX_ANSWER)
        if not line.endswith(b"\n"):
            raise Over("answer" if line else "ended")
        try:
            return json.loads(line)
        except (ValueError, RecursionError):
            raise Over("answer") from None

    def candidate(*arguments: Any, **named: Any) -> Any:
        try:
            request = json.dumps(pack((list(arguments), named))).encode()
        except TypeError:
            raise Over("arguments") from None
        try:
            asked.write(request + b"\n")
            asked.flush()
        except OSError:
            raise Over("ended") from None
        answer = hear()
        if not isinstance(answer, dict) or "value" not in answer:
            kind = getattr(builtins, str(answer.get("error")), None) if isinstance(answer, dict) else None
            is_error = isinstance(kind, type) and issubclass(kind, Exception) and kind not in SILENT
            raise (kind if is_error else RuntimeError)()  # type: ignore[misc]
        try:
            return unpack(answer["value"])
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
            raise Over("answer") from None

    def count(word: str) -> None:
        result[word] += 1

    try:
        space: dict[str, Any] = {"__name__": "checks", "same": same, "__count__": count}
        try:
            checks = compile(Counted().visit(ast.parse(tests)), "tests.py", "exec")
            exec(prompt, space)
        except Exception:
            raise Over("tests") from None
        try:
            ready = hear()
        except Over as over:
            raise Over("does not run" if str(over) == "ended" else str(over)) from None
        if ready != "ready":
            raise Over("missing")
        space[name] = candidate
        exec(checks, space)
        if "check" in space:
            space["check"](candidate)
    except Over as over:
        result["over"] = str(over)
    except Exception:  # outside of an assert: the tests did not come to their end
        result["failed"] += 1
    os.write(out, json.dumps(result).encode())


def same(found: Any, expected: Any) -> bool:
    """Whether a function returned what was expected; tuples are lists, as JSON has it."""
    return as_lists(found) == as_lists(expected)


def as_lists(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [as_lists(item) for item in value]
    return value
