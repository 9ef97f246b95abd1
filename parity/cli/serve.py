"""`parity serve`: the inference server's API, served by this tool's engine."""

from __future__ import annotations

import argparse
import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from parity.cli.options import above_zero, add_cpu_kernels, megabytes, seconds
from pipelines.errors import UsageError
from pipelines.offload import OFFLOADS

if TYPE_CHECKING:
    from parity.server.settings import Settings

_EXTRA = ("fastapi", "uvicorn", "prometheus_client")


def add(parsers: Any) -> None:
    """Add `parity serve`."""
    command = parsers.add_parser(
        "serve",
        help="serve the inference server's API, safe by default",
        description="Serves the reference inference server's HTTP API with this tool's engine: what it generates "
        "is what `parity run` generates. Needs an extra: pip install 'wan-parity[server]'. Only this machine "
        "can reach it unless --host says otherwise, and then clients need the bearer token of $WAN_PARITY_TOKEN or "
        "--token-file.",
        epilog="examples:\n  parity serve --lora-root output\n"
        "  parity serve --lora-root output --checkpoint wan21_14b=models/wan\n"
        "  parity serve --lora-root output --profile faithful\n"
        "  WAN_PARITY_TOKEN=… parity serve --lora-root output \\\n"
        "      --host 0.0.0.0 --base-url http://gpu1:8000\n\n"
        "exit codes:\n  0   stopped\n  2   bad usage; nothing was served\n"
        "  3   the device is missing or generating cannot start; nothing was served\n",
    )
    command.add_argument(
        "--lora-root", type=Path, required=True, metavar="DIR", help="folder that loras[].path is relative to"
    )
    command.add_argument("--host", default="127.0.0.1", help="address to bind to (default: 127.0.0.1)")
    command.add_argument("--port", type=_port, default=8000, help="0: any free one (default: 8000)")
    command.add_argument(
        "--profile",
        choices=("reference", "faithful"),
        default="reference",
        help="the inference server's graph, or the trainer's (default: reference)",
    )
    command.add_argument(
        "--checkpoint",
        action="append",
        default=[],
        metavar="MODEL=DIR|ID",
        help="folder or Hub id to load a model's weights from, instead of its default (repeatable)",
    )
    command.add_argument(
        "--data",
        type=Path,
        default=Path("parity-serve"),
        metavar="DIR",
        help="queue and results (default: %(default)s)",
    )
    command.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:n (default: auto)")
    add_cpu_kernels(command.add_argument)
    command.add_argument("--offload", choices=OFFLOADS, default="none", help="as for `parity run`")
    command.add_argument("--base-url", metavar="URL", help="base of the URLs in answers")
    command.add_argument("--token-file", type=Path, metavar="FILE", help="file with the bearer token")
    command.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="host that may have an internal address, for images and LoRAs by URL (repeatable)",
    )
    command.add_argument(
        "--server-name",
        action="append",
        default=[],
        type=_name,
        metavar="NAME",
        help="another name that clients call this server by, for example a proxy's; requests with an unknown name in "
        "`Host` are refused (repeatable)",
    )
    _add_limits(command)
    command.set_defaults(run=serve)


def _add_limits(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--keep-results",
        type=_days,
        metavar="DAYS",
        help="remove finished requests and their files after DAYS days (default: keep them)",
    )
    command.add_argument(
        "--queue-size",
        type=_count,
        default=32,
        metavar="N",
        help="requests queued at once; more get status 429 (default: 32)",
    )
    command.add_argument(
        "--max-body", type=megabytes, default=32 << 20, metavar="MB", help="limit of a request's size (default: 32)"
    )
    command.add_argument(
        "--max-image",
        type=megabytes,
        default=16 << 20,
        metavar="MB",
        help="limit of a control image's size (default: 16)",
    )
    command.add_argument(
        "--timeout", type=seconds, default=3600.0, metavar="SECONDS", help="limit for one request (default: 3600)"
    )


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"must be 0 to 65535, not {text!r}")
    return int(text)


def _name(text: str) -> str:
    name = text.lower().rstrip(".")
    if re.fullmatch(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?", name) is None:
        raise argparse.ArgumentTypeError(f"must be a host name without a port, e.g. gpu1.example, not {text!r}")
    return name


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 100_000):
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to 100000, not {text!r}")
    return int(text)


def _days(text: str) -> float:
    return above_zero(text, "days", "30")


def serve(options: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM. Raises UsageError before anything is loaded."""
    if any(find_spec(name) is None for name in _EXTRA):
        raise UsageError("`parity serve` needs more packages: pip install 'wan-parity[server]'")
    from parity.results.folders import remember_hashes
    from parity.server.serving import serve

    remember_hashes()
    serve(_settings(options))
    return 0


def _settings(options: argparse.Namespace) -> Settings:
    from parity.server.settings import Limits, Settings, check_address, checkpoint_of, lora_root_of, read_token

    token = read_token(options.token_file)
    check_address(options.host, token)
    if options.base_url is not None:
        parts = urlsplit(options.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"--base-url {options.base_url}: must be of the form http://host:port")
    return Settings(
        host=options.host,
        port=options.port,
        lora_root=lora_root_of(options.lora_root),
        data=options.data.absolute(),
        profile=options.profile,
        checkpoints=dict(checkpoint_of(text) for text in options.checkpoint),
        device=options.device,
        offload=options.offload,
        allowed_hosts=frozenset(name.lower().rstrip(".") for name in options.allow_host),
        base_url=options.base_url.rstrip("/") if options.base_url else None,
        server_names=frozenset(options.server_name),
        token=token,
        keep_days=options.keep_results,
        limits=Limits(
            queue=options.queue_size,
            body=options.max_body,
            image=options.max_image,
            request_seconds=options.timeout,
        ),
    )
