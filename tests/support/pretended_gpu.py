"""A GPU that is pretended: tensors that say they are on `cuda:0` and are computed on the CPU.

An operation on tensors of two devices fails as on a real GPU, and everything else gives the bits of the CPU: what
forgets to move a tensor is found on a machine without a GPU. Kernels, speed and memory are not pretended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

CUDA = torch.device("cuda", 0)
_MOVES = ("aten::_to_copy", "aten::copy_", "copy_")
"""The operations that may have tensors of two devices."""
_INDEXED = (
    "__getitem__",
    "__setitem__",
    "aten::index",
    "aten::index_put",
    "aten::index_put_",
    "aten::_index_put_impl_",
)
"""Those whose indices may be on the CPU."""


class Pretended(torch.Tensor):
    """A tensor that says it is on the GPU."""

    held: torch.Tensor

    @staticmethod
    def __new__(_cls: type, data: torch.Tensor, requires_grad: bool = False) -> torch.Tensor:  # type: ignore[misc]
        """Make a parameter: accelerate calls the class of the parameter before."""
        return torch.nn.Parameter(data, requires_grad)

    @classmethod
    def __torch_dispatch__(cls, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        return _computed(func, args, kwargs or {})

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"Pretended({self.held!r})"


def _pretended(held: torch.Tensor) -> Pretended:
    """Say of a tensor of the CPU that it is on the GPU."""
    made: Pretended = torch.Tensor._make_wrapper_subclass(
        Pretended,
        held.size(),
        strides=held.stride(),
        storage_offset=held.storage_offset(),
        dtype=held.dtype,
        device=CUDA,
        requires_grad=held.requires_grad,
    )
    made.held = held
    return made


def _computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Compute an operation on the CPU; what it returns is on the GPU if what it was given is, or if it is told so."""
    flat, shape = tree_flatten((args, kwargs))
    given = [value for value in flat if isinstance(value, torch.Tensor)]
    name = func._schema.name
    told = kwargs.get("device")
    if told is None and name == "aten::copy_":
        on_gpu = isinstance(args[0], Pretended)
    elif told is None:
        on_gpu = any(isinstance(tensor, Pretended) for tensor in given)
        _check_devices(name, given)
    else:
        on_gpu = torch.device(told).type == "cuda"
    on_cpu = [_held(torch.device("cpu") if _is_cuda(value) else value) for value in flat]
    args_there, kwargs_there = tree_unflatten(on_cpu, shape)
    result = func(*args_there, **kwargs_there)
    if not on_gpu:
        return result
    return _wrapped(result, given)


def _wrapped(result: Any, given: list[torch.Tensor]) -> Any:
    """Put what was computed on the GPU; a tensor that was changed in place stays the same object."""
    changed = {id(tensor.held): tensor for tensor in given if isinstance(tensor, Pretended)}

    def wrapped(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        return changed[id(value)] if id(value) in changed else _pretended(value)

    return tree_map(wrapped, result)


def _check_devices(name: str, given: list[torch.Tensor]) -> None:
    """Fail as a real GPU does; a CPU tensor without dimensions counts as a number."""
    if name in _MOVES:
        return
    checked = given[:1] if name in _INDEXED else [tensor for tensor in given if tensor.dim() > 0]
    devices = {str(tensor.device) for tensor in checked}
    if len(devices) > 1:
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found {' and '.join(sorted(devices))}: {name}"
        )


def _is_cuda(value: Any) -> bool:
    return isinstance(value, torch.device) and value.type == "cuda"


def _held(value: Any) -> Any:
    return value.held if isinstance(value, Pretended) else value


class _Factories(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Makes tensors on the pretended GPU where one is asked for."""

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


_ATTENTION = torch.nn.functional.scaled_dot_product_attention  # as it is before anybody observes it
_GET_DATA, _SET_DATA = torch.Tensor.data.__get__, torch.Tensor.data.__set__  # type: ignore[attr-defined]
"""`tensor.data`, read and set: both would forget what the tensor holds."""

_NO_GPU = ("not linked with support for cuda", "with arguments from the 'CUDA' backend")
"""How torch says that it looked for a real GPU."""


class _Functions(TorchFunctionMode):
    """Computes functions that look for a real GPU before they become an operation that can be pretended."""

    def __torch_function__(self, func: Callable[..., Any], _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func == _GET_DATA and isinstance(args[0], Pretended):
            return args[0].detach()
        if func == _SET_DATA and isinstance(args[1], Pretended):
            replaced = args[1].detach()
            if isinstance(args[0], torch.nn.Parameter):
                replaced = torch.nn.Parameter(replaced, requires_grad=False)
            torch.utils.swap_tensors(args[0], replaced)  # type: ignore[no-untyped-call]
            return None
        if func is not _ATTENTION:  # its choice of a kernel depends on the GPU
            try:
                return func(*args, **kwargs)
            except (RuntimeError, NotImplementedError) as error:
                if not any(told in str(error) for told in _NO_GPU):
                    raise
        flat, shape = tree_flatten((args, kwargs))
        given = [value for value in flat if isinstance(value, torch.Tensor)]
        if not any(isinstance(value, Pretended) or _is_cuda(value) for value in flat):
            return func(*args, **kwargs)
        _check_devices(func.__name__, given)
        there = [_held(torch.device("cpu") if _is_cuda(value) else value) for value in flat]
        args_there, kwargs_there = tree_unflatten(there, shape)
        return _wrapped(func(*args_there, **kwargs_there), given)


@contextmanager
def pretended_gpu() -> Iterator[torch.device]:
    """Provide the device inside the `with` block."""
    # `_lazy_init`: the start of CUDA, which fails on a torch without it before any operation is looked at.
    swapped = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)  # `param.data = …` would forget what it holds
    try:
        with mock.patch.object(torch.cuda, "_lazy_init", return_value=None), _Factories(), _Functions():  # type: ignore[no-untyped-call]
            yield CUDA
    finally:
        torch.__future__.set_swap_module_params_on_conversion(swapped)
