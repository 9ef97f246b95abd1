"""wan-parity from Python: find cases, run them, read results (docs/python.md). Importing it alone loads no torch."""

import typing

if typing.TYPE_CHECKING:
    from parity.api import (
        Case,
        CaseResult,
        PairResult,
        ParityError,
        Run,
        __version__,
        compare,
        find_cases,
        read_results,
        run_cases,
    )

__all__ = [
    "Case",
    "CaseResult",
    "PairResult",
    "ParityError",
    "Run",
    "__version__",
    "compare",
    "find_cases",
    "read_results",
    "run_cases",
]

if not typing.TYPE_CHECKING:  # a type checker would take every name for one of ours

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from parity import api

        return getattr(api, name)
