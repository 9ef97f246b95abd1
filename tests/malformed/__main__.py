"""Tries every malformed input and prints what became of them; exit code 1 if one did not end as it should.

python -m tests.malformed                     # all
python -m tests.malformed -k 'webp'           # those whose name holds a word
python -m tests.malformed --few --json        # those CI tries, as data
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything loads numpy: threads do not survive a fork

from tests.malformed.catalogue import all_inputs, few
from tests.malformed.session import Verdict, judged
from tests.malformed.workplace import build


def main() -> int:
    """Run. The exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-k", default="", metavar="WORD", help="only inputs whose name holds it")
    parser.add_argument("--few", action="store_true", help="only those that CI tries")
    parser.add_argument("--json", action="store_true", help="print a list of outcomes instead of the table")
    parser.add_argument("--list", action="store_true", help="print names and messages")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="commands at once (default: 2)")
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="malformed-") as temporary:
        whole, scratch = Path(temporary) / "whole", Path(temporary) / "scratch"
        whole.mkdir()
        scratch.mkdir()
        build(whole)
        inputs = few(whole) if options.few else all_inputs(whole)
        inputs = [item for item in inputs if options.k.lower() in item.name.lower()]
        verdicts = []
        for verdict in judged(inputs, whole, scratch, at_once=options.jobs):
            verdicts.append(verdict)
            if options.list:
                print(f"{verdict.run.code}  {verdict.item.name}\n   {verdict.said}", flush=True)
            if verdict.problems and not options.json:
                print(f"FAILED {verdict.item.name}: {'; '.join(verdict.problems)}", flush=True)
    if options.json:
        print(json.dumps([_data(verdict) for verdict in verdicts], indent=1))
    else:
        print(_table(verdicts, time.monotonic() - began))
    return 1 if any(verdict.problems for verdict in verdicts) else 0


def _data(verdict: Verdict) -> dict[str, object]:
    return {"name": verdict.item.name, "said": verdict.said, "problems": list(verdict.problems)}


def _table(verdicts: Sequence[Verdict], seconds: float) -> str:
    rows: list[tuple[str, ...]] = [
        ("input", "tried", "must be refused", "refused", "of these code 3", "a result", "failed", "slowest", "memory")
    ]
    kinds = list(dict.fromkeys(verdict.item.kind for verdict in verdicts))
    for kind in kinds:
        rows.append(_row(kind, [verdict for verdict in verdicts if verdict.item.kind == kind]))
    rows.append(_row("all", verdicts))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    refused = sum(verdict.item.must == "refused" and not verdict.problems for verdict in verdicts)
    lines.append(f"{refused} inputs that had to be refused were, in {seconds:.0f} s")
    for title, torch in (("without torch", False), ("with torch, beyond what it takes itself", True)):
        mine = [verdict for verdict in verdicts if verdict.item.torch is torch]
        if mine:
            most = max(mine, key=_memory)
            longest = max(mine, key=lambda verdict: verdict.run.seconds)
            lines.append(f"{title}: most memory {_memory(most) >> 20} MiB ({most.item.name})")
            lines.append(f"{title}: slowest {longest.run.seconds:.1f} s ({longest.item.name})")
    return "\n".join(lines)


def _row(kind: str, verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    codes = [verdict.run.code for verdict in verdicts]
    return (
        kind,
        str(len(verdicts)),
        str(sum(verdict.item.must == "refused" for verdict in verdicts)),
        str(sum(code in (2, 3) for code in codes)),
        str(codes.count(3)),
        str(sum(code in (0, 1) and not verdict.problems for code, verdict in zip(codes, verdicts, strict=True))),
        str(sum(bool(verdict.problems) for verdict in verdicts)),
        f"{max((verdict.run.seconds for verdict in verdicts), default=0):.1f} s",
        f"{max(map(_memory, verdicts), default=0) >> 20} MiB",
    )


def _memory(verdict: Verdict) -> int:
    return verdict.run.growth if verdict.item.torch else verdict.run.peak


if __name__ == "__main__":
    sys.exit(main())
