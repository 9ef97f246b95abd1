"""YAML and JSON files: accepted and refused values, and errors that name the line."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import CaseError
from pipelines.files.document import MAX_BYTES, Document, read, show_path


def write(tmp_path: Path, content: str | bytes, name: str = "case.yaml") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def parse(tmp_path: Path, content: str | bytes, name: str = "case.yaml") -> Any:
    return read(write(tmp_path, content, name)).data


def refusal(path: Path, *, duplicate_keys: bool = False) -> str:
    with pytest.raises(CaseError) as caught:
        read(path, duplicate_keys=duplicate_keys)
    assert caught.value.exit_code == 2
    return str(caught.value)


NESTED = """\
# a comment
model: wan21_14b

preview:
  config: config.yaml
prompts:
  - prompt: one
    width: 96
  - prompt: >
      two
      lines
    height: 64
tags: [a,
       b]
"""


@pytest.mark.parametrize(
    ("where", "line"),
    [
        (("model",), 2),
        (("preview",), 4),
        (("preview", "config"), 5),
        (("prompts",), 6),
        (("prompts", 0), 7),
        (("prompts", 0, "width"), 8),
        (("prompts", 1), 9),
        (("prompts", 1, "height"), 12),
        (("tags", 1), 14),
    ],
)
def test_line_of_a_value(tmp_path: Path, where: tuple[str | int, ...], line: int) -> None:
    path = write(tmp_path, NESTED)
    assert str(read(path).error(where, "is wrong")) == f"{path}:{line}: {show_path(where)}: is wrong"


@pytest.mark.parametrize(
    ("where", "line"),
    [(("preview", "video"), 4), (("prompts", 1, "width"), 9), (("prompts", 5), 6), (("seed",), 2), ((), 2)],
)
def test_line_of_a_missing_value_is_its_parents(tmp_path: Path, where: tuple[str | int, ...], line: int) -> None:
    path = write(tmp_path, NESTED)
    assert str(read(path).error(where, "is missing")).startswith(f"{path}:{line}: ")


def test_line_in_json(tmp_path: Path) -> None:
    path = write(tmp_path, json.dumps({"model": "wan21_14b", "prompts": [{"prompt": "a", "width": 9}]}, indent=2))
    assert str(read(path).error(("prompts", 0, "width"), "is small")) == f"{path}:6: prompts[0].width: is small"


@pytest.mark.parametrize(
    ("path", "shown"),
    [((), ""), (("a",), "a"), (("a", "b"), "a.b"), (("a", 0, "b"), "a[0].b"), (("a", 0, 1), "a[0][1]")],
)
def test_show_path(path: tuple[str | int, ...], shown: str) -> None:
    assert show_path(path) == shown


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "a"),
        ("x:\n  a: 1\n  a: 1\n", 3, "x.a"),
        ("x:\n  - a: 1\n    b: 2\n    b: 3\n", 4, "x[0].b"),
        ('{"a": 1,\n "a": 2}', 2, "a"),
    ],
)
def test_duplicate_key_is_an_error(tmp_path: Path, text: str, line: int, key: str) -> None:
    path = write(tmp_path, text)
    assert refusal(path) == f"{path}:{line}: {key} occurs twice in this mapping"


def test_last_duplicate_wins_where_allowed(tmp_path: Path) -> None:
    document = read(write(tmp_path, "a: 1\nx: {b: 1, b: 2}\na: 3\n"), duplicate_keys=True)
    assert document.data == {"a": 3, "x": {"b": 2}}
    assert document.error(("a",), "").args[0].startswith(f"{document.path}:3: ")


@pytest.mark.parametrize(
    "value",
    [
        '!!python/object/apply:os.system ["touch OWNED"]',
        '!!python/object/new:os.system ["touch OWNED"]',
        '!!python/object/apply:subprocess.check_output [["touch", "OWNED"]]',
        "!!python/name:os.system",
        "!!python/module:os",
        "!!python/tuple [1, 2]",
        "!custom {a: 1}",
        "!include other.yaml",
        "!<tag:example.org,2026:x> 1",
        "!!set {a}",
        "!!binary aGk=",
    ],
)
@pytest.mark.parametrize("duplicate_keys", [False, True])
def test_tag_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, duplicate_keys: bool) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, f"model: wan21_14b\nid: {value}\n")
    message = refusal(path, duplicate_keys=duplicate_keys)
    assert message.startswith(f"{path}:2: YAML tag ")
    assert "is not allowed" in message
    assert not (tmp_path / "OWNED").exists()


def test_tagged_key_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "a: 1\n!!python/name:os.system x: 1\n")
    assert refusal(path) == f"{path}:2: keys must be plain words"


@pytest.mark.parametrize("text", ["a: 1\n? [b, c]\n: 1\n", "a: 1\n? {b: c}\n: 1\n"])
def test_a_key_that_is_not_text_is_refused(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    assert refusal(path) == f"{path}:2: keys must be plain words"


def test_large_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    with path.open("wb") as file:
        file.truncate(100_000_000)  # sparse; reading it would complain of NUL characters instead
    assert refusal(path) == f"{path}: 100 MB is too large for a config (limit 16 MiB)"


def test_file_up_to_the_limit_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, "a: 1\n#" + "x" * (1 << 20))
    assert path.stat().st_size < MAX_BYTES
    assert read(path).data == {"a": 1}


def alias_bomb(item: str, group: str) -> str:
    """Nine levels of nine references each: 9**9 values from a kilobyte."""
    lines = [f"a0: &a0 {item}"]
    lines += [f"a{n}: &a{n} {group.format(', '.join([f'*a{n - 1}'] * 9))}" for n in range(1, 10)]
    return "\n".join(lines)


@pytest.mark.parametrize("duplicate_keys", [False, True])
def test_alias_bomb_is_stopped(tmp_path: Path, duplicate_keys: bool) -> None:
    path = write(tmp_path, alias_bomb("[lol, lol]", "[{}]"))
    assert "more than 100000 values" in refusal(path, duplicate_keys=duplicate_keys)


def test_alias_bomb_of_merge_keys_is_stopped(tmp_path: Path) -> None:
    path = write(tmp_path, alias_bomb("{k: 1}", "{{<<: [{}]}}"))
    assert str(path) in refusal(path, duplicate_keys=True)


def test_nested_merge_bomb_takes_no_memory(tmp_path: Path) -> None:
    """Written inside out, all 9**7 merges stand in one value: they must be counted before they are spread out."""
    text = "&a0 {k: 1}"
    for level in range(1, 8):
        text = f"&a{level} {{<<: [{text}, {', '.join([f'*a{level - 1}'] * 8)}]}}"
    path = write(tmp_path, f"x: {text}\n")
    tracemalloc.start()
    try:
        message = refusal(path, duplicate_keys=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(path) in message
    assert peak < 32 << 20


@pytest.mark.parametrize("text", ["&a [*a]", "&a {b: *a}", "x: &a\n  - [*a, *a]\n"])
def test_alias_to_itself_is_stopped(tmp_path: Path, text: str) -> None:
    assert "100 levels" in refusal(write(tmp_path, text))


@pytest.mark.parametrize("levels", [200, 20_000])
def test_deep_nesting_is_refused(tmp_path: Path, levels: int) -> None:
    path = write(tmp_path, "a: " + "[" * levels + "]" * levels)
    assert str(path) in refusal(path)


def test_harmless_alias_is_read(tmp_path: Path) -> None:
    assert parse(tmp_path, "a: &size {w: 96}\nb: *size\n") == {"a": {"w": 96}, "b": {"w": 96}}


def test_merge_key_gives_defaults(tmp_path: Path) -> None:
    text = "base: &base {width: 96, height: 64}\nmine:\n  <<: *base\n  width: 128\n"
    assert parse(tmp_path, text)["mine"] == {"width": 128, "height": 64}


@pytest.mark.parametrize("text", ["a: 1\n<<: 3\n", "a: 1\nb: {<<: text}\n", "a: 1\nb: {<<: [1, 2]}\n"])
def test_bad_merge_is_refused(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    assert refusal(path).startswith(f"{path}:2: ")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E-4", 1e-4),
        ("1e5", 1e5),
        ("+1e3", 1e3),
        ("-2e-3", -2e-3),
        ("1.5e3", 1500.0),
        ("1.5", 1.5),
        (".5", 0.5),
        ("42", 42),
        ("-1", -1),
        ("true", True),
        ("null", None),
        ("~", None),
        ("2024-01-01", "2024-01-01"),
        ("2001-12-14t21:59:43.10-05:00", "2001-12-14t21:59:43.10-05:00"),
        ("0.12.26", "0.12.26"),
        ('"1e-4"', "1e-4"),
        ("e4", "e4"),
        ("27a03a91", "27a03a91"),
        ("ünï 🎬", "ünï 🎬"),
    ],
)
def test_plain_value(tmp_path: Path, text: str, value: object) -> None:
    got = parse(tmp_path, f"a: {text}\n")["a"]
    assert got == value
    assert type(got) is type(value)


def test_number_and_date_keys_are_text(tmp_path: Path) -> None:
    assert parse(tmp_path, "1: a\n2024-01-01: b\ntrue: c\n") == {"1": "a", "2024-01-01": "b", "true": "c"}


@pytest.mark.parametrize("value", ["!!int x", "!!float x", "!!bool x"])
def test_a_value_of_the_wrong_type_is_refused(tmp_path: Path, value: str) -> None:
    path = write(tmp_path, f"b: 1\na: {value}\n")
    assert refusal(path).startswith(f"{path}:2: ")


def test_number_of_absurd_length_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, f"b: 1\na: {'9' * 5000}\n")
    assert refusal(path).startswith(f"{path}:2: a: ")


@pytest.mark.parametrize("content", [b"a: \xff\xfe\n", "a: é".encode("latin-1"), "a: 1\n".encode("utf-16")])
def test_not_utf8(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path, content)
    assert refusal(path).startswith(f"{path}: is not UTF-8 text (")


def test_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    assert parse(tmp_path, b"\xef\xbb\xbfmodel: x\n") == {"model": "x"}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb: [1, 2\n", 3),
        ("a: 1\nb: 'open\n", 3),
        ("a: 1\n b: 2\n", 2),
        ("a: 1\nb: *nowhere\n", 2),
        ("a: 1\n--- \nb: 1\n", 2),
        ("a: 1\nb: c: d\n", 2),
    ],
)
def test_not_yaml_names_the_line(tmp_path: Path, text: str, line: int) -> None:
    path = write(tmp_path, text)
    message = refusal(path)
    assert message.startswith(f"{path}:{line}: not valid YAML: ")
    assert "\n" not in message


def test_control_characters_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, b"a: \x00\x01\n")
    assert refusal(path).startswith(f"{path}: not valid YAML: ")


def test_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "no.yaml"
    assert refusal(path) == f"{path}: cannot be read: No such file or directory"


def test_directory(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path}: is not a file"


@pytest.mark.parametrize("name", ["x" * 300, "nul\0byte"], ids=["too long", "nul"])
def test_impossible_file_name(tmp_path: Path, name: str) -> None:
    assert str(tmp_path) in refusal(tmp_path / name)


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n"])
def test_empty_file_holds_nothing(tmp_path: Path, text: str) -> None:
    assert parse(tmp_path, text) is None


REQUEST: dict[str, Any] = {
    "model": "wan21_14b",
    "prompts": [{"prompt": 'a "quoted" / \\ word: é\n# no comment', "width": 96, "seed": -1, "neg": ""}],
    "loras": [],
    "trigger_word": None,
    "tiny": 1e-7,
    "yes": True,
}


@pytest.mark.parametrize("indent", [None, 2, "\t"], ids=["one line", "spaces", "tabs"])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_json_is_read(tmp_path: Path, indent: int | str | None, ascii_only: bool) -> None:
    text = json.dumps(REQUEST, indent=indent, ensure_ascii=ascii_only)
    assert parse(tmp_path, text, "request.json") == REQUEST


@pytest.mark.parametrize("ascii_only", [True, False])
def test_json_emoji_is_one_character(tmp_path: Path, ascii_only: bool) -> None:
    text = json.dumps({"prompt": "a 🎸 solo"}, ensure_ascii=ascii_only)
    assert parse(tmp_path, text, "request.json") == {"prompt": "a 🎸 solo"}


def test_broken_json_names_the_line(tmp_path: Path) -> None:
    path = write(tmp_path, '{\n  "model": "a",\n  "prompts": [\n}\n', "request.json")
    assert refusal(path).startswith(f"{path}:4: ")


def test_document_error_without_key(tmp_path: Path) -> None:
    document = Document(path=tmp_path / "case.yaml", data=None, lines={})
    assert str(document.error((), "is empty")) == f"{tmp_path / 'case.yaml'}:1: is empty"


def test_aliases_of_a_long_text_are_counted(tmp_path: Path) -> None:
    """A file of a megabyte that would take 100 GB."""
    text = "a: &a " + "x" * (1 << 20) + "\nb:\n"
    fits = read(write(tmp_path, text + "- *a\n" * 30)).data
    assert len(fits["b"]) == 30
    assert "characters once its aliases are expanded" in refusal(write(tmp_path, text + "- *a\n" * 32))
    keys = "&a " + "k" * (1 << 20)
    assert "characters once" in refusal(write(tmp_path, f"- {{? {keys} : 1}}\n" + "- {*a : 1}\n" * 32))


def test_the_first_of_many_merged_mappings_wins(tmp_path: Path) -> None:
    assert parse(tmp_path, "<<: [{a: 1, b: 1}, {a: 2, c: 2}]\nc: 3\n") == {"a": 1, "b": 1, "c": 3}
