"""NVIDIA's apex told from its namesake, and its LayerNorm in a student. The packages are stand-ins of ours."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import BertModel

from megatinybert.models.apex import apex_state
from megatinybert.models.layer_norm import ApexLayerNorm, use_apex_layer_norm
from tests.helpers.apex_packages import write_namesake, write_nvidia
from tests.helpers.toys import bert_config


def test_no_apex_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apex", None)
    state = apex_state()
    assert state.kind == "missing"
    assert "docs/apex.md" in state.sentence


def test_a_folder_of_that_name_is_no_package(
    install_apex: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "apex" / "apex" / "normalization").mkdir(parents=True)  # a clone that was not built
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert apex_state().kind == "missing"


def test_the_namesake_is_recognised_and_explained_without_importing_it(
    install_apex: Callable[[Path], None], tmp_path: Path
) -> None:
    install_apex(write_namesake(tmp_path))
    state = apex_state()
    assert state.kind == "unrelated"
    for part in ("apex 0.9.10.dev0", str(tmp_path / "apex"), "Pyramid", "pip uninstall apex", "docs/apex.md"):
        assert part in state.sentence
    assert "apex" not in sys.modules


@pytest.mark.parametrize(
    ("extensions", "why"),
    [(None, "No module named 'fused_layer_norm_cuda'"), ("raise ImportError('undefined symbol: _ZN3c10')", "_ZN3c10")],
    ids=["not built", "built for another torch"],
)
def test_without_its_kernels_it_is_no_use(
    install_apex: Callable[[Path], None], tmp_path: Path, extensions: str | None, why: str
) -> None:
    install_apex(write_nvidia(tmp_path, extensions))
    state = apex_state()
    assert state.kind == "without CUDA kernels"
    assert why in state.sentence and "apex 0.1" in state.sentence and "docs/apex.md" in state.sentence


def test_with_its_kernels_it_is_usable(install_apex: Callable[[Path], None], tmp_path: Path) -> None:
    install_apex(write_nvidia(tmp_path))
    assert apex_state().kind == "usable"
    assert str(tmp_path / "apex") in apex_state().sentence


def student() -> BertModel:
    torch.manual_seed(0)
    model = BertModel(bert_config(2, 12, 2), add_pooling_layer=False).eval()
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    return model


def test_a_student_with_apex_computes_the_same_and_exports_to_plain_transformers(
    install_apex: Callable[[Path], None], tmp_path: Path
) -> None:
    install_apex(write_nvidia(tmp_path / "packages"))
    plain, fused = student(), student()
    use_apex_layer_norm(fused)
    norms = [module for module in fused.modules() if isinstance(module, nn.LayerNorm)]
    assert len(norms) == 5 and all(type(norm) is ApexLayerNorm and norm.eps == 1e-12 for norm in norms)
    assert [name for name, _ in fused.named_parameters()] == [name for name, _ in plain.named_parameters()]

    ids = torch.arange(2, 34).reshape(2, 16)
    outputs = [model(ids).last_hidden_state for model in (plain, fused)]
    torch.testing.assert_close(outputs[1], outputs[0])
    for output in outputs:
        output.square().sum().backward()
    for (name, expected), found in zip(plain.named_parameters(), fused.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad, msg=name)

    fused.save_pretrained(tmp_path / "student")
    loaded = BertModel.from_pretrained(tmp_path / "student", add_pooling_layer=False).eval()
    assert not any(isinstance(module, ApexLayerNorm) for module in loaded.modules())
    torch.testing.assert_close(loaded(ids).last_hidden_state, outputs[0])


@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16])
def test_the_result_has_the_dtype_of_the_weights_also_under_autocast(
    install_apex: Callable[[Path], None], tmp_path: Path, weights: torch.dtype
) -> None:
    install_apex(write_nvidia(tmp_path))
    norm = ApexLayerNorm(8, 1e-12, dtype=weights)
    states = torch.randn(3, 8)
    expected = nn.functional.layer_norm(states.to(weights), (8,), norm.weight, norm.bias, 1e-12)
    for given in (states, states.bfloat16()):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = norm(given)
        assert found.dtype == weights
        bound = 1e-6 if given.dtype == weights else 2e-2  # 16 bits may have been lost before
        torch.testing.assert_close(found, expected, rtol=bound, atol=bound)


@pytest.mark.gpu
def test_the_true_apex_gives_the_layer_norm_and_the_update_of_torch() -> None:
    """The only test that runs NVIDIA's own code."""
    state = apex_state()
    if state.kind != "usable":
        pytest.skip(state.sentence)
    from apex.optimizers import FusedAdam

    torch.manual_seed(0)
    states = torch.randn(64, 312, device="cuda")
    for dtype, bound in ((torch.float32, 1e-5), (torch.bfloat16, 2e-2)):
        norms = [cls(312, 1e-12, device="cuda", dtype=dtype) for cls in (nn.LayerNorm, ApexLayerNorm)]
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=dtype == torch.float32):
            expected, found = (norm(states.to(dtype)) for norm in norms)
        assert found.dtype == expected.dtype == dtype
        torch.testing.assert_close(found, expected, rtol=bound, atol=bound)

    constants = {"lr": 1e-2, "betas": (0.9, 0.99), "eps": 1e-6, "weight_decay": 0.1}
    weights = [nn.Parameter(states.clone()) for _ in range(2)]
    optimizers = [
        torch.optim.AdamW([weights[0]], fused=True, **constants),
        FusedAdam([weights[1]], adam_w_mode=True, **constants),
    ]
    for step in range(4):
        for weight, optimizer in zip(weights, optimizers, strict=True):
            weight.grad = (step + 1) * states.sin()
            optimizer.step()
    torch.testing.assert_close(weights[1], weights[0], rtol=1e-5, atol=1e-6)
