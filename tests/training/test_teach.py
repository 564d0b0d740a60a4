"""What is taught is what the product will load: the forward pass, the adapter, and a training that was interrupted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl
import pytest
import torch

from training import answers, spliced, train
from training.generate import training_set
from training.net import Net
from triage.columns import CATEGORIES, SEVERITIES
from triage.custody import adapter
from triage.engine.explain import SCHEMA


@pytest.fixture(scope="module")
def tiny() -> Any:
    """A Llama of two layers with random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=97, hidden_size=128, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, tie_word_embeddings=True,
        rope_parameters={"rope_theta": 10000.0, "rope_type": "default"},
    )  # fmt: skip
    return LlamaForCausalLM(config).eval().requires_grad_(False)


PROMPT = torch.tensor([5, 6, 7])
TEXTS = torch.tensor([[1, 2, 3, 4], [9, 8, 0, 0]])


def of_transformers(model: Any, text: list[int]) -> torch.Tensor:
    ids = torch.tensor([[*PROMPT.tolist(), *text]])
    return torch.as_tensor(model.model(input_ids=ids, use_cache=False).last_hidden_state[0, len(PROMPT) :])


def randomised(model: Any, rank: int = 2) -> Net:
    """A net that has learnt something."""
    net = Net(model, rank, 4, torch.float32)
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.05)
    return net


def test_the_forward_pass_is_that_of_transformers(tiny: Any) -> None:
    with torch.inference_mode():
        states = Net(tiny, 2, 4, torch.float32)(PROMPT, TEXTS)
        assert torch.allclose(states[0], of_transformers(tiny, [1, 2, 3, 4]), atol=1e-5)
        assert torch.allclose(states[1, :2], of_transformers(tiny, [9, 8]), atol=1e-5)


def test_what_was_learnt_is_what_the_merged_weights_do(tiny: Any, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    net = randomised(tiny)
    train.save_adapter(net, tmp_path / "adapter", {"steps": 1})
    tiny.save_pretrained(tmp_path / "model")
    assert adapter.merge(tmp_path / "model", tmp_path / "adapter")["steps"] == 1
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    with torch.inference_mode():
        taught = net(PROMPT, TEXTS)[0]
        assert torch.allclose(taught, of_transformers(merged, [1, 2, 3, 4]), atol=2e-2)
        assert not torch.allclose(taught, of_transformers(tiny, [1, 2, 3, 4]), atol=2e-1)


def test_a_training_may_go_on_from_what_another_learnt(tiny: Any) -> None:
    learnt, fresh = randomised(tiny), Net(tiny, 2, 4, torch.float32)
    with torch.inference_mode():
        assert not torch.allclose(fresh(PROMPT, TEXTS)[0], learnt(PROMPT, TEXTS)[0], atol=1e-2)
        fresh.take(learnt.learnt())
        assert torch.allclose(fresh(PROMPT, TEXTS)[0], learnt(PROMPT, TEXTS)[0])


def test_a_training_that_was_interrupted_ends_as_if_it_had_not_been(tiny: Any, tmp_path: Path) -> None:
    plan: list[train.Step] = [("label", [number]) for number in range(6)]

    def taught(checkpoint: Path, *lengths: int) -> list[torch.Tensor]:
        torch.manual_seed(3)
        net = Net(tiny, 2, 4, torch.float32)
        for length in lengths:
            learner = train.Learner(net, checkpoint, 1e-2)
            for step in plan[learner.step : length]:
                states = net(PROMPT, TEXTS + step[1][0])
                learner.learn(states[:, -1].square().mean(), len(plan))
            learner.save()
            with torch.no_grad():  # what is not in the checkpoint is lost
                for parameter in net.parameters():
                    parameter.zero_()
        return [value.clone() for value in torch.load(checkpoint, weights_only=True)["values"]]

    whole, resumed = taught(tmp_path / "whole.pt", 6), taught(tmp_path / "resumed.pt", 3, 6)
    assert all(torch.allclose(a, b) for a, b in zip(whole, resumed, strict=True))


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [train.rate_at(step, 1000, 1.0) for step in range(1000)]
    top = int(np.argmax(rates))
    assert 0 < top < 100
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] == pytest.approx(train.LOWEST, abs=0.01)


def test_systems_are_held_out_whole_and_always_the_same() -> None:
    rows = training_set(1, 7)
    kept = {system for system in rows["system"].unique() if train.held_out(system, 0.1)}
    assert 5 <= len(kept) <= 25
    assert kept == {system for system in rows["system"].unique() if train.held_out(system, 0.1)}


def test_every_alert_has_an_explanation_that_the_product_would_accept() -> None:
    rows = training_set(1, 7)
    assert rows.filter(label="benign")["told"].null_count() == rows.filter(label="benign").height
    alerts = rows.filter(pl.col("label") != "benign")
    quoted = 0
    for text, told in alerts.select("text", "told").iter_rows():
        value = orjson.loads(told)
        assert set(value) == set(SCHEMA["required"])
        assert value["severity"] in SEVERITIES
        assert value["category"] in CATEGORIES
        for name, bound in SCHEMA["properties"].items():
            assert len(value[name]) <= bound.get("maxLength", 10**6)
        assert all(words in text and len(words) <= answers.MOST_EVIDENCE for words in value["evidence"])
        quoted += bool(value["evidence"])
    assert quoted > 0.8 * alerts.height


@pytest.mark.parametrize("kind", spliced.KINDS)
def test_the_line_stays_whole_around_what_is_spliced_into_it(kind: str) -> None:
    import random

    line = '192.0.2.1 - - "GET /index.html HTTP/1.1" 200 "curl user bob"'
    for seed in range(200):
        draw = random.Random(seed)
        said = spliced.text(kind, spliced.parts(), draw)
        whole = iter(spliced.spliced(line, said, draw))
        assert all(character in whole for character in line)  # in order


def test_a_step_is_shared_out_among_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(train.distributed, "get_world_size", lambda: 2)
    shares = []
    for rank in (0, 1):
        monkeypatch.setattr(train.distributed, "get_rank", lambda rank=rank: rank)
        shares.append(train._mine([1, 2, 3, 4, 5]))
    assert sorted(at for share in shares for at in share) == [1, 2, 3, 4, 5]
    assert train._mine([7]) == [7]


def test_a_training_ends_within_ninety_minutes_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train.sys, "argv", ["train.py", "out"])
    assert train.options().minutes <= 90
