"""Reading in several threads."""

from collections.abc import Callable
from typing import TypeVar

_ATTEMPTS = 10
"""Of threads that do nothing but read headers, one attempt in 27 failed at worst."""

Argument = TypeVar("Argument")
Result = TypeVar("Result")


def in_spite_of_others(read: Callable[[Argument], Result], argument: Argument) -> Result:
    """Read, and read again where another thread got in the way.

    CPython 3.11 counts for all threads together how deep it is in an expression. Headers of ``.npy`` files
    are expressions: of two threads that read some at once, one may get "SystemError: AST constructor
    recursion depth mismatch" (python/cpython#106905).
    """
    for _ in range(_ATTEMPTS - 1):
        try:
            return read(argument)
        except SystemError as error:
            if "recursion depth mismatch" not in str(error):
                raise
    return read(argument)
