"""The attention that stands in for a model's own: when it computes in float32 or in wider heads, and what it notes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from megatinybert.models import attention
from megatinybert.models.capture import Features, _captured_attention


def tensors(length: int, trained: bool) -> list[Tensor]:
    random = torch.Generator().manual_seed(length)
    shape = (2, 4, length, 6)
    return [torch.randn(shape, generator=random).bfloat16().requires_grad_(trained) for _ in range(3)]


def attend(q: Tensor, k: Tensor, v: Tensor, features: Features) -> Tensor:
    module = SimpleNamespace(is_causal=False, training=True)
    context, _ = _captured_attention(module, q, k, v, None, features)  # type: ignore[arg-type]
    return context


@pytest.fixture
def computed_in(monkeypatch: pytest.MonkeyPatch) -> list[torch.dtype]:
    """The dtypes that attention was computed in."""
    seen: list[torch.dtype] = []
    original = attention.sdpa_attention_forward

    def spy(module: object, query: Tensor, *arguments: object, **options: object) -> object:
        seen.append(query.dtype if not torch.is_autocast_enabled("cpu") else torch.get_autocast_dtype("cpu"))
        return original(module, query, *arguments, **options)

    monkeypatch.setattr(attention, "sdpa_attention_forward", spy)
    return seen


def test_a_trained_models_short_attention_is_float32(computed_in: list[torch.dtype]) -> None:
    for length, trained, expected in (
        (16, True, torch.float32),
        (512, True, torch.bfloat16),
        (16, False, torch.bfloat16),
    ):
        features = Features()
        q, k, v = tensors(length, trained)
        with torch.autocast("cpu", torch.bfloat16):
            context = attend(q, k, v, features)
        assert computed_in.pop() == expected
        assert context.dtype == torch.bfloat16
        assert features.queries[0] is q and features.keys[0] is k


def test_in_float32_it_is_attention_rounded_once() -> None:
    q, k, v = tensors(16, trained=True)
    context = attend(q, k, v, Features())
    scores = q.double() @ k.double().transpose(-1, -2) / 6**0.5
    exact = (scores.softmax(dim=-1) @ v.double()).transpose(1, 2)
    torch.testing.assert_close(context, exact.bfloat16(), rtol=2**-8, atol=1e-6)
    upstream = torch.randn(context.shape, generator=torch.Generator().manual_seed(1)).bfloat16()
    found = torch.autograd.grad(context, (q, k, v), upstream)
    expected = torch.autograd.grad(exact, (q, k, v), upstream.double())
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b.bfloat16(), rtol=2**-7, atol=1e-4)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_heads_that_are_filled_up_give_the_same(
    dtype: torch.dtype, error: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on CUDA: the same context and gradients, and what is noted is not filled up."""
    mask = torch.ones(2, 1, 1, 16, dtype=torch.bool)
    mask[1, ..., 9:] = False
    module = SimpleNamespace(is_causal=False, training=True)
    results = []
    for fills in (False, True):
        monkeypatch.setattr(attention, "_needs_padding", lambda query, fills=fills: fills)
        q, k, v = (tensor.detach().to(dtype).requires_grad_() for tensor in tensors(16, trained=True))
        features = Features()
        context, _ = _captured_attention(module, q, k, v, mask, features)  # type: ignore[arg-type]
        assert features.queries[0] is q and features.keys[0] is k
        upstream = torch.randn(context.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
        results.append([context, *torch.autograd.grad(context, (q, k, v), upstream)])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=error, atol=error)


def test_which_heads_are_filled_up() -> None:
    for device, width, expected in (("cpu", 26, False), ("meta", 26, False), ("cpu", 64, False)):
        assert attention._needs_padding(torch.empty(1, 1, 2, width, device=device)) == expected
    for width, expected in ((26, True), (30, True), (32, False), (64, False)):
        query = SimpleNamespace(device=torch.device("cuda"), shape=(1, 12, 128, width))
        assert attention._needs_padding(query) == expected  # type: ignore[arg-type]


@pytest.mark.gpu
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_gpu_no_head_width_brings_the_scores_back(dtype: torch.dtype, masked: bool) -> None:
    shape, device = (4, 12, 2048, 26), torch.device("cuda")
    q, k, v = (torch.randn(shape, device=device, dtype=dtype, requires_grad=True) for _ in range(3))
    mask = torch.ones(4, 1, 1, 2048, dtype=torch.bool, device=device) if masked else None
    module = SimpleNamespace(is_causal=False, training=True)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    context, _ = _captured_attention(module, q, k, v, mask)  # type: ignore[arg-type]
    context.float().square().sum().backward()
    scores = 4 * 12 * 2048 * 2048 * q.element_size()
    assert torch.cuda.max_memory_allocated() - before < scores / 2
