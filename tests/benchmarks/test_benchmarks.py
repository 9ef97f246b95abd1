"""`python -m benchmarks` in its smallest form: what it prints, keeps and writes. Tests measure no time."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from benchmarks import table
from benchmarks.__main__ import SCRIPTS, SUBSETS, main
from tests.support.paths import ROOT


def test_the_cheap_subsets_write_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page, kept = tmp_path / "performance.md", tmp_path / "last.json"
    page.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    kept.write_text(json.dumps({"tiny": {"date": "2026-11-30", "machine": "another", "busy": 0.0, "rows": []}}))
    monkeypatch.setattr(table, "PAGE", page)
    monkeypatch.setattr(table, "KEPT", kept)
    assert main(["metrics", "hashing", "--small", "--pairs", "1", "--write"]) == 0
    assert "metrics: SSIM and PSNR" in capsys.readouterr().out
    text = page.read_text()
    assert re.fullmatch(r"before\n.*after\n", text, re.S)
    assert "old" not in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert {line.count(" | ") for line in rows} == {6}
    assert re.search(r"\| metrics \| PSNR, 2 frames of 80x48, exact \| numpy in float64 \| [\d./() e-]+ \| ", text)
    assert "\n- tiny: 2026-11-30, another; load before it at most 0.\n" in text
    found = json.loads(kept.read_text())
    assert list(found) == ["tiny", "metrics", "hashing"]
    ratios = [row["ratio"] for row in found["metrics"]["rows"]]
    assert all(ratio > 0 for ratio in ratios[:3])
    assert ratios[3:] == [None, None]


def test_a_page_without_markers_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text("mine")
    with pytest.raises(ValueError, match="has no lines"):
        table.write_page(page, "table")
    assert page.read_text() == "mine"


def test_the_page_shows_the_figures_that_are_kept() -> None:
    kept = json.loads(table.KEPT.read_text(encoding="utf-8"))
    shown = {name: kept[name] for name in SUBSETS if name in kept}
    assert f"{table.BEGIN}\n{table.markdown(shown)}\n{table.END}" in table.PAGE.read_text(encoding="utf-8")


def test_every_benchmark_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    listed = capsys.readouterr().out
    assert all(re.search(rf"^{name} +[A-Z`].*\.$", listed, re.M) for name in SUBSETS)
    scripts = {
        path.stem
        for path in (ROOT / "benchmarks").glob("*.py")
        if "argparse.ArgumentParser" in path.read_text(encoding="utf-8") and path.stem != "__main__"
    }
    assert scripts <= set(SCRIPTS)
    assert all(f"python -m benchmarks.{name} " in listed for name in SCRIPTS)


def test_an_unknown_subset_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["metrics", "metric"]) == 2
    assert "no subset metric; there are metrics, hashing, tiny" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (1.234, "1.23"), (0.5, "0.50"), (0.08, "0.08 (1/12.5)"), (0.002, "1/500"), (0, "0.00")],
)
def test_a_ratio_below_a_half_is_also_a_fraction(value: float | None, text: str) -> None:
    assert table.ratio(value) == text
