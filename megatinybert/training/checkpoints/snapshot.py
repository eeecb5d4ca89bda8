"""A copy of state in host memory, which training cannot change."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn


def snapshot(state: Any) -> Any:
    """A copy of nested dicts, lists and tuples of tensors and plain data, with all tensors on the CPU.

    Tensors that share memory share it in the copy, too, so that a file of it is as large as one of `state`. Raises
    RuntimeError where memory does not suffice.
    """
    storages: dict[int, torch.UntypedStorage] = {}
    copied = _copy(state, storages)
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()  # copies to pinned memory may be under way
    return copied


def _copy(state: Any, storages: dict[int, torch.UntypedStorage]) -> Any:
    if isinstance(state, Tensor):
        return _copy_tensor(state, storages)
    if isinstance(state, dict):
        copied = copy.copy(state)  # with what PyTorch's dict of weights has beside its values
        for key, value in state.items():
            copied[key] = _copy(value, storages)
        return copied
    if type(state) is list:
        return [_copy(value, storages) for value in state]
    if type(state) is tuple and any(isinstance(value, (Tensor, dict, list, tuple)) for value in state):
        return tuple(_copy(value, storages) for value in state)
    return copy.deepcopy(state)


def _copy_tensor(tensor: Tensor, storages: dict[int, torch.UntypedStorage]) -> Tensor:
    storage = tensor.untyped_storage()
    if storage.data_ptr() not in storages:
        storages[storage.data_ptr()] = _copy_storage(storage)
    shape = tensor.storage_offset(), tensor.size(), tensor.stride()
    copied = torch.empty(0, dtype=tensor.dtype).set_(storages[storage.data_ptr()], *shape)
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(copied, tensor.requires_grad)
    return copied.requires_grad_(tensor.requires_grad)  # as a file has it of a part of a parameter, too


def _copy_storage(storage: torch.UntypedStorage) -> torch.UntypedStorage:
    on_cuda = storage.device.type == "cuda"
    copied = torch.empty(storage.nbytes(), dtype=torch.uint8, pin_memory=on_cuda)
    there = torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)
    copied.copy_(there, non_blocking=True)
    return copied.untyped_storage()
