"""The repeat floor: the difference between outputs of one request, and whether the preview differs by more than that.

The rule. Independent errors add by their squares. Each output has its own noise, so
the squared error between two is twice the noise of one. A preview that is one more output is equally far; if it also
differs for a reason, that reason's own error is added. It is no larger than the noise of one output as long as the
sum is at most 1.5 times the error between two: 1.76 dB of PSNR. For 1 - SSIM and LPIPS, which grow like a squared
error, the same holds. Both sides are means, over all outputs and over all pairs: the closest or the farthest of a few
would be luck. Measured on the demo's I2V of Wan 2.2 with an unseeded posterior (91 pairs of 14 outputs, 29.0 to
30.2 dB): with a further output in the preview's place, two outputs were closer to each other than it was to either in
34 of 100 runs, three outputs in 6; by this rule it was drift in none of 20,000. Two steps instead of six differ by
2.5 dB more than the outputs do from each other, and stay drift.

Frames that are equal in all outputs have no noise: the tolerance, or bit identity, is checked for them alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from parity.comparison.metrics import meets, summarize
from parity.results.case import MetricResult

_TIMES = 1.5
"""The error against the preview may be up to this many times the error between outputs."""

Metrics = Mapping[str, MetricResult]


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """Metrics of different outputs of one request, against the preview and against each other."""

    to_preview: tuple[Metrics, ...]
    """Metrics of each output against the preview, the case's own output first."""
    between: tuple[Metrics, ...]
    """Metrics of every two outputs."""

    @property
    def frames(self) -> tuple[int, ...]:
        """Indices of frames that differ between outputs."""
        pairs = [pair["psnr"].per_frame for pair in self.between]
        return tuple(frame for frame in range(len(pairs[0])) if any(pair[frame] is not None for pair in pairs))

    @property
    def psnr(self) -> float:
        """The mean PSNR of the pairs that differ, in dB."""
        means = means_of(self.between, "psnr")
        return sum(means) / len(means)

    @property
    def within(self) -> bool:
        """Return whether the preview differs from the outputs by no more than these differ from each other."""
        steady = set(range(len(self.to_preview[0]["psnr"].per_frame))) - set(self.frames)
        if any(self.to_preview[0]["psnr"].per_frame[frame] is not None for frame in steady):
            return False
        return all(self._is_noise(name, worst=False) for name in ("psnr", "ssim") if self._measured(name))

    def excused(self, tolerance: Mapping[str, float]) -> tuple[str, ...]:
        """The tolerances that the output fails by noise alone: another output passes, or the excess is noise."""
        return tuple(key for key, limit in tolerance.items() if self._excuses(key, limit))

    def _excuses(self, key: str, limit: float) -> bool:
        name, _, worst = key.partition("_")
        if not self._measured(name) or meets(self.to_preview[0][name], key, limit):
            return False
        if any(meets(output[name], key, limit) for output in self.to_preview[1:]):
            return True
        metric, noisy = self.to_preview[0][name], self.frames
        steady = [number for frame, number in enumerate(_numbers(metric)) if frame not in noisy]
        held = not steady or meets(summarize(name, steady), key, limit)
        return held and self._is_noise(name, worst=bool(worst))

    def _is_noise(self, name: str, *, worst: bool) -> bool:
        """Return whether a metric's error is no more than noise, over the frames that differ between outputs."""
        return self._error(self.to_preview, name, worst) <= _TIMES * self._error(self.between, name, worst)

    def _error(self, compared: Sequence[Metrics], name: str, worst: bool) -> float:
        """The mean error of several comparisons, each taken as the mean over its frames or as its worst frame."""
        noisy = self.frames
        of_each = [[_as_error(name, _numbers(metrics[name])[frame]) for frame in noisy] for metrics in compared]
        return sum(max(errors) if worst else sum(errors) / len(errors) for errors in of_each) / len(of_each)

    def _measured(self, name: str) -> bool:
        return all(
            name in metrics and metrics[name].unavailable is None for metrics in (*self.to_preview, *self.between)
        )


def means_of(pairs: Sequence[Metrics], name: str) -> list[float]:
    """A metric's means over the pairs that differ, where it was measured."""
    found = [pair[name].mean for pair in pairs if name in pair and pair["psnr"].mean is not None]
    return [mean for mean in found if mean is not None]


def _numbers(metric: MetricResult) -> list[float]:
    return [float("inf") if number is None else number for number in metric.per_frame]


def _as_error(name: str, number: float) -> float:
    """A frame's metric as an error that adds up: 0 for equal frames."""
    return {"psnr": 10 ** (-number / 10), "ssim": 1 - number, "lpips": number, "vmaf": 100 - number}[name]
