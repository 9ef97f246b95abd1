"""Lines of the selftest's tables."""

from __future__ import annotations

from parity.selftest.matrix import Row, SearchRow

CASES_HEAD = """\
generations: spent/allowed by the full diagnosis (2k + 2), --gains (k + 2), --quick (2); steps: of the full diagnosis
kind          exact  first (--quick)           generations       steps      time     planted"""


def case_line(row: Row) -> str:
    """One planted case: what was found, and what it cost."""
    k = len(row.factors)
    first = f"{row.first} ({'same' if row.same_first else row.first_quick})"
    cost = f"{row.spent:g}/{2 * k + 2} {row.spent_gains:g}/{k + 2} {row.spent_quick:.2f}/2"
    wrong = ""
    if not row.exact:
        wrong = f"  FOUND {sorted(row.findings)}, DIAGNOSED {sorted(row.diagnosed)}, explained {row.explained}"
    cost_note = "" if row.within_cost else "  TOO EXPENSIVE"
    exact = "yes" if row.exact else "NO"
    head = f"{row.kind:12}  {exact:5}  {first:26}{cost:18}{row.steps:3} steps {row.seconds:5.1f} s"
    return f"{head}  {', '.join(row.planted)}{wrong}{cost_note}"


def search_line(row: SearchRow) -> str:
    """One search: what it found, and what it cost."""
    exact = "yes" if row.exact else "NO"
    cost = f"{row.spent:6.1f} generations {row.seconds:6.1f} s"
    return f"{row.kind:12}  {exact:5}  {row.verdict:9}  {cost}  {row.hidden}: {row.found or 'nothing changed'}"
