"""Stage 6: a small classifier that says what a clip shows, trained on rendered clips only, never on generated ones.

python -m cases.training.judge --work WORK
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice, pairwise
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy, interpolate

from cases.training import loop
from cases.training.clips import COLORS, DIRECTIONS, SHAPES, Clip, Scene, render, scenes

QUESTIONS: dict[str, tuple[str, ...]] = {
    "color": tuple(COLORS),
    "shape": SHAPES,
    "direction": tuple(DIRECTIONS),
    "framed": ("no", "yes"),
}
LENGTHS = ((96, 64, 9), (96, 64, 9), (96, 64, 17), (160, 96, 9))
SEEN = (40, 64)
"""Height and width of the classifier's input: the first, middle and last frame."""


class Judge(nn.Module):
    """Five convolutions over three frames as nine channels."""

    def __init__(self) -> None:
        super().__init__()
        widths = (9, 32, 48, 64, 64)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(4, after), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 3 * 4, 96), nn.ReLU())
        self.heads = nn.ModuleDict({name: nn.Linear(96, len(answers)) for name, answers in QUESTIONS.items()})

    def forward(self, looks: torch.Tensor) -> dict[str, torch.Tensor]:
        """Score each question's answers for inputs (B, 9, *SEEN) in -1 to 1."""
        seen = self.body(looks)
        return {name: head(seen) for name, head in self.heads.items()}


def look(clip: Clip) -> torch.Tensor:
    """Turn frames (T, H, W, 3) uint8 into an input (9, *SEEN)."""
    frames = torch.from_numpy(clip[[0, len(clip) // 2, -1]]).permute(0, 3, 1, 2).float() / 127.5 - 1
    return interpolate(frames, SEEN, mode="bilinear", antialias=True).flatten(0, 1)


def truth(scene: Scene) -> list[int]:
    """Return the right answers, in the order of QUESTIONS."""
    answers = (scene.color, scene.shape, scene.direction, "yes" if scene.framed else "no")
    return [known.index(answer) for known, answer in zip(QUESTIONS.values(), answers, strict=True)]


@torch.no_grad()
def answers(judge: Judge, clips: Sequence[Clip]) -> list[dict[str, str]]:
    """Classify each clip."""
    scores = judge(torch.stack([look(clip) for clip in clips]))
    return [{name: QUESTIONS[name][int(scores[name][row].argmax())] for name in QUESTIONS} for row in range(len(clips))]


def load(work: Path) -> Judge:
    """Load the trained classifier."""
    judge = Judge()
    judge.load_state_dict(torch.load(work / "judge-weights.pt", weights_only=True))
    return judge.eval()


def _spoil(looks: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """Vary contrast and brightness and add noise: generated clips are not as clean as rendered ones."""
    each = (len(looks), 1, 1, 1)
    contrast, brightness = 0.8 + 0.4 * torch.rand(each, generator=random), 0.15 * torch.randn(each, generator=random)
    return looks * contrast + brightness + 0.08 * torch.randn(looks.shape, generator=random)


def _recolor(looks: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """Permute the channels, and invert some clips."""
    other = looks.view(len(looks), 3, 3, *SEEN)[:, :, torch.randperm(3, generator=random)].flatten(1, 2)
    return other * (1 - 2 * torch.randint(2, (len(looks), 1, 1, 1), generator=random))


def main() -> None:
    """Train, and print the accuracy on held-out clips."""
    parser = loop.arguments(__doc__ or "")
    parser.add_argument("--steps", type=int, default=1200)
    options = parser.parse_args()
    torch.manual_seed(6)
    judge = Judge()
    # All combinations are used: trained without some, it would learn that these never occur.
    known = [
        *islice(scenes(61, held_out=False, sizes=LENGTHS, framed=0.4), 2200),
        *islice(scenes(63, held_out=True, sizes=LENGTHS, framed=0.4), 300),
    ]
    looks, labels = torch.stack([look(render(item)) for item in known]), torch.tensor([truth(item) for item in known])

    def loss_of(_: int, random: torch.Generator) -> dict[str, torch.Tensor]:
        rows = torch.randint(len(looks), (32,), generator=random)
        seen = _spoil(looks[rows], random)
        swapped = torch.rand(32, generator=random) < 0.5
        # Shapes must not be recognised by their colours: every other clip gets wrong ones.
        seen = torch.where(swapped.view(-1, 1, 1, 1), _recolor(seen, random), seen)
        scores = judge(seen)
        wrong = {
            name: cross_entropy(scores[name], labels[rows, column], reduction="none")
            for column, name in enumerate(QUESTIONS)
        }
        wrong["color"] = wrong["color"] * ~swapped
        return {"loss": torch.stack([item.mean() for item in wrong.values()]).sum(), "shape": wrong["shape"].mean()}

    plan = loop.Plan(work=options.work, name="judge", steps=options.steps, rate=2e-3, seed=6, average=0.98)
    loop.train(plan, judge.parameters(), loss_of)
    torch.save(judge.state_dict(), options.work / "judge-weights.pt")
    unseen = list(islice(scenes(62, held_out=True, sizes=LENGTHS, framed=0.4), 200))
    said = answers(judge.eval(), [render(item) for item in unseen])
    for column, name in enumerate(QUESTIONS):
        right = sum(
            QUESTIONS[name].index(answer[name]) == truth(scene)[column]
            for answer, scene in zip(said, unseen, strict=True)
        )
        print(f"{name}: {right} of {len(unseen)} other clips")


if __name__ == "__main__":
    main()
