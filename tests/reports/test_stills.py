"""The choice of stills for a page that has no room for all: failures first, passed cases last."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from parity.results.case import CaseResult, Status
from reports.stills import Album, albums, embed
from tests.support.report_cases import diagnosed_case, draw_stills, drifted_case, passed_case

STATUSES: tuple[Status, ...] = ("passed", "expected_drift", "drifted", "drifted")
EVERYTHING = 1 << 30


@pytest.fixture
def cases(tmp_path: Path) -> list[CaseResult]:
    """Four of 16 frames and their output of 14, under one budget."""
    found = []
    for number, status in enumerate(STATUSES):
        case = drifted_case(tmp_path / str(number), 16)
        paths = {name: f"{number}/{path}" for name, path in case.artifacts.items()}
        found.append(replace(case, status=status, artifacts=paths))
    return found


def embedded(books: list[Album]) -> list[int]:
    return [len(book.embedded["preview"]) for book in books]


def spent(books: list[Album]) -> int:
    sizes = [sum(map(len, book.images)) for book in books]
    return sum(sizes) + 32 * sum(len(frames) for book in books for frames in book.embedded.values())


def test_with_room_every_case_has_all(cases: list[CaseResult], tmp_path: Path) -> None:
    books = albums(cases, tmp_path)
    embed(books, EVERYTHING)
    assert embedded(books) == [16] * 4
    assert [book.left_out for book in books] == [0] * 4


def test_passed_cases_are_left_out_first_and_drifted_last(cases: list[CaseResult], tmp_path: Path) -> None:
    all_of_them = albums(cases, tmp_path)
    embed(all_of_them, EVERYTHING)
    whole = spent(all_of_them)
    before = [16] * 4
    for tenth in range(9, -1, -1):
        books = albums(cases, tmp_path)
        budget = whole * tenth // 10
        embed(books, budget)
        assert spent(books) <= budget
        passed, expected, *drifted = embedded(books)
        assert passed <= 1 or expected == 16  # the worst frame is in the overview
        assert expected <= 1 or drifted == [16, 16]
        assert passed == 0 or min(expected, *drifted) > 0
        assert all(now <= then for now, then in zip(embedded(books), before, strict=True))
        before = embedded(books)
    assert before == [0] * 4


def test_every_drifted_case_has_its_worst_and_a_few_before_one_has_all(cases: list[CaseResult], tmp_path: Path) -> None:
    all_of_them = albums(cases, tmp_path)
    embed(all_of_them, EVERYTHING)
    books = albums(cases, tmp_path)
    embed(books, spent(all_of_them) * 25 // 100)
    first, second = books[2:]
    assert 6 < len(first.embedded["preview"]) < 16
    assert set(second.embedded["preview"]) == {second.worst, 0, 8, 4, 12, 2}


def test_only_what_fits_is_read(cases: list[CaseResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    read_bytes = Path.read_bytes

    def counted(path: Path) -> bytes:
        read.append(path)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", counted)
    books = albums(cases, tmp_path)
    embed(books, 10)
    assert read == []
    embed(books, EVERYTHING)
    assert len(read) == len(set(read)) == 4 * (16 + 14)


def test_equal_stills_of_both_sides_cost_one(tmp_path: Path) -> None:
    (book,) = albums([passed_case(tmp_path)], tmp_path)
    one = book.files["preview"][0]
    assert book.add(0, one.embedded_size + 64) == one.embedded_size + 64
    assert len(book.images) == 1
    (uri,) = book.images
    assert len(uri) == one.embedded_size
    assert book.add(1, book.files["preview"][1].embedded_size + 63) is None


def test_links_are_no_stills(tmp_path: Path) -> None:
    case = passed_case(tmp_path / "results")
    secret = tmp_path / "secret.webp"
    secret.write_bytes(b"not yours")
    still = tmp_path / "results/artifacts/i2v/preview/0003.webp"
    still.unlink()
    still.symlink_to(secret)
    (book,) = albums([case], tmp_path / "results")
    assert set(book.files["preview"]) == set(range(9)) - {3}


TRIALS = {"as_is", "recipe", "waterfall:0", "waterfall:1", "gain:scheduler", "loss:scheduler"}


def test_sides_of_trials_stand_beside_preview_and_output(tmp_path: Path) -> None:
    (book,) = albums([diagnosed_case(tmp_path)], tmp_path)
    assert set(book.files) == {"preview", "output"} | TRIALS
    embed([book], EVERYTHING)
    assert book.left_out == 0
    assert book.found == 13 + 11 + 2 * 5  # the request's are the output's, two trials share a folder
    data = book.data()
    assert data["gain:scheduler"] == data["waterfall:1"] == data["recipe"]
    assert data["as_is"] == data["output"]
    assert len(data["images"]) < book.found


def test_the_worst_frame_of_trials_comes_before_other_frames_of_the_video(tmp_path: Path) -> None:
    case = diagnosed_case(tmp_path)
    books = albums([case], tmp_path)
    embed(books, EVERYTHING)
    for tenth in range(10):
        (book,) = albums([case], tmp_path)
        embed([book], spent(books) * tenth // 10)
        trials = [len(book.embedded[side]) for side in ("gain:scheduler", "loss:scheduler")]
        assert trials == [trials[0]] * 2
        if len(book.embedded["preview"]) > 1:
            assert trials[0] >= 1
        if len(book.embedded["preview"]) >= 5:  # what a trial is compared with is there
            assert set(book.embedded["gain:scheduler"]) <= set(book.embedded["preview"])
        assert book.left_out_trials == 2 * (5 - trials[0])
        places = [f"artifacts/t2v-guitar/{name}" for name in ("preview", "output", "trials")]
        assert set(book.left_out_folders) <= set(places)
        assert (places[2] in book.left_out_folders) == (trials[0] < 5)


@pytest.mark.parametrize("place", ["../elsewhere", "/etc", "linked", "artifacts/\0", "artifacts/none"])
def test_stills_of_trials_outside_the_results_are_not_read(tmp_path: Path, place: str) -> None:
    folder = tmp_path / "results"
    case = diagnosed_case(folder)
    draw_stills(tmp_path / "elsewhere", 3)
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    assert case.diagnosis is not None
    moved = case.diagnosis.with_stills(lambda value: place if "scheduler-fixed" in value else value)
    (book,) = albums([replace(case, diagnosis=moved)], folder)
    assert book.files["gain:scheduler"] == {}
    assert book.files["loss:scheduler"]
    assert len(book.trial_problems) == 1
    assert place in book.trial_problems[0]
    assert book.problems == ()
