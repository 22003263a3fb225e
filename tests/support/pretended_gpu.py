"""A pretended GPU: tensors in the CPU's memory that are marked as on a device, and operations that do not mix devices.

It finds what a machine without a GPU hides: tensors that were left on the CPU, or read there without `.cpu()`. The
numbers are the CPU's. Kernels, memory, streams, and what libraries do only if `torch.cuda.is_available()` are not
pretended.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import BuiltinFunctionType
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_flatten

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
_aten = torch.ops.aten
_COPIES = {_aten.copy_.default, _aten._to_copy.default}
_READ_BY_INDEX = {_aten.index.Tensor, _aten._unsafe_index.Tensor}
_WRITTEN_BY_INDEX = {_aten.index_put.default, _aten.index_put_.default, _aten._index_put_impl_.default}
_AS_THEY_ARE = (torch.device, torch._C._nn._parse_to)  # functions whose device is no place for a new tensor
_DEVICE, _IS_CUDA = torch.Tensor.device.__get__, torch.Tensor.is_cuda.__get__  # type: ignore[attr-defined]


class Marks:
    """The storages that are on the pretended GPU.

    A weak reference to a storage keeps its address from being given to another one.
    """

    def __init__(self) -> None:
        self._known: dict[int, StorageWeakRef] = {}

    def __contains__(self, tensor: torch.Tensor) -> bool:
        return tensor.layout is torch.strided and tensor.untyped_storage()._cdata in self._known

    def __len__(self) -> int:
        return len(self._known)

    def add(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        self._known.setdefault(storage._cdata, StorageWeakRef(storage))


@contextmanager
def pretended_gpu() -> Iterator[Marks]:
    """Have `accelerate` find a GPU, and every tensor that is moved or made there be on the pretended one."""
    marks = Marks()
    operations = _Operations(marks)
    with pytest.MonkeyPatch.context() as patch, operations, _Functions(marks, operations):
        patch.setattr(Accelerator, "device", property(lambda _: GPU))
        patch.setattr(torch.cuda, "get_device_capability", lambda *_: (7, 0))  # without a grouped matrix product
        yield marks


def _tensors(values: Any) -> list[torch.Tensor]:
    return [value for value in tree_flatten(values)[0] if isinstance(value, torch.Tensor)]


class _Operations(TorchDispatchMode):
    """Every operation, also those of a backward pass: refuses two devices, and marks what it makes on the GPU."""

    def __init__(self, marks: Marks) -> None:
        super().__init__()
        self.marks = marks
        self.makes = False  # whether new tensors are asked for on the GPU
        self.inside = False  # whether they are made by a function of tensors that are on the GPU

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = _tensors((args, kwargs or {}))
        on = [tensor in self.marks for tensor in given]
        if any(on) and _is_mixed(func, given, on):
            shown = [f"{tuple(t.shape)} on the {'GPU' if o else 'CPU'}" for t, o in zip(given, on, strict=True)]
            raise RuntimeError(f"{func}: tensors on two devices: {', '.join(shown)}")
        made = func(*args, **(kwargs or {}))
        is_copy = func in _COPIES
        if self.makes or (self.inside and not given) or (on[:1] == [True] if is_copy else any(on)):
            for tensor in _tensors(made):
                if not any(tensor is one for one in given):
                    self.marks.add(tensor)
        return made


def _is_mixed(func: Any, given: list[torch.Tensor], on: list[bool]) -> bool:
    """Return whether torch would refuse these tensors; numbers and indices may be on the CPU."""
    if func in _COPIES:
        return False
    if func in _READ_BY_INDEX:
        return not on[0]
    indices = (torch.long, torch.bool) if func in _WRITTEN_BY_INDEX else ()
    return any(not o and t.dim() > 0 and t.dtype not in indices for t, o in zip(given, on, strict=True))


class _Functions(TorchFunctionMode):
    """Functions that name a device, move a tensor to one, or ask for a tensor's."""

    def __init__(self, marks: Marks, operations: _Operations) -> None:
        super().__init__()
        self.marks, self.operations = marks, operations

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _AS_THEY_ARE:
            return func(*args, **kwargs)
        if func == _DEVICE:
            return GPU if args[0] in self.marks else func(*args)
        if func == _IS_CUDA:
            return args[0] in self.marks
        if func in (torch.Tensor.numpy, torch.Tensor.__array__) and args[0] in self.marks:
            raise TypeError("a tensor on the GPU must be copied to the CPU first")
        named = [value for value in (*args, *kwargs.values()) if isinstance(value, (torch.device, str))]
        on_cpu = [CPU if _is_gpu(value) else value for value in args]
        settings = {name: CPU if _is_gpu(value) else value for name, value in kwargs.items()}
        if func in (torch.Tensor.to, torch.Tensor.cpu, torch.Tensor.cuda):
            return self._move(func, named, on_cpu, settings)
        if any(map(_is_gpu, named)):
            return self._make(func, on_cpu, settings)
        if func is torch.histc and args[0] in self.marks and not args[0].is_floating_point():  # on a GPU it can
            return func(args[0].double(), *args[1:], **kwargs).to(args[0].dtype)
        if isinstance(func, BuiltinFunctionType) and not self.operations.inside:
            self.operations.inside = any(tensor in self.marks for tensor in _tensors((args, kwargs)))
            try:
                return func(*args, **kwargs)
            finally:
                self.operations.inside = False
        return func(*args, **kwargs)

    def _make(self, func: Any, args: Iterable[Any], kwargs: dict[str, Any]) -> Any:
        """Return what a function makes on the GPU."""
        self.operations.makes = True
        try:
            made = func(*args, **kwargs)
        finally:
            self.operations.makes = False
        if isinstance(made, torch.Tensor):
            self.marks.add(made)
        return made

    def _move(self, func: Any, named: list[Any], args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Return the result of `to`, `cpu` or `cuda`, on the device that is asked for."""
        source, like = args[0], [value for value in args[1:] if isinstance(value, torch.Tensor)]
        was = source in self.marks
        if func is torch.Tensor.cuda:
            func, args, kwargs, wanted = torch.Tensor.to, [source], {"device": CPU}, True
        elif func is torch.Tensor.cpu:
            wanted = False
        elif like:
            wanted = like[0] in self.marks
        else:
            wanted = any(map(_is_gpu, named)) or (was and not any(_is_cpu(value) for value in named))
        result = func(*args, **kwargs)
        if wanted == was:
            return result
        with torch._C.DisableTorchFunction():
            moved = _Moved.apply if result.requires_grad and torch.is_grad_enabled() else _copied
            return moved(result, self.marks, wanted)


class _Moved(torch.autograd.Function):
    """A copy on the other device, whose gradient comes back."""

    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor, marks: Marks, to_gpu: bool) -> torch.Tensor:
        ctx.marks, ctx.to_gpu = marks, to_gpu
        return _copied(tensor, marks, to_gpu)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return _copied(gradient, ctx.marks, not ctx.to_gpu), None, None


def _copied(tensor: torch.Tensor, marks: Marks, to_gpu: bool) -> torch.Tensor:
    with _disable_current_modes():
        copy = tensor.detach().clone()
    if to_gpu:
        marks.add(copy)
    return copy


def _is_gpu(value: Any) -> bool:
    return (isinstance(value, torch.device) and value.type == "cuda") or (
        isinstance(value, str) and value.partition(":")[0] == "cuda"
    )


def _is_cpu(value: Any) -> bool:
    return (isinstance(value, torch.device) and value.type == "cpu") or (isinstance(value, str) and value == "cpu")
