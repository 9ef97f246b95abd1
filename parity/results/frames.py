"""Which frames of a video to show, where not all of them are kept."""

from __future__ import annotations

from parity.results.case import CaseResult


def leading_metric(case: CaseResult) -> str | None:
    """The first metric that has numbers."""
    return next((key for key, metric in case.metrics.items() if metric.unavailable is None and metric.per_frame), None)


def worst_frames(case: CaseResult, most: int) -> list[tuple[int, float]]:
    """The frames furthest from the preview by that metric, with its values, the worst first."""
    key = leading_metric(case)
    if key is None:
        return []
    metric = case.metrics[key]
    finite = [(index, value) for index, value in enumerate(metric.per_frame) if value is not None]
    return sorted(finite, key=lambda item: item[1] if metric.higher_is_better else -item[1])[:most]


def worst_frame(case: CaseResult) -> int | None:
    """The index of the worst of them; None if no metric has numbers, or no frame differs."""
    key = leading_metric(case)
    if key is None or case.metrics[key].identical_frames == len(case.metrics[key].per_frame):
        return None
    frames = worst_frames(case, 1)
    return frames[0][0] if frames else None


def spread(total: int, count: int, worst: int | None) -> list[int]:
    """Choose `count` of `total` frames, spread evenly from the first to the last; one of them moves to the worst."""
    count = min(count, total)
    if count < 1:
        return []
    frames = [place * (total - 1) // max(1, count - 1) for place in range(count)]
    if worst is not None and worst not in frames:
        inner = range(1, count - 1) or range(count)
        frames[min(inner, key=lambda place: abs(frames[place] - worst))] = worst
    return frames
