"""The arithmetic of ComfyMathExpression: numbers, names and a few functions, and nothing that could run for long."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Mapping

MAX_LENGTH = 300
"""The most characters of an expression; those of the official templates have at most 40."""

_LIMIT = 1 << 64
"""No number may be larger on the way: a seed is below it."""

_TOKENS = re.compile(r"\s*(?:(?>(?:\d+(?:\.\d*)?|\.\d+)(?![\w.])|[A-Za-z_]\w*|//|\*\*|[-+*/%(),])\s*)*+", re.ASCII)

_BINARY: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.FloorDiv: lambda a, b: a // b,
    ast.Mod: lambda a, b: a % b,
}

_FUNCTIONS: Mapping[str, Callable[..., float]] = {
    "abs": abs,
    "ceil": math.ceil,
    "floor": math.floor,
    "max": max,
    "min": min,
    "round": round,
}


def evaluate(expression: str, names: Mapping[str, float]) -> float:
    """Compute an expression of + - * / // % **, numbers, names and floor, ceil, round, min, max and abs.

    Raises ValueError that says what is wrong with it.
    """
    if len(expression) > MAX_LENGTH:
        raise ValueError(f"has {len(expression)} characters, more than {MAX_LENGTH}")
    if not _TOKENS.fullmatch(expression):
        raise ValueError("holds more than + - * / // % ** ( ), numbers, names and commas")
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
        return _value(tree, names)
    except (SyntaxError, RecursionError, MemoryError):
        raise ValueError("is no arithmetic expression") from None
    except ZeroDivisionError:
        raise ValueError("divides by zero") from None
    except (TypeError, OverflowError):
        raise ValueError("cannot be computed") from None


def _value(tree: ast.expr, names: Mapping[str, float]) -> float:
    match tree:
        case ast.Constant(value=int() | float() as number):
            return _within(number)
        case ast.Name(id=name):
            if name not in names:
                raise ValueError(f"has {name}, which is not connected")
            return _within(names[name])
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, names)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand, names)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_value(left, names), _value(right, names))
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _BINARY:
            return _within(_BINARY[type(operator)](_value(left, names), _value(right, names)))
        case ast.Call(func=ast.Name(id=function), args=arguments, keywords=[]) if function in _FUNCTIONS:
            return _within(_FUNCTIONS[function](*(_value(argument, names) for argument in arguments)))
        case ast.Call(func=ast.Name(id=function)):
            raise ValueError(f"calls {function}, which is not supported yet")
    raise ValueError("is no arithmetic expression")


def _power(base: float, exponent: float) -> float:
    if abs(exponent) > 64 or (exponent < 0 and base == 0):
        raise ValueError("has a power that is too large")
    result = base**exponent
    if isinstance(result, complex):
        raise ValueError("has the root of a negative number")
    return _within(result)


def _within(number: float) -> float:
    if not abs(number) <= _LIMIT:  # also NaN
        raise ValueError("has a number above 2^64")
    return number
