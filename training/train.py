"""Teach a model the job: low-rank updates beside every linear layer, the label as the next token, some reasons as JSON.

    python training/train.py OUT [--model DIR] [--copies 2] [--minutes 85] [--held-out 0.1] [--limit N]

Without --model, the embedded model. Loss and probabilities are over the three label tokens, as the product asks; one
step in seventeen teaches what the explanation pass asks for, so that what is learnt of labels does not cost the answers
in JSON. Resumable: the last checkpoint in OUT is taken up where the data and settings are the same. Uses a GPU where
there is one, else one process a core, each with its share of every step's texts: these meet
once a step, where threads wait for one another at every product.

Systems are held out whole: what is said of them (OUT/held-out.json) says how the model does on systems it has not seen,
and is what the first calibration is fitted on. Nothing is chosen by the measured lines. Writes OUT/adapter in peft's
format, with its lineage.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import polars as pl
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, distributed, multiprocessing
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from training.generate import MIXTURES, training_set
from training.net import Net
from triage.columns import LABELS
from triage.custody import embedded
from triage.engine import prompt as prompts

PROMPT: Final = "triage-2"
MOST_TOKENS: Final = 224
CHECKPOINT_SECONDS: Final = 180
EXPLAIN_EVERY: Final = 17
EXPLAINED: Final = 8  # texts of such a step: each is about as long as two
EXPLAIN_WEIGHT: Final = 0.3
WARM_UP: Final = 60  # steps
LOWEST: Final = 0.05  # of the highest rate
_NOT_SETTINGS: Final = ("out", "minutes", "measure", "model", "steps", "workers", "start")


def held_out(system: str, share: float) -> bool:
    """Whether a system is kept for measuring: by its name alone, so that it stays so."""
    return int(hashlib.sha256(system.encode()).hexdigest()[:8], 16) < share * 2**32


@dataclass(frozen=True)
class Examples:
    """The training set in tokens. `asked`: line and ask, behind the prompt; `told`: explanation, None where none."""

    rows: pl.DataFrame
    asked: list[list[int]]
    told: list[list[int] | None]
    truth: np.ndarray

    @classmethod
    def of(cls, rows: pl.DataFrame, prompt: prompts.Prompt, end: int) -> Examples:
        asked, told = [], []
        for text, label, answer in rows.select("text", "label", "told").iter_rows():
            line = cut(prompt.line(text))
            asked.append([*line, *prompt.ask])
            said = prompt.tokenizer.encode(answer, add_special_tokens=False) if answer else []
            told.append([*line, *prompt.explain[label], *said, end] if answer else None)
        return cls(rows, asked, told, np.array([LABELS.index(label) for label in rows["label"]]))


def cut(line: list[int]) -> list[int]:
    """Of a long line the beginning and the end."""
    return line if len(line) <= MOST_TOKENS else [*line[: MOST_TOKENS * 2 // 3], *line[-MOST_TOKENS // 3 :]]


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


def padded(texts: Sequence[Sequence[int]], device: str) -> Tensor:
    """Token ids, shape (texts, longest), zero behind the end."""
    whole = torch.zeros(len(texts), max(map(len, texts)), dtype=torch.long)
    for row, text in enumerate(texts):
        whole[row, : len(text)] = torch.tensor(text)
    return whole.to(device)


class Teacher:
    """The two losses, and what the model says."""

    def __init__(self, net: Net, prompt: prompts.Prompt, examples: Examples, device: str) -> None:
        self.net, self.examples, self.device = net, examples, device
        self.prefix = torch.tensor(prompt.prefix, device=device)
        self.labels = torch.tensor([prompt.labels[label] for label in LABELS], device=device)
        self.ask_tokens, self.tails = len(prompt.ask), [len(prompt.explain[label]) for label in LABELS]

    def label_logits(self, texts: Sequence[Sequence[int]]) -> Tensor:
        """Logits of the three labels, shape (texts, 3)."""
        states = self.net(self.prefix, padded(texts, self.device))
        last = states[torch.arange(len(texts)), torch.tensor([len(text) - 1 for text in texts])]
        return last.float() @ self.net.head[self.labels].float().T

    def label_loss(self, some: Sequence[int]) -> Tensor:
        truth = torch.tensor(self.examples.truth[some], device=self.device)
        return functional.cross_entropy(self.label_logits([self.examples.asked[at] for at in some]), truth)

    def explain_loss(self, some: Sequence[int]) -> Tensor:
        """Of the tokens of the JSON, each given the ones before it."""
        texts = [told for at in some if (told := self.examples.told[at])]
        states = self.net(self.prefix, padded(texts, self.device))
        places, targets = [], []
        for row, (at, text) in enumerate(zip(some, texts, strict=True)):
            line = len(self.examples.asked[at]) - self.ask_tokens
            start = line + self.tails[int(self.examples.truth[at])]
            places += [(row, place - 1) for place in range(start, len(text))]
            targets += text[start:]
        rows, columns = (torch.tensor(part, device=self.device) for part in zip(*places, strict=True))
        logits = (states[rows, columns] @ self.net.head.T).float()
        return EXPLAIN_WEIGHT * functional.cross_entropy(logits, torch.tensor(targets, device=self.device))

    def probabilities(self, some: Sequence[int]) -> np.ndarray:
        """What the model says of texts, shape (texts, 3)."""
        lengths = [len(text) for text in self.examples.asked]
        p = np.zeros((len(lengths), len(LABELS)))
        with torch.inference_mode():
            for batch in batches(some, lengths, 64, None):
                p[batch] = self.label_logits([self.examples.asked[at] for at in batch]).softmax(-1).cpu().numpy()
        return np.asarray(p[list(some)])


def area(scores: np.ndarray, positive: np.ndarray) -> float:
    """The area under the ROC curve, ties counted half."""
    ranks = pl.Series(scores).rank("average").to_numpy()
    n, m = int(positive.sum()), int((~positive).sum())
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * m)) if n and m else math.nan


def said_of(p: np.ndarray, truth: np.ndarray) -> str:
    """ROC areas (seen or not; escalate against review), right answers, loss."""
    seen = area(1 - p[:, 0], truth > 0)
    alert = truth > 0
    urgent = area(p[alert, 2] / (1 - p[alert, 0] + 1e-9), truth[alert] == 2)
    loss = -np.log(p[np.arange(len(truth)), truth] + 1e-9).mean()
    right = np.mean(p.argmax(1) == truth)
    return f"seen {seen:.3f}, escalate against review {urgent:.3f}, right {right:.3f}, loss {loss:.3f}"


def base_model(folder: Path) -> tuple[Any, Any]:
    """(the model with float32 weights, none of which learns; its tokenizer)."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    model.requires_grad_(False)
    return model, AutoTokenizer.from_pretrained(folder, local_files_only=True)


