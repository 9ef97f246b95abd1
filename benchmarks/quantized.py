"""Peak memory of loading a transformer with quantized weights, against the same in bfloat16.

    python -m benchmarks.quantized [--layers N] [--qtype QTYPE]

Random weights of a few hundred MB are written to a temporary folder; each way loads them in a process of its own. The
promise: with qfloat8 at most 0.6 of bfloat16. Exit code 1 if it is broken.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

_LIMIT = 0.6


def _write(folder: Path, layers: int) -> None:
    from pipelines.engine.torch_setup import declare_missing_torchvision_operators

    declare_missing_torchvision_operators()
    import torch
    from diffusers import WanTransformer3DModel

    model = WanTransformer3DModel(num_attention_heads=12, ffn_dim=8960, num_layers=layers).to(torch.bfloat16)
    model.save_pretrained(folder)


def _peak() -> int:
    """The most resident memory of this process so far, in bytes (Linux)."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def _measure(folder: Path, qtype: str) -> int:
    """Load the transformer and return the peak memory beyond that of the libraries."""
    from pipelines.engine.torch_setup import declare_missing_torchvision_operators

    declare_missing_torchvision_operators()
    import torch
    from diffusers import WanTransformer3DModel

    from pipelines.engine.quantized import load_transformer
    from pipelines.quantization import Quantization
    from pipelines.recipe import Precision

    before = _peak()
    if qtype == "none":
        model = WanTransformer3DModel.from_pretrained(folder, torch_dtype=torch.bfloat16, use_safetensors=True)
    else:
        model = load_transformer(folder, Precision("bfloat16", "cast"), Quantization(qtype), None)
    for tensor in model.parameters():  # read every page, as a generation does
        tensor.detach().flatten()[::1024].max()  # no copy: the sum of bytes would be computed from one
    return _peak() - before


def main() -> int:
    """Print both peaks and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--qtype", default="qfloat8")
    parser.add_argument("--measure", nargs=2, metavar=("FOLDER", "QTYPE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(_measure(Path(options.measure[0]), options.measure[1]))
        return 0
    with tempfile.TemporaryDirectory(prefix="parity-benchmark-") as name:
        _write(Path(name), options.layers)
        peaks = {}
        for qtype in ("none", options.qtype):
            command = [sys.executable, "-m", "benchmarks.quantized", "--measure", name, qtype]
            peaks[qtype] = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            print(f"{qtype:>10}: {peaks[qtype] / 2**20:.0f} MiB")
    ratio = peaks[options.qtype] / peaks["none"]
    print(f"{ratio:.2f} of bfloat16")
    return 0 if ratio <= _LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
