"""Teach the embedded model the job: LoRA on its upper layers, the label as the next token.

    python training/train.py OUT [--passes 2] [--lower 15] [--rank 16] [--minutes 85] [--limit N] [--held-out 0.15]

The lower layers do not change, so that their states are computed once a text and kept (half precision, on disk below
OUT); a step then costs the upper layers alone. Loss and probabilities are over the three label tokens, as the product
asks. Resumable: what was computed and the last checkpoint are taken up where they stand in OUT.

Systems are held out whole: what is printed of them says how the model does on systems it has not seen. Nothing is
chosen by the measured lines. `pip install --no-deps -r training/requirements.lock` first.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import polars as pl
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from training.generate import training_set
from triage.columns import LABELS
from triage.custody import embedded
from triage.engine import prompt as prompts

PROMPT: Final = "triage-2"
MOST_TOKENS: Final = 288
CHECKPOINT_SECONDS: Final = 120
_PROJECTIONS: Final = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def held_out(system: str, share: float) -> bool:
    """Whether a system is kept for measuring: by its name alone, so that it stays so."""
    return int(hashlib.sha256(system.encode()).hexdigest()[:8], 16) < share * 2**32


def tokens_of(rows: pl.DataFrame, prompt: prompts.Prompt) -> list[list[int]]:
    """Each text as the product asks for its label; of a long one the beginning and the end."""
    room = MOST_TOKENS - len(prompt.prefix) - len(prompt.ask)
    lines = [prompt.line(text) for text in rows["text"]]
    cut = [line if len(line) <= room else line[: room * 2 // 3] + line[-(room - room * 2 // 3) :] for line in lines]
    return [[*prompt.prefix, *line, *prompt.ask] for line in cut]


class States:
    """The states of every text below the layers that learn, in one file."""

    def __init__(self, path: Path, texts: Sequence[list[int]], width: int) -> None:
        self.starts = np.concatenate([[0], np.cumsum([len(text) for text in texts])])
        shape = (int(self.starts[-1]), width)
        self.done_file = path.with_suffix(".done")
        fresh = not path.exists()
        self.values = np.memmap(path, np.float16, "w+" if fresh else "r+", shape=shape)
        self.done = 0 if fresh or not self.done_file.exists() else int(self.done_file.read_text())

    def put(self, at: int, states: torch.Tensor, length: int) -> None:
        self.values[self.starts[at] : self.starts[at] + length] = states[:length].half().numpy()

    def get(self, at: int) -> torch.Tensor:
        return torch.from_numpy(np.array(self.values[self.starts[at] : self.starts[at + 1]])).float()


def batches(order: Sequence[int], lengths: Sequence[int], size: int, draw: random.Random | None) -> list[list[int]]:
    """Texts of like length together; in random order where there is a `draw`."""
    mixed = list(order)
    if draw:
        draw.shuffle(mixed)
    made = []
    for start in range(0, len(mixed), 40 * size):
        part = sorted(mixed[start : start + 40 * size], key=lambda at: lengths[at])
        made += [part[i : i + size] for i in range(0, len(part), size)]
    if draw:
        draw.shuffle(made)
    return made


def padded(pieces: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """(batch, mask), with the padding on the right."""
    longest = max(len(piece) for piece in pieces)
    batch = torch.zeros(len(pieces), longest, *pieces[0].shape[1:], dtype=pieces[0].dtype)
    mask = torch.zeros(len(pieces), longest, dtype=torch.long)
    for row, piece in enumerate(pieces):
        batch[row, : len(piece)] = piece
        mask[row, : len(piece)] = 1
    return batch, mask


def compute_states(model: Any, lower: int, texts: Sequence[list[int]], states: States) -> None:
    """The states that layer `lower` is given, of the texts that are not done."""
    layers, norm = model.model.layers, model.model.norm
    model.model.layers, model.model.norm = layers[:lower], torch.nn.Identity()
    started = time.monotonic()
    with torch.inference_mode():
        for start in range(states.done, len(texts), 16):
            some = range(start, min(start + 16, len(texts)))
            batch, mask = padded([torch.tensor(texts[at]) for at in some])
            out = model.model(input_ids=batch, attention_mask=mask, use_cache=False).last_hidden_state
            for row, at in enumerate(some):
                states.put(at, out[row], len(texts[at]))
            if start % 1600 == 0:
                states.values.flush()
                states.done_file.write_text(str(start))
                print(f"states: {start} of {len(texts)}, {time.monotonic() - started:.0f} s", flush=True)
    states.done_file.write_text(str(len(texts)))
    model.model.layers, model.model.norm = layers, norm


def label_logits(upper: Any, states: States, some: Sequence[int], labels: torch.Tensor) -> torch.Tensor:
    """Logits of the three labels for texts, shape (texts, 3)."""
    batch, mask = padded([states.get(at) for at in some])
    hidden = upper.model(inputs_embeds=batch, attention_mask=mask, use_cache=False).last_hidden_state
    last = hidden[torch.arange(len(some)), mask.sum(1) - 1]
    return last @ upper.lm_head.weight[labels].T


def area(scores: np.ndarray, positive: np.ndarray) -> float:
    """The area under the ROC curve, ties counted half."""
    ranks = pl.Series(scores).rank("average").to_numpy()
    n, m = int(positive.sum()), int((~positive).sum())
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * m)) if n and m else math.nan


def measured(
    upper: Any, states: States, rows: Sequence[int], truth: np.ndarray, lengths: Sequence[int], labels: Any
) -> str:
    """ROC areas on held-out systems: seen or not, and escalate against review."""
    p = np.zeros((len(truth), 3))
    with torch.inference_mode():
        for some in batches(rows, lengths, 32, None):
            p[some] = label_logits(upper, states, some, labels).softmax(-1).numpy()
    kept, mine = p[list(rows)], truth[list(rows)]
    seen = area(1 - kept[:, 0], mine > 0)
    urgent = area(kept[mine > 0, 2] / (1 - kept[mine > 0, 0] + 1e-9), mine[mine > 0] == 2)
    return f"seen {seen:.3f}, escalate against review {urgent:.3f}, right {np.mean(kept.argmax(1) == mine):.3f}"


def steps(train: list[int], lengths: Sequence[int], size: int, passes: int, seed: int) -> Iterator[list[int]]:
    for number in range(passes):
        yield from batches(train, lengths, size, random.Random(seed + number))


def base_model() -> tuple[Any, Any]:
    """(the embedded model with float32 weights, none of which learns; its tokenizer)."""
    with tempfile.TemporaryDirectory() as folder:
        embedded.write_float(Path(folder) / "model")
        model = AutoModelForCausalLM.from_pretrained(Path(folder) / "model", dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(Path(folder) / "model")
    model.requires_grad_(False)
    return model, tokenizer


def rate_at(step: int, of: int, highest: float) -> float:
    """The learning rate: up over 30 steps, then down on half a cosine to a twentieth."""
    return highest * min(1.0, (step + 1) / 30) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / of)))


class Learner:
    """The parameters that learn, their optimiser, and the step they are at; from `checkpoint` where that is there."""

    def __init__(self, taught: Any, checkpoint: Path, rate: float) -> None:
        self.parameters = [parameter for parameter in taught.parameters() if parameter.requires_grad]
        self.optimiser = torch.optim.AdamW(self.parameters, lr=rate, weight_decay=0.01)
        self.checkpoint, self.rate, self.step = checkpoint, rate, 0
        if checkpoint.exists():
            saved = torch.load(checkpoint, weights_only=True)
            self.step = saved["step"]
            self.optimiser.load_state_dict(saved["optimiser"])
            with torch.no_grad():
                for parameter, value in zip(self.parameters, saved["values"], strict=True):
                    parameter.copy_(value)

    def save(self) -> None:
        values = [parameter.detach() for parameter in self.parameters]
        work = self.checkpoint.with_suffix(".work")
        torch.save({"step": self.step, "optimiser": self.optimiser.state_dict(), "values": values}, work)
        work.replace(self.checkpoint)

    def learn(self, loss: torch.Tensor, of: int) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = rate_at(self.step, of, self.rate)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.step += 1


def teach(learner: Learner, plan: list[list[int]], until: float, loss_of: Callable[[list[int]], torch.Tensor]) -> None:
    """Learn the batches of `plan` that are left, until the clock (monotonic) says `until`."""
    saved = began = time.monotonic()
    losses: list[float] = []
    learned = 0
    while learner.step < len(plan) and time.monotonic() < until:
        some = plan[learner.step]
        loss = loss_of(some)
        learner.learn(loss, len(plan))
        losses.append(float(loss.detach()))
        learned += len(some)
        if learner.step % 25 == 0 or learner.step == len(plan):
            speed = learned / (time.monotonic() - began)
            mean = sum(losses) / len(losses)
            print(f"step {learner.step} of {len(plan)}: loss {mean:.3f}, {speed:.1f} texts/s", flush=True)
            losses = []
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            learner.save()
            saved = time.monotonic()
    learner.save()


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--copies", type=int, default=3)
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--lower", type=int, default=15, help="layers that do not learn")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--rate", type=float, default=4e-4)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--minutes", type=float, default=85, help="what is not learnt by then is left")
    parser.add_argument("--limit", type=int, help="only so many texts, for a probe")
    parser.add_argument("--held-out", type=float, default=0.15, help="share of the systems")
    parser.add_argument("--seed", type=int, default=7)
    return parser.parse_args()


def main() -> None:
    given, started = options(), time.monotonic()
    given.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(given.seed)
    rows = training_set(given.copies, given.seed)
    if given.limit:
        rows = rows.sample(min(given.limit, rows.height), seed=given.seed, shuffle=True)
    model, tokenizer = base_model()
    prompt = prompts.Prompt.render(prompts.load(PROMPT), tokenizer)
    texts = tokens_of(rows, prompt)
    lengths = [len(text) for text in texts]
    truth = np.array([LABELS.index(label) for label in rows["label"]])
    kept = [held_out(system, given.held_out) for system in rows["system"]]
    train = [at for at, out in enumerate(kept) if not out]
    test = [at for at, out in enumerate(kept) if out]
    print(f"{len(train)} texts to learn, {len(test)} of held-out systems, of {np.mean(lengths):.0f} tokens", flush=True)
    name = hashlib.sha256(orjson.dumps([texts, given.lower])).hexdigest()[:16]
    states = States(given.out / f"states-{name}.f16", texts, model.config.hidden_size)
    compute_states(model, given.lower, texts, states)
    print(f"states ready after {time.monotonic() - started:.0f} s", flush=True)
    model.model.layers = model.model.layers[given.lower :]
    lora = LoraConfig(r=given.rank, lora_alpha=2 * given.rank, lora_dropout=0.05, target_modules=_PROJECTIONS)
    taught = get_peft_model(model, lora)
    upper = taught.base_model.model
    labels = torch.tensor([prompt.labels[label] for label in LABELS])
    plan = list(steps(train, lengths, given.batch, given.passes, given.seed))
    learner = Learner(taught, given.out / f"checkpoint-{name}.pt", given.rate)

    def loss_of(some: list[int]) -> torch.Tensor:
        logits = label_logits(upper, states, some, labels)
        return torch.nn.functional.cross_entropy(logits, torch.tensor(truth[some]))

    taught.train()
    teach(learner, plan, started + given.minutes * 60, loss_of)
    taught.eval()
    if test:
        print("held-out systems:", measured(upper, states, test, truth, lengths, labels), flush=True)
    taught.save_pretrained(given.out / "adapter")
    facts = {**vars(given), "out": None, "prompt": prompt.file.digest, "texts": len(train)}
    facts |= {"steps": learner.step, "of_steps": len(plan), "seconds": round(time.monotonic() - started)}
    (given.out / "adapter" / "lineage.json").write_bytes(orjson.dumps(facts, option=orjson.OPT_INDENT_2))
    print(f"{learner.step} of {len(plan)} steps, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