def rate_at(step: int, of: int, highest: float) -> float:
    """The learning rate: up over the first steps, then down on half a cosine."""
    falling = 0.5 * (1 + math.cos(math.pi * step / of))
    return highest * min(1.0, (step + 1) / WARM_UP) * (LOWEST + (1 - LOWEST) * falling)


class Learner:
    """The parameters that learn, their optimiser, and the step they are at; from `checkpoint` where that is there."""

    def __init__(self, net: Net, checkpoint: Path, rate: float) -> None:
        self.parameters = list(net.parameters())
        self.optimiser = torch.optim.AdamW(self.parameters, lr=rate, weight_decay=0.01, betas=(0.9, 0.98))
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

    def learn(self, loss: Tensor, of: int) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = rate_at(self.step, of, self.rate)
        loss.backward()
        if distributed.is_initialized():
            self._share()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.step += 1

    def _share(self) -> None:
        """Make the gradients the mean over all processes."""
        flat = torch.cat([self._gradient(parameter).flatten() for parameter in self.parameters])
        distributed.all_reduce(flat)
        flat /= distributed.get_world_size()
        for parameter, mean in zip(
            self.parameters, flat.split([parameter.numel() for parameter in self.parameters]), strict=True
        ):
            parameter.grad = mean.view_as(parameter)

    @staticmethod
    def _gradient(parameter: Tensor) -> Tensor:
        return parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)


