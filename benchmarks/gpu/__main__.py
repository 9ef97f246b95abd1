"""The kit's command. Imports nothing that a bare machine lacks before the carried wheels are installed."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import tomllib
from datetime import UTC, datetime
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_SITE = "WAN_PARITY_KIT_SITE"
"""Set in the process that runs with the wheels installed; the folder they are in."""


def main() -> int:
    """Run the command. Returns 0 if every section was measured, 1 if one failed or was left out, 2 for bad usage."""
    options = _options()
    if options.wheels and _SITE not in os.environ:
        return _with_wheels(options.wheels)
    from benchmarks.gpu import plan, record
    from pipelines.errors import UsageError

    if options.list:
        print(plan.listing())
        return 0
    if options.render:
        documents = [json.loads(path.read_text(encoding="utf-8")) for path in options.render]
        content = record.table(record.merged(documents))
        if options.page:
            options.page.write_text(record.filled(options.page.read_text(encoding="utf-8"), content), encoding="utf-8")
        else:
            print(content, end="")
        return 0
    try:
        numbers = plan.chosen(options.only)
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    return _measure(options, numbers)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description="Measures what only a GPU can tell. Every figure is on disk at once; a stopped kit loses none.",
        epilog="Exit codes: 0 all was measured; 1 something failed or was left out; 2 bad usage.",
    )
    parser.add_argument("--list", action="store_true", help="print the sections and end")
    parser.add_argument("--only", metavar="3,5", help="only these sections, by number or name")
    parser.add_argument("--again", action="store_true", help="measure sections anew that are in --out already")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:n or cpu (default: cuda)")
    parser.add_argument("--small", action="store_true", help="the least of everything, to try the kit itself")
    parser.add_argument("--minutes", type=float, default=9.0, help="stop after this time (default: 9)")
    parser.add_argument("--out", type=Path, default=Path("gpu-results"), help="folder for results.json and table.md")
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="install these wheels first, without a network")
    parser.add_argument("--render", type=Path, nargs="+", metavar="JSON", help="print the table of these results")
    parser.add_argument("--page", type=Path, metavar="MD", help="with --render: write it into this page instead")
    return parser.parse_args()


def _with_wheels(wheels: Path) -> int:
    """Install wheels into a folder of their own, and run this command again with them."""
    found = sorted(wheels.glob("*.whl"))
    if not found:
        print(f"--wheels {wheels}: has no *.whl", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="kit-site-") as site:
        install = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-compile"]
        subprocess.run([*install, "--no-cache-dir", "--target", site, *map(str, found)], check=True)
        _name(Path(site))
        path = os.pathsep.join([site, str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": path, _SITE: site}
        command = [sys.executable, "-P", "-m", "benchmarks.gpu", *sys.argv[1:]]
        return subprocess.run(command, env=environment, check=False).returncode


def _name(site: Path) -> None:
    """Make the checkout known as an installed package, whose version the server shows."""
    with (_ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    folder = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    folder.mkdir()
    content = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (folder / "METADATA").write_text(content, encoding="utf-8")


def _measure(options: argparse.Namespace, numbers: list[int]) -> int:
    from benchmarks.gpu import supervise
    from benchmarks.gpu.plan import SECTIONS
    from benchmarks.gpu.record import RESULTS, TABLE, Record

    about = {
        "device": options.device,
        "small": options.small,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": ["python", "-m", "benchmarks.gpu", *sys.argv[1:]],
        "machine": _gpu_name() if options.device.startswith("cuda") else "",
    }
    record = Record(options.out, about)
    names = [SECTIONS[number].name for number in numbers]
    numbers = [number for number in numbers if options.again or not record.done(SECTIONS[number].name)]
    record.write()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that gigabytes in memory are removed
    with tempfile.TemporaryDirectory(prefix="kit-work-", dir=_roomiest()) as work:
        supervise.run(
            numbers,
            record,
            device=options.device,
            small=options.small,
            minutes=options.minutes,
            work=Path(work),
            log=options.out / "log.txt",
            say=lambda line: print(line, flush=True),
        )
    print((options.out / TABLE).read_text(encoding="utf-8"))
    print(f"written: {options.out / RESULTS}, {options.out / TABLE}, {options.out / 'log.txt'}")
    return 0 if all(record.done(name) for name in names) else 1


def _roomiest() -> str:
    """Memory if it has room for the largest checkpoint, else the folder for temporary files."""
    import shutil

    shared = "/dev/shm"
    if Path(shared).is_dir() and shutil.disk_usage(shared).free > 40 << 30:
        return shared
    return tempfile.gettempdir()


def _gpu_name() -> str:
    """The GPU's name and driver, from nvidia-smi; empty if it does not answer."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        return (
            subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.splitlines()[0].strip()
        )
    except (OSError, subprocess.SubprocessError, IndexError):
        return ""


if __name__ == "__main__":
    sys.exit(main())
