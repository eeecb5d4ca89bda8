"""Stand-ins for the packages called apex: NVIDIA's, in plain torch for a CPU, and PyPI's. Neither is the real one."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

_NAMES = ("apex", "amp_C", "fused_layer_norm_cuda")

_FILES = {
    "apex/__init__.py": "from . import normalization, optimizers\n",
    "apex/normalization/__init__.py": "",
    # Like apex: under autocast everything goes to 16 bits, and the kernel takes input and weights of one dtype.
    "apex/normalization/fused_layer_norm.py": """
import torch

def fused_layer_norm_affine(input, weight, bias, normalized_shape, eps=1e-6, memory_efficient=False):
    if torch.is_autocast_enabled(input.device.type):
        dtype = torch.get_autocast_dtype(input.device.type)
        input, weight, bias = input.to(dtype), weight.to(dtype), bias.to(dtype)
    assert input.dtype == weight.dtype == bias.dtype
    with torch.autocast(input.device.type, enabled=False):
        return torch.nn.functional.layer_norm(input, normalized_shape, weight, bias, eps)
""",
    # Like apex: steps counted by group, groups zipped with those of master weights, zero_grad without arguments.
    "apex/optimizers/__init__.py": """
import torch

class FusedAdam(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3, bias_correction=True, betas=(0.9, 0.999), eps=1e-8, adam_w_mode=True,
                 weight_decay=0.0, amsgrad=False, set_grad_none=True, capturable=False, master_weights=False):
        assert adam_w_mode and bias_correction
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay))
        self.param_groups_master = [{"params": [None] * len(group["params"])} for group in self.param_groups]

    def zero_grad(self):
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None

    @torch.no_grad()
    def step(self, closure=None):
        for group, master in zip(self.param_groups, self.param_groups_master):
            if not group["params"]:
                continue
            group["step"] = group.get("step", 0) + 1
            (beta1, beta2), step = group["betas"], group["step"]
            for p, _ in zip(group["params"], master["params"]):
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(p), torch.zeros_like(p)
                state["exp_avg"].mul_(beta1).add_(p.grad, alpha=1 - beta1)
                state["exp_avg_sq"].mul_(beta2).addcmul_(p.grad, p.grad, value=1 - beta2)
                mean = state["exp_avg"] / (1 - beta1**step)
                root = (state["exp_avg_sq"] / (1 - beta2**step)).sqrt()
                p.sub_(group["lr"] * (mean / (root + group["eps"]) + group["weight_decay"] * p))
""",
}


def write_nvidia(folder: Path, extensions: str | None = "") -> Path:
    """NVIDIA's, in `folder`. extensions: the source of its two compiled modules; None: built without them."""
    for name, text in _FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    if extensions is not None:
        for name in ("amp_C", "fused_layer_norm_cuda"):
            (folder / f"{name}.py").write_text(extensions)
    _write_metadata(folder, "0.1")
    return folder


def write_namesake(folder: Path) -> Path:
    """PyPI's, in `folder`."""
    package = folder / "apex"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from pyramid.session import UnencryptedCookieSessionFactoryConfig\n")
    _write_metadata(folder, "0.9.10.dev0")
    return folder


def forget_apex() -> dict[str, ModuleType]:
    """Take the modules of any apex out of sys.modules: what they were."""
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] in _NAMES}


def _write_metadata(folder: Path, version: str) -> None:
    info = folder / f"apex-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: apex\nVersion: {version}\n")