Step = tuple[str, list[int]]  # label or explain, and the examples


def plan_of(examples: Examples, train: Sequence[int], size: int, seed: int) -> list[Step]:
    """One pass over the training set; explanations are taken in turn from what is not benign."""
    draw = random.Random(seed)
    labels = batches(train, [len(text) for text in examples.asked], size, draw)
    alerts = [at for at in train if examples.told[at]]
    lengths = [len(told or ()) for told in examples.told]
    explained = batches(alerts, lengths, EXPLAINED, draw) if alerts else []
    plan: list[Step] = []
    for number, batch in enumerate(labels, start=1):
        plan.append(("label", batch))
        if explained and number % (EXPLAIN_EVERY - 1) == 0:
            plan.append(("explain", explained[(number // (EXPLAIN_EVERY - 1)) % len(explained)]))
    return plan


def teach(learner: Learner, plan: list[Step], until: float, loss_of: Callable[[Step], Tensor]) -> None:
    """Learn the steps of `plan` that are left, until the clock (monotonic) says `until`."""
    saved = began = time.monotonic()
    losses: dict[str, list[float]] = {"label": [], "explain": []}
    learned = 0
    while learner.step < len(plan) and not _agreed(time.monotonic() > until):
        step = plan[learner.step]
        loss = loss_of(step)
        learner.learn(loss, len(plan))
        losses[step[0]].append(float(loss.detach()))
        learned += len(step[1])
        if (learner.step % 50 == 0 or learner.step == len(plan)) and _first():
            means = ", ".join(f"{name} {np.mean(some):.3f}" for name, some in losses.items() if some)
            speed = learned / (time.monotonic() - began)
            print(f"step {learner.step} of {len(plan)}: {means}; {speed:.1f} texts/s", flush=True)
            losses = {"label": [], "explain": []}
        if time.monotonic() - saved > CHECKPOINT_SECONDS and _first():
            learner.save()
            saved = time.monotonic()
    if _first():
        learner.save()


def _first() -> bool:
    """Whether this process speaks for all."""
    return not distributed.is_initialized() or distributed.get_rank() == 0


def _agreed(stop: bool) -> bool:
    """Whether any process wants to stop: all of them do, or none."""
    if not distributed.is_initialized():
        return stop
    wanted = torch.tensor(float(stop))
    distributed.all_reduce(wanted)
    return bool(wanted > 0)


def _mine(some: list[int]) -> list[int]:
    """This process's share of a step's examples."""
    if not distributed.is_initialized():
        return some
    return some[distributed.get_rank() :: distributed.get_world_size()] or some[:1]


def save_adapter(net: Net, folder: Path, lineage: dict[str, Any]) -> None:
    """What was learnt, as peft keeps it, in half precision; and where it comes from."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: tensor.half().cpu().contiguous() for name, tensor in net.learnt().items()},
        folder / "adapter_model.safetensors",
        metadata={"format": "pt"},
    )
    projections = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": net.rank, "lora_alpha": net.alpha}
    config |= {"target_modules": projections, "bias": "none", "inference_mode": True, "lora_dropout": 0.0}
    for name, value in (("adapter_config", config), ("lineage", lineage)):
        data = orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)
        (folder / f"{name}.json").write_bytes(data)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", type=Path, help="a folder with a safetensors model (Llama)")
    parser.add_argument("--copies", type=int, default=2)
    parser.add_argument("--mixture", choices=list(MIXTURES), default="even")
    parser.add_argument("--start", type=Path, help="a folder with an adapter to go on from")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--alpha", type=int, default=32)
    parser.add_argument("--rate", type=float, default=2.5e-4)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, help="at most; the rate falls to its end by then")
    parser.add_argument("--minutes", type=float, default=85, help="what is not learnt by then is left")
    parser.add_argument("--limit", type=int, help="only so many texts, for a probe")
    parser.add_argument("--held-out", type=float, default=0.1, help="share of the systems")
    parser.add_argument("--measure", type=int, default=2000, help="texts of held-out systems that are measured at most")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes, without a GPU")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16", help="of the frozen weights")
    return parser.parse_args()


def main() -> None:
    given = options()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.model is None:
        given.model = given.out / "base"
        if not given.model.exists():
            with tempfile.TemporaryDirectory(dir=given.out) as work:
                embedded.write_float(Path(work) / "base")
                (Path(work) / "base").rename(given.model)
    if given.workers > 1 and not torch.cuda.is_available():
        multiprocessing.start_processes(worker, (given,), nprocs=given.workers, start_method="spawn")
    else:
        learn(given)


def worker(rank: int, given: argparse.Namespace) -> None:
    """One process of several on one machine; they meet in a file."""
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    meeting = given.out / "meeting"
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=given.workers)
    try:
        learn(given)
        distributed.barrier()
    finally:
        distributed.destroy_process_group()
        meeting.unlink(missing_ok=True)


def learn(given: argparse.Namespace) -> None:
    """From the training set to the adapter."""
    started = time.monotonic()
    torch.manual_seed(given.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = training_set(given.copies, given.seed, given.mixture)
    if given.limit:
        rows = rows.sample(min(given.limit, rows.height), seed=given.seed, shuffle=True)
    model, tokenizer = base_model(given.model)
    prompt = prompts.Prompt.render(prompts.load(PROMPT), tokenizer)
    examples = Examples.of(rows, prompt, tokenizer.eos_token_id)
    kept = [held_out(system, given.held_out) for system in rows["system"]]
    train = [at for at, out in enumerate(kept) if not out]
    test = [at for at, out in enumerate(kept) if out]
    test = random.Random(given.seed).sample(test, min(len(test), given.measure))
    data = hashlib.sha256(orjson.dumps(rows.to_dicts())).hexdigest()
    if _first():
        print(f"{len(train)} texts to learn, {len(test)} of held-out systems to measure; data {data[:16]}", flush=True)
    net = Net(model, given.rank, given.alpha, getattr(torch, given.dtype)).to(device)
    if given.start:
        net.take(load_file(given.start / "adapter_model.safetensors"))
    plan = plan_of(examples, train, given.batch, given.seed)[: given.steps]
    settings = {name: value for name, value in vars(given).items() if name not in _NOT_SETTINGS}
    name = hashlib.sha256(orjson.dumps([data, settings])).hexdigest()[:16]
    learner = Learner(net, given.out / f"checkpoint-{name}.pt", given.rate)
    teacher = Teacher(net, prompt, examples, device)
    losses = {"label": teacher.label_loss, "explain": teacher.explain_loss}
    teach(learner, plan, started + given.minutes * 60, lambda step: losses[step[0]](_mine(step[1])))
    if not _first():
        return
    lineage = {**settings, "prompt": PROMPT, "prompt_digest": prompt.file.digest, "data_sha256": data}
    lineage |= {"texts": len(train), "systems": rows["system"].n_unique(), "steps": learner.step, "of_steps": len(plan)}
    lineage |= {"minutes": round((time.monotonic() - started) / 60), "device": device, "torch": torch.__version__}
    if given.start:
        lineage["start"] = orjson.loads((given.start / "lineage.json").read_bytes())
    if test:
        p = teacher.probabilities(test)
        print("held-out systems:", said_of(p, examples.truth[test]), flush=True)
        lineage["held_out"] = sorted({rows["system"][at] for at in test})
        lineage["held_out_said"] = said_of(p, examples.truth[test])
        told = [
            {"text": rows["text"][at], "label": rows["label"][at], "system": rows["system"][at], "p": p[i].tolist()}
            for i, at in enumerate(test)
        ]
        (given.out / "held-out.json").write_bytes(orjson.dumps(told))
    save_adapter(net, given.out / "adapter", lineage)
    print(f"{learner.step} of {len(plan)} steps, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
