"""What was accepted beside what is new, and what approving would do, as data."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from parity.baselines.check import check_case
from parity.baselines.in_run import judged
from parity.results.case import CaseResult, FindingResult, Run
from reports.baseline_view import BaselineView, accept_command, approval, approval_data, baseline_view
from reports.render import render
from reports.stills import albums, embed
from tests.support import report_cases
from tests.support.baseline_samples import ENVIRONMENT, OTHER, baseline_of, no_output, recipe, result, run_of, video
from tests.support.report_cases import Page, draw_stills

DAY = "2026-11-22"


def gated(new: CaseResult, old: CaseResult | None = None, environment: dict[str, Any] = ENVIRONMENT) -> CaseResult:
    """A result as a run judged it whose baseline is `old`."""
    return judged(new, check_case(new, environment, None if old is None else baseline_of(old)))


def viewed(case: CaseResult, folder: Path) -> BaselineView:
    (book,) = albums([case], folder)
    embed([book], 1 << 30)
    found = baseline_view(case, book)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("new", "old", "title", "holds"),
    [
        (result(), result(), f"As accepted on {DAY}", True),
        (result(frames="abcdXfghi"), result(), f"Changed since it was accepted on {DAY}", False),
        (no_output(), result(), f"Accepted on {DAY}, and not generated now", False),
        (result(), None, "No baseline yet", False),
    ],
)
def test_the_title_says_how_it_stands(
    new: CaseResult, old: CaseResult | None, title: str, holds: bool, tmp_path: Path
) -> None:
    view = viewed(gated(new, old), tmp_path)
    assert (view.title, view.holds) == (title, holds)


def test_worse_and_better_in_another_environment(tmp_path: Path) -> None:
    def drifted(value: float, **changes: Any) -> CaseResult:
        return result(psnr=[value] * 9, ssim=[value / 50] * 9, **changes)

    far, near = (drifted(value, frames="QRSTUVWXY") for value in (25.0, 45.0))
    assert viewed(gated(far, result(), OTHER), tmp_path).title.startswith("Further from the preview than")
    better = viewed(gated(near, drifted(25.0), OTHER), tmp_path)
    assert better.title.startswith("Closer to the preview than")
    assert (better.holds, better.environment) == (False, ("torch 2.13.0 → 2.14.0",))


def test_causes_stand_with_what_they_caused(tmp_path: Path) -> None:
    recipes = {"inference": recipe(lora_scales=[0.98], steps=7)}
    view = viewed(gated(result(frames="QRSTUVWXY", recipes=recipes), result()), tmp_path)
    assert view.reasons == ("all 9 frames changed because of steps 6 → 7, lora_scale 1.0 → 0.98",)


def test_numbers_of_both_videos(tmp_path: Path) -> None:
    new = result(output=video("abcdefgh", width=112), metrics={"psnr": result(psnr=[33.0] * 9).metrics["psnr"]})
    pairs = {pair.name: pair for pair in viewed(gated(new, result()), tmp_path).pairs}
    assert {name: (pair.accepted, pair.now) for name, pair in pairs.items()} == {
        "PSNR against the preview": ("40.00 dB", "33.00 dB"),
        "SSIM against the preview": ("0.9800", "not measured"),
        "Frames": ("9", "8"),
        "Size": ("96×64", "112×64"),
        "Frame rate": ("16.13 fps", "16.13 fps"),
    }
    assert [name for name, pair in pairs.items() if not pair.changed] == ["Frame rate"]


def with_stills(case: CaseResult, folder: Path, kept: tuple[int, ...]) -> CaseResult:
    for side, frames in (("output", range(9)), ("baseline", kept)):
        draw_stills(folder / side, 9)
        for path in (folder / side).iterdir():
            if int(path.stem) not in frames:
                path.unlink()
    return replace(case, artifacts={"output_frames": "output", "baseline_frames": "baseline"})


def test_the_kept_frames_and_the_one_to_begin_with(tmp_path: Path) -> None:
    new = result(output=video("abcdXfgZ"), metrics={})
    case = with_stills(gated(replace(new, output=video("abcdXfgZi")), result()), tmp_path / "a", (0, 4, 7))
    view = viewed(case, tmp_path / "a")
    assert [(frame.number, frame.unchanged) for frame in view.frames] == [(0, True), (4, False), (7, False)]
    assert (view.first, view.no_pictures) == (4, "")
    shorter = with_stills(gated(new, result()), tmp_path / "b", (0, 8))
    view = viewed(shorter, tmp_path / "b")
    assert [(frame.number, frame.missing) for frame in view.frames] == [(0, False), (8, True)]
    worst = result(output=video("abcdXfgZi"), psnr=[40.0] * 7 + [20.0, 40.0])
    assert viewed(with_stills(gated(worst, result()), tmp_path / "c", (4, 7)), tmp_path / "c").first == 7


def test_why_there_are_no_pictures(tmp_path: Path) -> None:
    case = gated(result(frames="abcdXfghi"), result())
    assert "keeps no pictures" in viewed(case, tmp_path).no_pictures
    lost = replace(case, artifacts={"baseline_frames": "gone"})
    assert "missing in the folder" in viewed(lost, tmp_path).no_pictures
    assert case.baseline is not None
    note = "b/0004-x.webp: changed; the accepted frame 4 cannot be shown"
    damaged = replace(case, baseline=replace(case.baseline, notes=(note,)))
    assert "missing or damaged" in viewed(damaged, tmp_path).no_pictures
    kept = with_stills(case, tmp_path, (4,))
    (book,) = albums([kept], tmp_path)
    unembedded = baseline_view(kept, book)
    assert unembedded is not None
    assert "left out to keep this file small" in unembedded.no_pictures
    assert viewed(gated(result()), tmp_path).no_pictures == ""


# --- approving
@pytest.mark.parametrize(
    ("case", "effect"),
    [
        (
            gated(result(frames="QRSTUVWXY", psnr=[33.1] * 9), result(psnr=[34.2] * 9)),
            f"replaces the baseline of {DAY}: all 9 frames changed, PSNR 34.20 → 33.10 dB",
        ),
        (gated(result(frames="abcdXfghi"), result()), f"replaces the baseline of {DAY}: 1 frame changed"),
        (
            gated(result(output=video("abcdefgh", width=112)), result()),
            f"replaces the baseline of {DAY}: 8 frames instead of 9, 96×64 → 112×64",
        ),
        (
            gated(result(recipes={"inference": recipe(vae_tiling=True)}), result()),
            f"replaces the baseline of {DAY}: no frame changed",
        ),
        (gated(result()), "new: no baseline yet"),
        (result(), "becomes the baseline, whatever was accepted before: this run was not compared with baselines"),
    ],
)
def test_approving_says_what_it_does(case: CaseResult, effect: str) -> None:
    found = approval(case)
    assert found is not None
    assert found.effect == effect


@pytest.mark.parametrize(
    "case",
    [
        gated(result(), result()),  # nothing would change
        gated(no_output(), result()),
        no_output(),
        result(status="error"),
        gated(result(status="error"), result(status="error")),
    ],
)
def test_what_cannot_be_approved_has_no_tick(case: CaseResult, tmp_path: Path) -> None:
    assert approval(case) is None
    assert Page(render(run_of(case), tmp_path)).attributes("data-approve") == []
    assert approval_data([(0, case)]) == {}


@pytest.mark.parametrize(
    ("new", "warnings"),
    [
        (
            result(output=video("abcde")),
            ("has 5 frames, the preview and the baseline 9: approving accepts the missing frames",),
        ),
        (
            result(output=video("abcdefghij")),
            ("has 10 frames, the preview and the baseline 9: approving accepts the additional frame",),
        ),
        (
            result(output=video("QRSTUVWXY"), preview=video("ABCDE", height=48)),
            (
                "has 9 frames, the preview 5: approving accepts the additional frames",
                "is 96×64, the preview 96×48: approving accepts the other size",
            ),
        ),
        (
            result(
                output=video("QRSTUVWXY"),
                findings=(FindingResult(factor="broken_output", preview="", inference="", note=""),),
            ),
            ("is not a usable video by its pixels: approving accepts it as it is",),
        ),
        (result(frames="QRSTUVWXY"), ()),
    ],
)
def test_approving_warns_of_what_one_may_not_want(new: CaseResult, warnings: tuple[str, ...]) -> None:
    found = approval(gated(new, result()))
    assert found is not None
    assert found.warnings == warnings


# --- the command
def test_the_command_for_approvals_names_what_it_would_not_find() -> None:
    run = report_cases.run_of()
    plain = "parity baseline accept --from approvals.json"
    assert accept_command(run, Path("reports/out/2026-11-22_010000")) == plain
    assert accept_command(run, Path("my out")) == f'{plain} --results "my out/results.json"'
    decided = replace(run, baselines="ci/baselines")
    assert accept_command(decided, Path("reports/out/x")) == f"{plain} --baselines ci/baselines"
    parts = [{"results": "a/results.json"}, {"results": "b/results.json"}]
    merged = replace(run, environment={"runs": parts})
    assert accept_command(merged, Path()) == f"{plain} --results a/results.json --results b/results.json"


def test_the_command_names_files_as_seen_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`parity report` takes real paths, and in CI those are of no machine that a person has."""
    project = tmp_path / "project"
    project.mkdir()
    (tmp_path / "link").symlink_to(project)
    monkeypatch.chdir(tmp_path / "link")
    run = report_cases.run_of()
    assert accept_command(run, project / "parity-out").endswith(" --results parity-out/results.json")
    assert "--results" not in accept_command(run, project / "reports/out/x")
    assert accept_command(run, tmp_path / "other").endswith(f" --results {tmp_path}/other/results.json")


@pytest.mark.parametrize(
    "name", ["plain-1", "my out (1)", "it's", "a&b;c", "größe", "$HOME", 'a"b', "100%", "new\nline"]
)
def test_the_command_is_one_command_in_a_shell(name: str) -> None:
    run: Run = report_cases.run_of()
    command = accept_command(run, Path(name))
    assert shlex.split(command)[-1] == f"{name}/results.json"
    if name not in ("$HOME", 'a"b', "100%", "new\nline"):  # single quotes are nothing to cmd.exe
        assert command.partition("--results ")[2][0] in f'"{name[0]}'


def test_a_page_without_baselines_has_no_word_of_them(tmp_path: Path) -> None:
    page = Page(render(run_of(result()), tmp_path))
    assert "baseline" not in list(page.attributes("data-section"))
    held = Page(render(run_of(gated(result(), result())), tmp_path))
    assert f"As accepted on {DAY}" in held.words
    details = next(attrs for tag, attrs in held.elements if attrs.get("data-section") == "baseline")
    assert "open" not in details
