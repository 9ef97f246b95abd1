"""The diagnosis section of the report shows everything a diagnosis and a search found."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import expect

from parity.results.case import CaseResult, FindingResult, Run
from parity.results.diagnosis import (
    LEVELS,
    Candidate,
    Closeness,
    Cost,
    Diagnosis,
    FactorCost,
    Origin,
    Search,
    Setting,
    Snippet,
    StageGap,
    Stopped,
    Trial,
    WaterfallStep,
)
from parity.results.json_text import from_json, to_json
from reports import diagnosis_charts as charts
from reports.diagnosis_view import diagnosis_view
from reports.render import render
from tests.support.browser import Browse
from tests.support.report_cases import HOSTILE, Page, error_case, run_of

EQUAL = Closeness(identical=True)
UNPAIRED = Closeness(identical=False, unavailable="17 frames, the preview has 33")


def near(psnr: float, ssim: float) -> Closeness:
    return Closeness(identical=False, psnr=psnr, ssim=ssim)


def trial(file: Closeness, raw: Closeness | None = None) -> Trial:
    return Trial(to_preview=file, to_recipe=raw, raw_sha256="ab" * 32, file_sha256="cd" * 32, denoising_steps=6)


AS_IS = trial(near(33.83, 0.9137), near(38.86, 0.9818))
SCHEDULER = FactorCost(
    factor="scheduler",
    preview="FlowMatchEulerDiscreteScheduler, shift 3.0",
    inference="UniPCMultistepScheduler, shift 3.0",
    fix="pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)",
    level="visible",
    rank=1,
    gain=trial(near(36.53, 0.9531), near(48.24, 0.9977)),
    loss=trial(near(33.84, 0.9139), near(38.87, 0.9816)),
)
PRECISION = FactorCost(
    factor="precision",
    preview="bfloat16, cast whole",
    inference="bfloat16, float32 modules kept",
    fix="part.to(torch.bfloat16)",
    level="rounding",
    rank=2,
    gain=trial(near(33.72, 0.9116), near(38.74, 0.9813)),
    loss=trial(near(36.65, 0.9544), near(48.31, 0.9978)),
)
CODEC = FactorCost(
    factor="codec",
    preview="WebP, quality 95",
    inference="MP4",
    fix="write WebP at quality 95",
    not_measured="gain and loss: the budget was spent",
)
ORIGIN = Origin(
    sentence="The noise is equal; the schedules differ.",
    stages=(
        StageGap(stage="noise", equal=True, gap=0.0),
        StageGap(stage="image_latents", equal=None, note="only the preview has it"),
        StageGap(stage="sigmas", equal=False, gap=0.0544, note="first at step 2: 0.75 against 0.9"),
    ),
    sigmas={"preview": (1.0, 0.75, 0.4, 0.0), "inference": (1.0, 0.9, 0.5, 0.0)},
    first_step=2,
    latent_gaps=(0.0, 0.0004, 0.04),
)
COST = Cost(planned=8.0, spent=5.5, denoising_steps=33, decodes=9, encodings=4, reused=3, loads=2, seconds=21.1)


def diagnosis() -> Diagnosis:
    """A diagnosis with three factors, the last one not generated because the budget was spent."""
    return Diagnosis(
        mode="full",
        sentence="explained up to 47.9 dB (as it is: 33.8 dB): scheduler; scheduler costs most",
        explained=False,
        stopped="budget",
        factors=(SCHEDULER, PRECISION, CODEC),
        smallest_set=("scheduler",),
        smallest_set_evidence="draws the same file, byte for byte, with precision left as it is",
        as_is=AS_IS,
        preview_recipe=trial(near(47.91, 0.9969), EQUAL),
        residue=near(47.91, 0.9969),
        outside=("generated with the live float32 weights", "another CPU rounds differently"),
        waterfall=(
            WaterfallStep(taken=None, trial=AS_IS),
            WaterfallStep(taken="scheduler", trial=SCHEDULER.gain),
            WaterfallStep(taken="precision", trial=None),
            WaterfallStep(taken="codec", trial=trial(EQUAL, EQUAL)),
        ),
        origin=ORIGIN,
        cost=COST,
    )


def quick() -> Diagnosis:
    moved = (replace(SCHEDULER, latent_gap=0.0353), replace(PRECISION, latent_gap=1e-4))
    return Diagnosis(
        mode="quick",
        sentence="first to look at: scheduler; pixels were not compared",
        explained=None,
        factors=(
            *(replace(cost, gain=None, loss=None) for cost in moved),
            replace(CODEC, level="file only", rank=3, not_measured="known without drawing"),
        ),
    )


def search() -> Search:
    return Search(
        verdict="likely",
        sentence="seed 7 comes nearer than the codec's own loss",
        best=near(44.1, 0.9921),
        settings=(
            Setting(
                name="seed",
                assumed="42",
                found="7",
                changed=True,
                tried=(
                    Candidate(value="42", to_preview=near(12.3, 0.2012)),
                    Candidate(value="7", to_preview=near(44.1, 0.9921)),
                    Candidate(value="9", to_preview=None, note="the budget was spent"),
                ),
                evidence="31.8 dB nearer than the next",
            ),
            Setting(name="steps", assumed="25", found="25", changed=False, tried=(), evidence="no other was nearer"),
        ),
        recipe={"seed": 7, "steps": 25, "width": {"asked": 100, "applied": 96}},
        stopped="budget",
        cost=COST,
        notes=("sigmas of the toolkit before 0.9.3 were not tried",),
    )


def case(found: Diagnosis | None = None, looked: Search | None = None) -> CaseResult:
    findings = (FindingResult(factor="scheduler", preview="Euler", inference="UniPC", note="build it"),)
    return replace(error_case(), id="why", status="drifted", findings=findings, diagnosis=found, search=looked)


def page(found: Diagnosis | None = None, looked: Search | None = None) -> Page:
    return Page(render(run_of(case(found, looked)), Path()))


def rows(html: str) -> list[list[str]]:
    """Cells of every table row, as text."""
    return [
        [" ".join(Page(cell).text.split()) for cell in re.findall(r"<t[hd][ >].*?</t[hd]>", row, re.DOTALL)]
        for row in re.findall(r"<tr.*?</tr>", html, re.DOTALL)
    ]


def factor_rows(found: Diagnosis) -> list[list[str]]:
    html = render(run_of(case(found)), Path())
    table = html.split('<table class="wrap cards costs">')[1].split("</table>")[0]
    return rows(table.split("<tbody>")[1])


def test_factors_are_listed_by_rank_between_both_endpoints() -> None:
    names = [row[0] if len(row) < 5 else row[1] for row in factor_rows(diagnosis())]
    assert names == ["as requested", "scheduler", "precision", "codec", "preview's recipe"]
    assert [row[0] for row in factor_rows(diagnosis())[1:4]] == ["1", "2", "not ranked"]


def test_every_figure_of_every_factor_is_there() -> None:
    as_is, scheduler, precision, _, recipe = factor_rows(diagnosis())
    assert scheduler == [
        "1",
        "scheduler",
        "visible",
        "FlowMatchEulerDiscreteScheduler, shift 3.0",
        "UniPCMultistepScheduler, shift 3.0",
        "36.53 dBSSIM 0.9531raw: 48.24 dB, SSIM 0.9977",
        "33.84 dBSSIM 0.9139raw: 38.87 dB, SSIM 0.9816",
    ]
    assert precision[5:] == [
        "33.72 dBSSIM 0.9116raw: 38.74 dB, SSIM 0.9813",
        "36.65 dBSSIM 0.9544raw: 48.31 dB, SSIM 0.9978",
    ]
    assert as_is[2] == "33.83 dBSSIM 0.9137raw: 38.86 dB, SSIM 0.9818"
    assert recipe[3] == "47.91 dBSSIM 0.9969raw: bit-identical"


def test_no_cell_is_empty_and_what_was_not_measured_says_why() -> None:
    every = factor_rows(diagnosis())
    assert all(cell for row in every for cell in row)
    codec = every[3]
    assert codec[2] == "not measured"
    assert codec[5:] == ["not measuredgain and loss: the budget was spent"] * 2
    unpaired = replace(SCHEDULER, gain=trial(UNPAIRED))
    cells = factor_rows(replace(diagnosis(), factors=(unpaired,)))[1]
    assert cells[5] == "no value17 frames, the preview has 33raw: the preview's recipe was not generated"


def test_the_legend_lists_every_level() -> None:
    for found in (diagnosis(), quick()):
        assert diagnosis_view(found).levels == list(LEVELS.items())
        html = render(run_of(case(found)), Path())
        assert all(f"<b>{level}</b>: {meaning}" in html for level, meaning in LEVELS.items())


def test_quick_shows_how_much_latents_change_and_no_pixels() -> None:
    html = render(run_of(case(quick())), Path())
    table = html.split('<table class="wrap cards costs">')[1].split("</table>")[0]
    head, *body = rows(table)
    assert head[-1].startswith("Latents change by")
    assert not re.search("dB|SSIM|PSNR|[Oo]nly this fixed|as requested", table)
    assert [row[-1] for row in body] == ["18.8%", "1%", "not measuredknown without drawing"]


@pytest.mark.parametrize(
    ("stopped", "words"),
    [
        ("interrupted", "Stopped early: interrupted"),
        ("budget", "Stopped early: the budget was spent"),
        ("explained", "Stopped early: nothing more was needed"),
        ("error", "Stopped early: an error"),
    ],
)
def test_says_why_it_stopped_early(stopped: Stopped, words: str) -> None:
    assert words in page(replace(diagnosis(), stopped=stopped)).words
    assert "Stopped early" not in page(replace(diagnosis(), stopped=None)).words


def test_an_error_is_shown_once() -> None:
    broken = replace(diagnosis(), stopped="error", sentence="stopped: out of memory", error="out of memory")
    assert page(broken).words.count("out of memory") == 1
    assert "out of memory" in page(replace(broken, sentence="stopped")).words


def test_a_diagnosis_without_results_still_renders() -> None:
    words = page(Diagnosis(mode="full", sentence="nothing is known", explained=None, stopped="interrupted")).words
    assert "nothing is known" in words
    assert "The diagnosis stopped early: interrupted." in words


def test_the_waterfall_shows_every_step_at_the_terminals_scale() -> None:
    bars = charts.waterfall(diagnosis().waterfall)
    assert [(bar.name, bar.kind) for bar in bars] == [
        ("as requested", "measured"),
        ("+ scheduler", "measured"),
        ("+ precision", "not-generated"),
        ("+ codec", "identical"),
    ]
    assert [bar.width for bar in bars[:2]] == pytest.approx([100 * 23.83 / 45, 100 * 26.53 / 45], abs=0.01)
    html = render(run_of(case(diagnosis())), Path())
    items = [" ".join(Page(item).text.split()) for item in re.findall(r'<li class="[a-z-]+">.*?</li>', html, re.DOTALL)]
    assert items[:4] == [
        "as requested: 33.83 dB",
        "+ scheduler: 36.53 dB",
        "+ precision: not generated over the budget",
        "+ codec: bit-identical",
    ]


@pytest.mark.parametrize(("psnr", "width"), [(5.0, 1.0), (10.0, 1.0), (32.5, 50.0), (90.0, 97.0)])
def test_a_bar_of_a_finite_figure_is_neither_empty_nor_full(psnr: float, width: float) -> None:
    steps = [WaterfallStep(taken=None, trial=AS_IS), WaterfallStep(taken="seed", trial=trial(near(psnr, 0.5)))]
    assert charts.waterfall(steps)[1].width == width


def test_a_step_without_pairs_has_no_bar_but_its_reason() -> None:
    steps = (WaterfallStep(taken=None, trial=trial(UNPAIRED)), WaterfallStep(taken="frame_count", trial=AS_IS))
    words = page(replace(diagnosis(), waterfall=steps)).words
    assert "as requested: no value 17 frames, the preview has 33 + frame_count: 33.83 dB" in words


def test_the_start_alone_is_no_waterfall() -> None:
    only = diagnosis().waterfall[:1]
    assert "Adding fixes one by one" not in page(replace(diagnosis(), waterfall=only)).words


def test_every_stage_says_how_it_compares() -> None:
    words = page(diagnosis()).words
    for sentence in (
        ORIGIN.sentence,
        "noise = equal",
        "image latents ⊘ not comparableonly the preview has it",
        "sigmas ≠ differs by 23.3%first at step 2: 0.75 against 0.9",
    ):
        assert sentence in words


def test_the_charts_have_a_text_and_a_table() -> None:
    html = render(run_of(case(diagnosis())), Path())
    labels = Page(html).attributes("aria-label")
    assert (
        "Line chart of the relative difference of the latents after each of 3 steps. They first differ after step 2; "
        "largest after step 3, 20%; at the end 20%." in labels
    )
    assert any("differ most at step 2: 0.75 against 0.9." in label for label in labels)
    table = html.split('-steps" tabindex="0">')[1].split("</table>")[0]
    assert rows(table)[1:] == [
        ["1", "1", "1", "equal"],
        ["2", "0.75", "0.9", "2%"],
        ["3", "0.4", "0.5", "20%"],
        ["end", "0", "0", "as above"],
    ]
    assert "first differs: step 2" in Page(html).words


def test_the_latents_chart_is_logarithmic_with_equal_steps_below() -> None:
    chart = charts.gap_chart(replace(ORIGIN, latent_gaps=(0.0, 1e-4, 1e-2)))
    assert chart is not None
    assert chart.band is not None
    equal, one, ten = chart.lines[0].points
    assert equal.equal
    assert equal.y > chart.band.at
    assert [tick.label for tick in chart.ticks] == ["1%", "10%"]
    assert [one.y, ten.y] == [tick.at for tick in chart.ticks]
    assert chart.lines[0].path == f"M50 {one.y:g}L100 {ten.y:g}"
    assert chart.mark is not None
    assert chart.mark.at == 50.0


@pytest.mark.parametrize("gaps", [(1e-12, 0.5), (0.01,), (1.0, 1.0), (0.0, 3.0), (1e-30, 4.0)])
def test_the_latents_chart_stays_on_its_paper(gaps: tuple[float, ...]) -> None:
    chart = charts.gap_chart(replace(ORIGIN, latent_gaps=gaps))
    assert chart is not None
    assert 1 <= len(chart.ticks) <= 7
    for point in chart.lines[0].points:
        assert 0 <= point.x <= 100
        assert 0 <= point.y <= 100


def test_without_comparable_latents_a_sentence_says_so() -> None:
    apart = replace(ORIGIN, latent_gaps=(), first_step=None)
    assert "The latents cannot be compared step by step." in page(replace(diagnosis(), origin=apart)).words
    equal = replace(ORIGIN, latent_gaps=(0.0, 0.0), first_step=None)
    assert "The latents are equal after every step." in page(replace(diagnosis(), origin=equal)).words


def test_schedules_of_another_length_keep_their_own_steps() -> None:
    longer = replace(ORIGIN, sigmas={"preview": (1.0, 0.5, 0.0), "inference": (1.0, 0.8, 0.6, 0.2, 0.0)})
    chart = charts.sigma_chart(longer.sigmas)
    assert chart is not None
    assert [line.points[-1].x for line in chart.lines] == [50.0, 100.0]
    assert "2 steps in the preview, 4 in the request." in chart.label
    assert "no such step" in page(replace(diagnosis(), origin=longer)).words


def test_an_origin_without_schedules_renders() -> None:
    bare = replace(ORIGIN, sigmas={}, latent_gaps=(), stages=(), first_step=None)
    words = page(replace(diagnosis(), origin=bare)).words
    assert ORIGIN.sentence in words
    assert "Every step in numbers" not in words


def test_only_the_smallest_set_is_to_change() -> None:
    shown = page(diagnosis())
    assert (
        "Smallest set of fixes: scheduler (draws the same file, byte for byte, with precision left as it is)"
        in shown.words
    )
    assert f"What to change schedulerfrom {SCHEDULER.inference} to {SCHEDULER.preview}" in shown.words
    assert SCHEDULER.fix in shown.words
    assert PRECISION.fix not in shown.words


def test_all_factors_are_to_change_while_the_smallest_set_is_not_known() -> None:
    words = page(replace(diagnosis(), smallest_set=None)).words
    assert "What to change: all settings that differ" in words
    assert all(cost.fix in words for cost in (SCHEDULER, PRECISION, CODEC))


def test_the_residue_comes_with_its_possible_causes() -> None:
    words = page(diagnosis()).words
    assert "and its recipe, generated here: 47.91 dB, SSIM 0.9969." in words
    assert "What else it can be generated with the live float32 weights another CPU rounds differently" in words
    assert "Left unexplained" not in page(replace(diagnosis(), residue=None)).words


def test_the_cost_is_shown() -> None:
    words = page(diagnosis()).words
    for fact in (
        "5.5 of 8 generations planned, 21.1 s",
        "denoising steps 33",
        "decodes 9",
        "encodings 4",
        "generations reused 3",
        "checkpoints loaded 2",
        "seconds 21.1",
    ):
        assert fact in words


def test_the_search_says_what_it_found_and_all_it_tried() -> None:
    html = render(run_of(case(None, search())), Path())
    words = Page(html).words
    for sentence in (
        "≈ likely",
        "stopped early: the budget was spent",
        "seed 7 comes nearer than the codec's own loss",
        "Best hypothesis against the preview: 44.10 dB, SSIM 0.9921.",
        "sigmas of the toolkit before 0.9.3 were not tried",
        "5.5 of 8 generations planned",
        "width 96 (asked 100)",
    ):
        assert sentence in words
    every = rows(html)
    assert ["seed", "42", "7≠ changed", "31.8 dB nearer than the next"] in every
    assert ["steps", "25", "25as assumed", "no other was nearer"] in every
    assert ["seed", "42", "12.30 dBSSIM 0.2012", "none"] in every
    assert ["seed", "9", "not generated", "the budget was spent"] in every


@pytest.mark.parametrize(("verdict", "words"), [("proven", "✓ proven"), ("not found", "✗ not found")])
def test_the_search_chip_is_its_verdict(verdict: str, words: str) -> None:
    looked = replace(search(), verdict=verdict)  # type: ignore[arg-type]
    assert words in page(None, looked).words
    assert "likely" not in page(None, looked).words


def test_a_case_without_diagnosis_has_no_such_section() -> None:
    shown = page()
    assert "Findings" in shown.words
    for identifier in ("c0-why", "c0-search", "c0-factors", "c0-origin"):
        assert identifier not in shown.attributes("id")
    assert {"c0-why", "c0-search"} <= set(page(diagnosis(), search()).attributes("id"))


def test_ids_stay_unique_over_several_diagnosed_cases() -> None:
    both = case(diagnosis(), search())
    names = Page(render(run_of(both, both), Path())).attributes("id")
    assert len(set(names)) == len(names)


def hostile() -> Run:
    """Every free text of a diagnosis and of a search tries to be markup."""
    found = diagnosis()
    factor = replace(SCHEDULER, factor=HOSTILE, preview=HOSTILE, inference=HOSTILE, fix=HOSTILE, not_measured=HOSTILE)
    stages = (StageGap(stage=HOSTILE, equal=None, note=HOSTILE),)
    bad = Closeness(identical=False, unavailable=HOSTILE)
    found = replace(
        found,
        sentence=HOSTILE,
        error=HOSTILE + "!",
        factors=(replace(factor, gain=None), replace(factor, gain=trial(bad))),
        smallest_set=(HOSTILE,),
        smallest_set_evidence=HOSTILE,
        residue=bad,
        outside=(HOSTILE,),
        waterfall=(WaterfallStep(taken=None, trial=trial(bad)), WaterfallStep(taken=HOSTILE, trial=None)),
        origin=replace(ORIGIN, sentence=HOSTILE, stages=stages),
    )
    setting = Setting(
        name=HOSTILE,
        assumed=HOSTILE,
        found=HOSTILE,
        changed=True,
        tried=(Candidate(value=HOSTILE, to_preview=None, note=HOSTILE),),
        evidence=HOSTILE,
    )
    looked = replace(search(), sentence=HOSTILE, best=bad, settings=(setting,), recipe={HOSTILE: HOSTILE})
    return run_of(case(found, replace(looked, notes=(HOSTILE,))))


def test_hostile_text_stays_text() -> None:
    shown = Page(render(hostile(), Path()))
    assert not [tag for tag, attrs in shown.elements if tag == "img" or "onerror" in attrs]
    assert shown.text.count("</script><img src=x onerror") >= 25


def test_the_strict_policy_needs_no_inline_style_and_no_reference() -> None:
    html = render(run_of(case(diagnosis(), search())), Path())
    shown = Page(html)
    assert not shown.attributes("style")
    assert not [name for _, attrs in shown.elements for name in attrs if name.startswith("on")]
    assert "url(" not in html


def test_the_report_is_the_same_after_results_json() -> None:
    run = run_of(case(diagnosis(), search()), case(quick()))
    read = from_json(to_json(run))
    assert read == run
    assert render(read, Path()) == render(run, Path())


def test_the_view_holds_no_markup() -> None:
    assert "<" not in repr(diagnosis_view(diagnosis()))


@pytest.mark.parametrize("width", [1280, 400])
def test_fits_the_window(browse: Browse, width: int) -> None:
    page = browse(run_of(case(diagnosis(), search()), case(quick()), *hostile().cases), width=width)
    page.evaluate("document.querySelectorAll('details').forEach((item) => { item.open = true; })")
    for link in ("", *page.locator("tr[data-row] a").evaluate_all("all => all.map((link) => link.hash)")):
        page.evaluate("hash => { location.hash = hash; }", link)
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    expect(page.locator("img, [onerror]")).to_have_count(0)


def test_the_copy_button_copies_or_else_selects(browse: Browse) -> None:
    found = replace(diagnosis(), code=Snippet(language="python", text=SCHEDULER.fix))
    page = browse(run_of(case(found)), "#case-why")
    button = page.get_by_role("button", name="Copy all changes for why")
    page.evaluate("Object.defineProperty(navigator, 'clipboard', {configurable: true, value: undefined})")
    button.click()
    expect(button).to_have_text("Selected")
    assert page.evaluate("getSelection().toString()") == SCHEDULER.fix
    page.evaluate(
        "Object.defineProperty(navigator, 'clipboard', "
        "{configurable: true, value: {writeText: async (text) => { window.copied = text; }}})"
    )
    button.click()
    expect(button).to_have_text("Copied")
    assert page.evaluate("window.copied") == SCHEDULER.fix


def test_every_line_and_point_of_the_charts_is_visible(browse: Browse) -> None:
    page = browse(run_of(case(diagnosis())), "#case-why")
    page.locator("details.why > summary").click()
    shown = "getComputedStyle(mark).display !== 'none' && mark.getBoundingClientRect().width > 0"
    marks = "[...document.querySelectorAll('.chart path, .chart circle.dot, .waterfall rect')]"
    assert page.evaluate(f"{marks}.length") == 3 + 1 + 2 + 8 + 2  # lines, equal step, latents, sigmas, bars
    assert page.evaluate(f"{marks}.every((mark) => {shown})")
