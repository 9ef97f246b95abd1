"""What `parity compare` prints: the answer, both files, how far apart they are."""

from __future__ import annotations

from collections.abc import Iterator

from parity.results.case import MetricResult
from parity.results.pair import FileFacts, PairResult
from parity.results.words import decibels, figure
from parity.terminal.text import lines, table
from pipelines.files.words import plural, shorten


def pair_text(result: PairResult) -> str:
    """The answer first, then what it rests on."""
    files = table([("", "file", "kind", "frames", "size", "fps"), _row("A", result.a), _row("B", result.b)])
    return lines(result.sentence, "", files, "", *_lines(result))


def _row(name: str, facts: FileFacts) -> tuple[str, ...]:
    rate = f"{facts.fps:.4g}" if facts.fps else "-"
    return name, facts.path, facts.kind, str(facts.frames), f"{facts.width}x{facts.height}", rate


def _lines(result: PairResult) -> Iterator[str]:
    rows = [(name.upper(), *_figures(name, metric, result)) for name, metric in result.metrics.items()]
    if rows:
        yield f"  {plural(len(result.pairs), 'pair')} of frames compared{_which(result)}:"
        yield table([("metric", "mean", "worst", ""), *rows], indent="    ")
    if result.after_levels is not None:
        yield f"  with equal levels: PSNR {decibels(result.after_levels)}"
    if result.codec is not None:
        yield f"  codec: about {decibels(result.codec.psnr, 1)}, {result.codec.how}"
    for finding in result.findings:
        share = f" ({finding.explains:.0%} of the squared error)" if finding.explains is not None else ""
        yield f"  {finding.change}: {finding.text}{share}"
    if result.settings:
        yield "  settings that differ in the files' ComfyUI graphs:"
        rows = [(each.node, each.name, shorten(each.a, 60), shorten(each.b, 60)) for each in result.settings]
        yield table([("node", "setting", "A", "B"), *rows], indent="    ")
    for note in result.notes:
        yield f"  note: {note}"
    for step in result.next_steps:
        yield f"  next: {step}"


def _which(result: PairResult) -> str:
    """Whether the pairs are those of equal numbers."""
    moved = any(i != j for i, j in result.pairs)
    return ", after size and timing" if moved or any(f.change in _SIZES for f in result.findings) else ""


_SIZES = ("resized", "cropped", "padded", "turned", "shifted")


def _figures(name: str, metric: MetricResult, result: PairResult) -> tuple[str, str, str]:
    if metric.unavailable is not None:
        return "-", "-", metric.unavailable
    note = f"{metric.identical_frames} identical" if name == "psnr" and metric.identical_frames else ""
    worst = metric.worst
    if worst is not None and metric.identical_frames < len(metric.per_frame):
        note = ", ".join(filter(None, (note, f"worst at {_pair(metric.per_frame.index(worst), result)}")))
    return figure(name, metric.mean), figure(name, worst), note


def _pair(place: int, result: PairResult) -> str:
    i, j = result.pairs[place]
    return f"frame {i}" if i == j else f"A's frame {i} and B's {j}"
