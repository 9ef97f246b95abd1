"""A run as JUnit XML, which GitLab, Jenkins and most other CI show as tests."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

from parity.results.case import CaseResult, MetricResult, Run
from pipelines.files.shown import visible

_NOT_XML = re.compile("[\ufffe\uffff]")
"""What XML 1.0 has not, of what is visible: the last two code points."""


def junit(run: Run, page: Path | None = None) -> bytes:
    """The run in UTF-8, one test for each case in the order of the run. `page` is the report that each test names.

    Unexpected drift and previews that cannot be reproduced are failures, a case that could not be run is an error.
    A case that drifted as expected passes; its output says in what. With baselines, they decide: a preview that they
    let pass though it cannot be reproduced is skipped. A shard that is missing is an error.
    """
    suite = ET.Element("testsuite", name="wan-parity")
    for case in run.cases:
        suite.append(_test(case, page))
    for missing in run.missing:
        test = _element("testcase", classname="wan-parity", name=missing)
        test.append(_element("error", type="missing", message=missing))
        suite.append(test)
    suite.set("tests", str(len(suite.findall("testcase"))))
    for name, kind in {"failures": "failure", "errors": "error", "skipped": "skipped"}.items():
        suite.set(name, str(len(suite.findall(f"testcase/{kind}"))))
    suite.set("time", f"{sum(case.seconds or 0 for case in run.cases):.3f}")
    suite.set("timestamp", _showable(run.started))
    suites = ET.Element("testsuites")
    suites.append(suite)
    ET.indent(suites)
    text: bytes = ET.tostring(suites, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def properties(case: CaseResult) -> dict[str, str | float]:
    """The facts about a case that every JUnit report of this project holds."""
    values: dict[str, str | float] = {"status": case.status, "verdict": case.verdict, "model": case.model}
    if case.bit_identical is not None:
        values["bit_identical"] = str(case.bit_identical).lower()
    for name, metric in case.metrics.items():
        values |= _figures(name, metric)
    values["factors"] = ", ".join(finding.factor for finding in case.findings) or "none"
    if case.output is not None:
        values["output_sha256"] = case.output.sha256
    if case.repeat is not None:
        values["repeat"] = case.repeat.sentence
    if case.target is not None:
        values["target"] = case.target.url
    if case.file is not None:
        values["file"] = case.file.path
    if case.baseline is not None:
        values["baseline"] = case.baseline.outcome
    if case.speed is not None:
        values["seconds"] = case.speed.seconds
    if case.seconds_ratio is not None:
        values["seconds_ratio_allowed"] = case.seconds_ratio
        slowdown = case.baseline.slowdown if case.baseline is not None else None
        values["seconds_ratio"] = "not judged" if slowdown is None else round(slowdown, 3)
    return values


def _figures(name: str, metric: MetricResult) -> Mapping[str, str | float]:
    """A metric's mean and worst frame; the PSNR of identical frames, which is infinite, is `identical`."""
    if metric.unavailable is not None:
        return {f"{name}_mean": f"unavailable: {metric.unavailable}"}
    return {
        f"{name}_{kind}": "identical" if value is None else round(value, 6)
        for kind, value in (("mean", metric.mean), ("worst", metric.worst))
    }


def _test(case: CaseResult, page: Path | None) -> ET.Element:
    test = _element("testcase", classname="wan-parity", name=case.id, file=case.case_file)
    test.set("time", f"{case.seconds or 0:.3f}")
    listed = ET.SubElement(test, "properties")
    for name, value in {**properties(case), **({} if page is None else {"report": str(page)})}.items():
        listed.append(_element("property", name=name, value=str(value)))
    if case.failed:
        kind = "error" if case.status == "error" else "failure"
        problem = _element(kind, type=case.status, message=case.verdict)
        problem.text = _showable("\n".join(_details(case)))
        test.append(problem)
    elif case.status == "unpairable":
        test.append(_element("skipped", message=case.verdict))
    elif case.status != "passed":
        output = ET.SubElement(test, "system-out")
        output.text = _showable(case.verdict)
    return test


def _details(case: CaseResult) -> list[str]:
    lines = [case.error or case.verdict]
    for finding in case.findings:
        lines.append(f"{finding.factor}: preview {finding.preview}, inference {finding.inference}")
        if finding.fix:
            lines.append(f"  change: {finding.fix}")
    if case.diagnosis is not None:
        lines.append(case.diagnosis.sentence)
    return lines


def _element(tag: str, **attributes: str) -> ET.Element:
    return ET.Element(tag, {name: _showable(value) for name, value in attributes.items()})


def _showable(text: str) -> str:
    return _NOT_XML.sub("\ufffd", visible(text))
