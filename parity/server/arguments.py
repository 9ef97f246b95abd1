"""The arguments of `parity serve`. Imports nothing heavy: `parity --help` reads it."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from parity.server import commands


def add_serve(parsers: Any) -> None:
    """Add `parity serve`."""
    serve = parsers.add_parser(
        "serve",
        help="answer the inference server's API, safe by default",
        description="Serves the reference inference server's HTTP API with this tool's engine: what it draws is what "
        "`parity run` draws. Needs the extra: pip install 'wan-parity[server]'. Only this machine can reach it unless "
        "--host says otherwise, and then clients need the bearer token of $WAN_PARITY_TOKEN or --token-file.",
        epilog="examples:\n  parity serve --lora-root output\n"
        "  parity serve --lora-root output --checkpoint wan21_14b=models/wan --profile faithful\n"
        "  WAN_PARITY_TOKEN=… parity serve --lora-root output --host 0.0.0.0 --base-url http://gpu1:8000\n\n"
        "exit codes:\n  0   stopped\n  2   bad usage; nothing was served\n"
        "  70  a step hung: start it again, the queue goes on\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    serve.add_argument("--lora-root", type=Path, required=True, metavar="DIR", help="loras[].path lies in it")
    serve.add_argument("--host", default="127.0.0.1", help="address to bind to (default: 127.0.0.1)")
    serve.add_argument("--port", type=_port, default=8000, help="0: any free one (default: 8000)")
    serve.add_argument(
        "--profile",
        choices=("reference", "faithful"),
        default="reference",
        help="the inference server's graph, or the trainer's (default: reference)",
    )
    serve.add_argument(
        "--checkpoint",
        action="append",
        default=[],
        metavar="MODEL=DIR|ID",
        help="folder or Hub id of a model's weights, if not its own (repeatable)",
    )
    serve.add_argument(
        "--data",
        type=Path,
        default=Path("parity-serve"),
        metavar="DIR",
        help="queue and results (default: %(default)s)",
    )
    serve.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:n (default: auto)")
    serve.add_argument("--offload", choices=("none", "model", "sequential"), default="none", help="as for `parity run`")
    serve.add_argument("--base-url", metavar="URL", help="what addresses in answers begin with")
    serve.add_argument("--token-file", type=Path, metavar="FILE", help="holds the bearer token")
    serve.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="host whose address may be an internal one, for images and LoRAs by URL (repeatable)",
    )
    serve.add_argument(
        "--keep-results",
        type=_days,
        metavar="DAYS",
        help="remove finished requests and their files after so long (default: keep them)",
    )
    serve.add_argument(
        "--queue-size", type=_count, default=32, metavar="N", help="requests at once; more get 429 (default: 32)"
    )
    serve.add_argument("--max-body", type=_megabytes, default=32 << 20, metavar="MB", help="of a request (default: 32)")
    serve.add_argument(
        "--max-image", type=_megabytes, default=16 << 20, metavar="MB", help="of a control image (default: 16)"
    )
    serve.add_argument(
        "--timeout", type=_seconds, default=3600.0, metavar="SECONDS", help="for one request (default: 3600)"
    )
    serve.set_defaults(run=commands.serve)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"must be 0 to 65535, is {text!r}")
    return int(text)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 100_000):
        raise argparse.ArgumentTypeError(f"must be a number from 1, is {text!r}")
    return int(text)


def _above_zero(text: str, unit: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of {unit} above 0, is {text!r}")
    return value


def _megabytes(text: str) -> int:
    return math.ceil(_above_zero(text, "megabytes") * (1 << 20))


def _days(text: str) -> float:
    return _above_zero(text, "days")


def _seconds(text: str) -> float:
    return _above_zero(text, "seconds")
