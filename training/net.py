"""The embedded model's forward pass (Llama), its weights frozen, with a low-rank update beside every linear layer.

Why not `peft` over `transformers`: all texts begin with the same prompt, which here is computed once a batch and not
once a text, projections that read the same input are one product, and the weights may be bfloat16 while the updates
learn in float32. It looked faster on two cores, in runs that were not alike (benchmarks/LOG.md). What is learnt is
saved in peft's format, and a test holds this forward pass to that of `transformers`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

HEAD: int = 64


class Projections(nn.Module):
    """Frozen linear layers that read the same input, as one, each with its update: y = W x + scale B A x."""

    def __init__(self, names: tuple[str, ...], weights: list[Tensor], rank: int, scale: float, dtype: torch.dtype):
        super().__init__()
        self.names, self.rank, self.scale = names, rank, scale
        self.register_buffer("weight", torch.cat(weights).to(dtype).contiguous(), persistent=False)
        self.a = nn.Parameter(torch.empty(rank * len(weights), weights[0].shape[1]))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))
        self.b = nn.ParameterList([nn.Parameter(torch.zeros(weight.shape[0], rank)) for weight in weights])

    def forward(self, x: Tensor) -> Tensor:
        low = functional.linear(x, self.a.to(x.dtype)).split(self.rank, -1)
        raised = [functional.linear(part, (b * self.scale).to(x.dtype)) for part, b in zip(low, self.b, strict=True)]
        whole: Tensor = functional.linear(x, self.weight)
        return whole + (raised[0] if len(raised) == 1 else torch.cat(raised, -1))

    def learnt(self) -> dict[str, tuple[Tensor, Tensor]]:
        """(A, B) of each layer, by name."""
        return {
            name: (a.detach(), b.detach())
            for name, a, b in zip(self.names, self.a.split(self.rank), self.b, strict=True)
        }


class Block(nn.Module):
    """One layer of the model. Grouped-query attention: queries of a group share keys and values."""

    def __init__(self, layer: Any, rank: int, scale: float, dtype: torch.dtype, eps: float):
        super().__init__()
        attention, mlp = layer.self_attn, layer.mlp

        def some(part: Any, names: tuple[str, ...]) -> Projections:
            return Projections(names, [getattr(part, name).weight.data for name in names], rank, scale, dtype)

        self.qkv = some(attention, ("q_proj", "k_proj", "v_proj"))
        self.out = some(attention, ("o_proj",))
        self.up = some(mlp, ("gate_proj", "up_proj"))
        self.down = some(mlp, ("down_proj",))
        self.widths = [getattr(attention, name).weight.shape[0] for name in ("q_proj", "k_proj", "v_proj")]
        self.groups = self.widths[1] // HEAD
        self.eps = eps
        self.register_buffer("before", layer.input_layernorm.weight.data.to(dtype), persistent=False)
        self.register_buffer("between", layer.post_attention_layernorm.weight.data.to(dtype), persistent=False)

    def forward(
        self, x: Tensor, turn: tuple[Tensor, Tensor], mask: Tensor, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """(states after the layer, its keys and values). `past`: keys and values of the prompt that all texts share."""
        texts, length, width = x.shape
        q, k, v = self.qkv(_normed(x, self.before, self.eps)).split(self.widths, -1)
        q = _turned(q.view(texts, length, -1, HEAD).transpose(1, 2), turn)
        k = _turned(k.view(texts, length, -1, HEAD).transpose(1, 2), turn)
        v = v.view(texts, length, -1, HEAD).transpose(1, 2)
        own = (k, v)
        if past is not None:
            k, v = (torch.cat((old.expand(texts, -1, -1, -1), new), 2) for old, new in zip(past, own, strict=True))
        scores = q.reshape(texts, self.groups, -1, HEAD) @ k.transpose(-1, -2) / math.sqrt(HEAD)
        shape = scores.shape
        weights = (scores.view(texts, self.groups, -1, length, shape[-1]) + mask).softmax(-1).view(shape)
        seen = (weights @ v).view(texts, -1, length, HEAD).transpose(1, 2).reshape(texts, length, width)
        x = x + self.out(seen)
        gate, up = self.up(_normed(x, self.between, self.eps)).chunk(2, -1)
        return x + self.down(functional.silu(gate) * up), own


class Net(nn.Module):
    """`model` (a LlamaForCausalLM) with updates of `rank` that learn, scaled by `alpha` / `rank`."""

    def __init__(self, model: Any, rank: int, alpha: float, dtype: torch.dtype, longest: int = 1024):
        super().__init__()
        config = model.config
        if config.hidden_size // config.num_attention_heads != HEAD:
            raise ValueError("the heads of this model have another width")
        self.rank, self.alpha, self.eps, self.dtype = rank, alpha, config.rms_norm_eps, dtype
        self.layers = nn.ModuleList([Block(layer, rank, alpha / rank, dtype, self.eps) for layer in model.model.layers])
        self.register_buffer("embedding", model.model.embed_tokens.weight.data.to(dtype), persistent=False)
        self.register_buffer("head", model.lm_head.weight.data.to(dtype), persistent=False)
        self.register_buffer("norm", model.model.norm.weight.data.to(dtype), persistent=False)
        step = 1 / config.rope_parameters["rope_theta"] ** (torch.arange(0, HEAD, 2).float() / HEAD)
        angles = torch.arange(longest).float()[:, None] * step
        self.register_buffer("cos", angles.cos().to(dtype), persistent=False)
        self.register_buffer("sin", angles.sin().to(dtype), persistent=False)

    def forward(self, prompt: Tensor, texts: Tensor) -> Tensor:
        """Last states, shape (texts, length, width), of `texts` (token ids, shape (texts, length), padded on the right)
        where each stands behind `prompt` (token ids)."""
        begin, length = len(prompt), texts.shape[1]
        before, x = functional.embedding(prompt[None], self.embedding), functional.embedding(texts, self.embedding)
        # Padding on the right is seen by nothing that counts: looking back alone is mask enough.
        before_mask, own = _looking_back(begin, x), _looking_back(length, x)
        mask = torch.cat((own.new_zeros(length, begin), own), 1)
        turns = (
            (self.cos[:begin], self.sin[:begin]),
            (
                self.cos[begin : begin + length],
                self.sin[begin : begin + length],
            ),
        )
        for layer in self.layers:
            before, past = layer(before, turns[0], before_mask, None)
            x, _ = layer(x, turns[1], mask, past)
        return _normed(x, self.norm, self.eps)

    def take(self, learnt: Mapping[str, Tensor]) -> None:
        """Begin with what another net had learnt, by the names of `learnt`."""
        with torch.no_grad():
            for name, (a, b) in self._updates():
                a.copy_(learnt[f"{name}.lora_A.weight"])
                b.copy_(learnt[f"{name}.lora_B.weight"])

    def learnt(self) -> dict[str, Tensor]:
        """What was learnt, by the names that peft gives."""
        tensors: dict[str, Tensor] = {}
        for name, (a, b) in self._updates():
            tensors |= {f"{name}.lora_A.weight": a, f"{name}.lora_B.weight": b}
        return tensors

    def _updates(self) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
        for number, layer in enumerate(self.layers):
            for part, module in (("self_attn", "qkv"), ("self_attn", "out"), ("mlp", "up"), ("mlp", "down")):
                for name, update in getattr(layer, module).learnt().items():
                    yield f"base_model.model.model.layers.{number}.{part}.{name}", update


def _normed(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return functional.rms_norm(x, (x.shape[-1],), weight, eps)


def _turned(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary positions."""
    first, second = x.chunk(2, -1)
    cos, sin = turn
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)


def _looking_back(length: int, like: Tensor) -> Tensor:
    return torch.triu(like.new_full((length, length), float("-inf")), 1)
