"""Data flows one way, the table of CONTRIBUTING.md says so truly, and light commands stay light."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import textwrap

import pytest

from tests.structure import ROOMS, diagram, floors, imports, main, sources, violations
from tests.support.paths import ROOT


def test_no_import_breaks_a_rule() -> None:
    assert violations(sources()) == []


@pytest.mark.parametrize(
    ("path", "text", "says"),
    [
        ("pipelines/drift.py", "from parity.case.load import Case", "may not import parity/case/load.py"),
        ("pipelines/reference/inference.py", "from pipelines.aitoolkit import job", "pipelines/aitoolkit/job.py"),
        ("pipelines/aitoolkit/job.py", "from pipelines.engine.engine import Engine", "pipelines/engine/engine.py"),
        ("pipelines/engine/lora.py", "from pipelines.reference.request import Request", "reference/request.py"),
        ("pipelines/files/words.py", "def f():\n    from pipelines.recipe import Recipe", "pipelines/recipe.py"),
        ("pipelines/media/video.py", "from pipelines.drift import FACTORS", "pipelines/drift.py"),
        ("parity/results/case.py", "from parity.factors.catalogue import CATALOGUE", "parity/factors/catalogue.py"),
        ("parity/remote/run.py", "from parity.run.session import Session", "parity/run/session.py"),
        ("parity/diagnosis/lab.py", "from parity.terminal.text import table", "parity/terminal/text.py"),
        ("parity/cli/main.py", "from parity.pytest_plugin import hooks", "parity/pytest_plugin/hooks.py"),
        ("parity/server/api.py", "from parity.case.keys import CaseKeys", "parity/case/keys.py"),
        ("parity/terminal/text.py", "from parity.run.session import Session", "parity/run/session.py"),
        ("parity/terminal/text.py", "from pipelines.engine.engine import Engine", "may not import the engine"),
        ("parity/baselines/check.py", "from parity.terminal.text import table", "parity/terminal/text.py"),
        ("reports/view.py", "from parity.case.load import Case", "parity/case/load.py"),
        ("reports/view.py", "from pipelines.recipe import Recipe", "pipelines/recipe.py"),
        ("parity/baselines/check.py", "import torch", "imports torch"),
        ("parity/baselines/check.py", "from pipelines.hub import folder_of", "imports transformers"),
        ("parity/run/session.py", "import pytest", "only parity/pytest_plugin/, parity/test_parity.py may import"),
        ("parity/remote/run.py", "import httpx", "only parity/remote/client.py may import httpx"),
        ("parity/cli/serve.py", "def f():\n    import uvicorn", "only parity/server/ may import uvicorn"),
        ("parity/case/load.py", "from . import keys", "is a relative import"),
        ("parity/case/load.py", "import pipelines.recipe", "stays as it is in the wheel"),
        ("parity/case/load.py", "if True: from pipelines import recipe", "stays as it is in the wheel"),
        ("parity/case/load.py", "from pipelines.nothing import x", "is no module of the packages"),
        ("parity/cellar/wine.py", "", "lies in no room"),
    ],
)
def test_each_rule_can_be_broken(path: str, text: str, says: str) -> None:
    modules = dict.fromkeys(sources(), "") | {"pipelines/hub.py": "import transformers", path: text}
    (wrong,) = violations(modules)
    assert wrong.startswith(path)
    assert says in wrong


def test_what_may_be_imported_is_no_violation() -> None:
    modules = dict.fromkeys(sources(), "") | {
        "parity/cli/main.py": "from parity.run import session\nfrom reports.render import write",
        "parity/terminal/selftest.py": "if TYPE_CHECKING:\n    from parity.selftest.matrix import Matrix",
        "parity/selftest/matrix.py": "import torch",
        "parity/remote/client.py": "import httpx\nimport parity.remote.answers",
    }
    assert violations(modules) == []


def test_rooms_that_import_each_other_are_found() -> None:
    modules = dict.fromkeys(sources(), "") | {
        "parity/terminal/text.py": "from parity.diagnosis import lab",
        "parity/diagnosis/lab.py": "from parity.terminal import text",
    }
    assert "in a circle: parity/diagnosis/, parity/terminal/" in violations(modules)[-1]
    assert floors(imports(modules))[1] == ["parity/diagnosis/", "parity/terminal/"]


def test_the_plan_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main() == 0
    printed = capsys.readouterr().out
    assert printed.endswith("\n0 violations\n")
    assert " 1  pipelines/errors.py\n" in printed


def test_contributing_has_the_same_plan() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    plan = textwrap.indent(diagram(imports(sources())), "    ")
    assert plan in text, f"put this into CONTRIBUTING.md:\n{plan}"


def test_contributing_has_the_same_table() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("| room | holds | may import |")[1]
    text = text.split("\n\n")[0]
    rows = re.findall(r"^\| `([^`]+)` \| (.+) \| (.+) \|$", text, re.MULTILINE)
    assert [(name, may_import) for name, _, may_import in rows] == [(room.name, room.may_import) for room in ROOMS]
    for name, holds, _ in rows:
        for word in re.findall(r"`([\w/]+\.\w+)`", holds):
            assert (ROOT / name.removesuffix("*.py") / word).is_file(), f"{name}: {word}"


def test_every_package_says_what_it_is() -> None:
    for path, text in sources().items():
        if path.endswith("/__init__.py"):
            docstring = ast.get_docstring(ast.parse(text))
            assert docstring is not None, path
            assert docstring.partition("\n")[0].endswith("."), path


@pytest.mark.process
@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["plan"], ["models"], ["schema", "case"], ["import", "cases/jobs/t2v_basic", "--dry-run"]],
    ids=" ".join,
)
def test_light_commands_import_no_torch(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from parity.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'torchvision'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.process
def test_help_imports_no_pydantic_either() -> None:
    code = (
        "import sys, argparse\nfrom parity.cli.main import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\nsys.exit('pydantic' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False).returncode == 0
