"""Which of the trainer's changes a preview was generated after, by version, commit and file name."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pipelines.aitoolkit.versions import CHANGES, NEWEST_VERSION, ChangeName, Origin


def day(year: int, month: int, number: int) -> datetime:
    return datetime(year, month, number, tzinfo=UTC)


@pytest.mark.parametrize(
    ("toolkit", "generated_at", "change", "after", "certain"),
    [
        ("0.10.21", None, "vae_tiling", False, True),
        ("v0.10.23", None, "vae_tiling", True, True),
        ("0.10.22", None, "vae_tiling", True, False),
        ("0.10.22", day(2026, 7, 10), "vae_tiling", False, True),  # the change was not made yet
        ("0.10.22", day(2026, 7, 11), "vae_tiling", True, False),  # made, but not of necessity in the checkout
        ("0.10.22.1", None, "wan22_exclusions", True, False),
        ("0.10", None, "wan22_exclusions", True, False),
        ("0.9", None, "wan22_exclusions", False, True),
        ("0.5.4", None, "wan22_frames", False, True),
        ("0.5.5", None, "wan22_frames", True, False),
        ("0.5.6", None, "wan22_frames", True, True),
        ("0.3.14", None, "wan22_5b", True, True),  # the commit itself wrote 0.3.14
        ("0.3.13", None, "wan22_5b", False, True),
        ("883d60eb", None, "vae_norm", True, True),
        ("883d60eb", None, "wan22_exclusions", False, True),
        ("fed9357234f1", None, "vae_norm", False, True),
        ("0c18b393462b", day(2026, 11, 25), "euler", False, True),
        ("27a03a91f23eb1b757d5ec2e80ee3e129cfcc350", None, "nvfp4", True, True),
        ("0.1.0", None, "wan22_5b", False, True),  # what LoRA files said until 2025-06-24
        ("0.1.0", None, "qtype", True, False),
        (None, day(2025, 8, 1), "wan22_frames", False, True),
        (None, day(2026, 8, 1), "wan22_frames", True, False),
        ("deadbeef", None, "euler", True, False),
        ("0.12.26", day(2025, 8, 1), "euler", True, False),  # a newer version than the time in the name allows
        ("0.2.0", None, "qtype", True, True),
    ],
)
def test_before_or_after(
    toolkit: str | None, generated_at: datetime | None, change: ChangeName, after: bool, certain: bool
) -> None:
    origin = Origin(toolkit, generated_at)
    assert (origin.follows(change), origin.is_certain(change)) == (after, certain)


def test_an_ambiguous_version_is_said_once_for_each_change_that_matters() -> None:
    notes = Origin("0.10.22").notes(["euler", "vae_tiling"])
    assert len(notes) == 1
    assert "before and after 886c2aec (2026-07-10)" in notes[0]
    assert Origin("0.10.22", day(2026, 7, 10)).notes(["euler", "vae_tiling"]) == ()


@pytest.mark.parametrize("version", ["0.12.27", "v0.13.0", "1.0"])
def test_a_version_newer_than_any_known_is_said(version: str) -> None:
    (note,) = Origin(version).notes(["euler"])
    assert f"is newer than {NEWEST_VERSION}" in note


@pytest.mark.parametrize("version", [NEWEST_VERSION, "0.12.26.1", "0.11.9", "27a03a91"])
def test_a_known_version_is_not_remarked_on(version: str) -> None:
    assert Origin(version).notes(["euler", "vae_tiling"]) == ()


def test_a_version_that_came_after_the_preview_is_said() -> None:
    (note,) = Origin("0.12.26", day(2026, 3, 1)).notes(["euler"])
    assert "generated before ab1ee4df (2026-04-16)" in note


def test_without_a_version_the_day_in_the_file_name_counts() -> None:
    (note,) = Origin(None, day(2026, 1, 1)).notes(["euler"])
    assert "2026-01-01" in note
    assert not Origin(None, day(2026, 1, 1)).follows("euler")


def test_the_table_is_in_order() -> None:
    dates = [change.at for change in CHANGES.values()]
    assert dates == sorted(dates)
