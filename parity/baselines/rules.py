"""What was accepted beside the video: the factors found, and the case's own rules, `expect` and `tolerance`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from parity.baselines.file import Accepted
from parity.results.case import FAILING, CaseResult


def factor_changes(before: Iterable[str] | None, after: Iterable[str]) -> list[str]:
    """Say which factors were found or lost since. `before` None: an older baseline, which did not record them."""
    if before is None:
        return []
    new, gone = sorted(set(after) - set(before)), sorted(set(before) - set(after))
    return [
        *([f"also differs in {', '.join(new)} now"] if new else []),
        *([f"no longer differs in {', '.join(gone)}"] if gone else []),
    ]


def rule_failures(result: CaseResult, accepted: Accepted) -> list[str]:
    """Say why the case's own rules count although it was accepted; empty if it meets them, or failed the same then.

    An error, as a tolerance that cannot be checked, was never accepted.
    """
    if result.status not in FAILING:
        return []
    if result.status == "error":
        return [result.verdict]
    changes = rule_changes(accepted, result)
    if changes:
        return [
            f"the case's rules changed since it was accepted ({', '.join(changes)}), so they count: {result.verdict}"
        ]
    if accepted.status not in FAILING:
        return [f"met its own expect and tolerance when it was accepted, and fails them now: {result.verdict}"]
    return []


def rule_changes(accepted: Accepted, now: Accepted | CaseResult) -> list[str]:
    """Name the rules that differ from those at acceptance; none for an older baseline, which did not record them."""
    if accepted.tolerance is None:
        return []
    changes = []
    if _sorted(now.expect) != _sorted(accepted.expect):
        changes.append(f"expect {_listed(accepted.expect)} -> {_listed(now.expect)}")
    tolerance = dict(now.tolerance or {})
    if tolerance != dict(accepted.tolerance):
        changes.append(f"tolerance {_limits(accepted.tolerance)} -> {_limits(tolerance)}")
    return changes


def _sorted(factors: tuple[str, ...] | None) -> list[str] | None:
    return None if factors is None else sorted(factors)


def _listed(factors: tuple[str, ...] | None) -> str:
    return "not set" if factors is None else f"[{', '.join(factors)}]"


def _limits(tolerance: Mapping[str, float]) -> str:
    return "{" + ", ".join(f"{name}: {limit:g}" for name, limit in sorted(tolerance.items())) + "}"
