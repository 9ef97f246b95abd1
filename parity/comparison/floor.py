"""What drawings of one request leave between each other, and whether a difference from the preview is more than that.

The rule. Causes that know nothing of each other add by their squared errors. Each drawing is off by its own noise, so
the error between two is twice the noise of one. A preview that is one more drawing is as far from them; if it also
differs for a reason, that reason's own error comes on top. It is no larger than the noise of one drawing as long as the
sum is at most one and a half times the error between two: 1.76 dB of PSNR. On 1 - SSIM and LPIPS, which grow as a
squared error does, the same. Both sides are means, over all drawings and over every two of them: the nearest or the
farthest of a handful would be luck. Measured on the demo's I2V of Wan 2.2 with an unseeded posterior (91 pairs of 14
drawings, 29.0 to 30.2 dB): with a further drawing in the preview's place, two drawings were nearer to each other than
it was to either in 34 of 100 runs, three in 6; by this rule it was drift in none of 20,000. Two steps instead of six
are 2.5 dB farther away than the drawings are from each other, and stay drift.

Frames that are equal in all drawings have no noise: they are held to the tolerance, or to the bit, by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from parity.comparison.metrics import meets, summarize
from parity.results.case import MetricResult

_TIMES = 1.5
"""The error against the preview may be this many times the one between drawings."""

Metrics = Mapping[str, MetricResult]


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """Drawings of one request that are not alike, held against the preview and against each other."""

    to_preview: tuple[Metrics, ...]
    """Of each drawing, the case's output first."""
    between: tuple[Metrics, ...]
    """Of every two drawings."""

    @property
    def frames(self) -> tuple[int, ...]:
        """Those that are not the same in all drawings."""
        pairs = [pair["psnr"].per_frame for pair in self.between]
        return tuple(frame for frame in range(len(pairs[0])) if any(pair[frame] is not None for pair in pairs))

    @property
    def psnr(self) -> float:
        """dB, the mean of the pairs that differ."""
        means = means_of(self.between, "psnr")
        return sum(means) / len(means)

    @property
    def within(self) -> bool:
        """Whether the preview differs from the drawings by no more than these from each other."""
        steady = set(range(len(self.to_preview[0]["psnr"].per_frame))) - set(self.frames)
        if any(self.to_preview[0]["psnr"].per_frame[frame] is not None for frame in steady):
            return False
        return all(self._is_noise(name, worst=False) for name in ("psnr", "ssim") if self._measured(name))

    def excused(self, tolerance: Mapping[str, float]) -> tuple[str, ...]:
        """The gates that the output fails by noise alone: another drawing passes, or what is amiss is no more."""
        return tuple(key for key, limit in tolerance.items() if self._excuses(key, limit))

    def _excuses(self, key: str, limit: float) -> bool:
        name, _, worst = key.partition("_")
        if not self._measured(name) or meets(self.to_preview[0][name], key, limit):
            return False
        if any(meets(drawing[name], key, limit) for drawing in self.to_preview[1:]):
            return True
        metric, noisy = self.to_preview[0][name], self.frames
        steady = [number for frame, number in enumerate(_numbers(metric)) if frame not in noisy]
        held = not steady or meets(summarize(name, steady), key, limit)
        return held and self._is_noise(name, worst=bool(worst))

    def _is_noise(self, name: str, *, worst: bool) -> bool:
        """By a metric's error over the frames that are not the same in all drawings."""
        return self._error(self.to_preview, name, worst) <= _TIMES * self._error(self.between, name, worst)

    def _error(self, compared: Sequence[Metrics], name: str, worst: bool) -> float:
        """The mean of what `compared` differ by: each by the mean of its frames, or by its worst one."""
        noisy = self.frames
        of_each = [[_as_error(name, _numbers(metrics[name])[frame]) for frame in noisy] for metrics in compared]
        return sum(max(errors) if worst else sum(errors) / len(errors) for errors in of_each) / len(of_each)

    def _measured(self, name: str) -> bool:
        return all(
            name in metrics and metrics[name].unavailable is None for metrics in (*self.to_preview, *self.between)
        )


def means_of(pairs: Sequence[Metrics], name: str) -> list[float]:
    """A metric's means of the pairs that differ, as far as they were measured."""
    found = [pair[name].mean for pair in pairs if name in pair and pair["psnr"].mean is not None]
    return [mean for mean in found if mean is not None]


def _numbers(metric: MetricResult) -> list[float]:
    return [float("inf") if number is None else number for number in metric.per_frame]


def _as_error(name: str, number: float) -> float:
    """A metric of one frame as what adds up: 0 for equal frames."""
    return {"psnr": 10 ** (-number / 10), "ssim": 1 - number, "lpips": number}[name]
