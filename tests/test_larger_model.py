"""Any other safetensors model goes through the same commands unchanged: registered, run, evaluated, compared, and as
the larger one of a cascade. The second model here is tiny and knows nothing: the machine is what is shown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest

from tests.test_cli import triage
from triage.custody import registry

pytestmark = pytest.mark.engine

LINES = [
    *(f"Nov 10 10:00:0{n} web1 sshd[{n}]: session opened for user {name}" for n, name in enumerate("abcd")),
    *(f"Nov 10 10:00:0{n} web1 sshd[{n}]: Failed login for {name} from 203.0.113.7" for n, name in enumerate("abcd")),
    *(f"203.0.113.9 - - \"GET /{name}?q=1' OR '1'='1 HTTP/1.1\" 200" for name in "abcd"),
]
TRUTH = [*["benign"] * 4, *["review"] * 4, *["escalate"] * 4]


@dataclass(frozen=True)
class Harness:
    folder: Path
    labels: Path

    def run(self, output: str, extra: str) -> dict[str, Any]:
        job = self.folder / f"{output}.toml"
        job.write_text(
            f'[input]\npaths = ["lines.jsonl"]\nfields = {{ message = "message" }}\n[output]\npath = "{output}"\n'
            f"[sample]\nsettled = 0\nshared = 0\n{extra}"
        )
        done = triage("run", job, timeout=900)
        assert done.returncode == 0, done.stderr
        return dict(orjson.loads((self.folder / output / "run.json").read_bytes()))

    def verdicts(self, output: str) -> pl.DataFrame:
        return pl.read_parquet(self.folder / output / "verdicts" / "*.parquet").sort("position")


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Harness:
    """The program's registry beside a second model, made here; lines and their truth."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("larger")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=49152, hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, tie_word_embeddings=True, max_position_embeddings=4096,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder / "model")
    AutoTokenizer.from_pretrained(registry.weights("default")).save_pretrained(folder / "model")
    models = folder / "models"
    models.mkdir()
    (models / "default").symlink_to(registry.root() / "default")
    (folder / "lines.jsonl").write_bytes(b"".join(orjson.dumps({"message": line}) + b"\n" for line in LINES))
    labels = folder / "labels.jsonl"
    rows = ({"message": line, "triage": label, "system": "s"} for line, label in zip(LINES, TRUTH, strict=True))
    labels.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIAGE_MODELS", str(models))
        assert triage("models", "add", "second", "--from", folder / "model", "--licence", "none").returncode == 0
        assert triage("models", "approve", "second", "--by", "tests", "--for", "tests").returncode == 0
        yield Harness(folder, labels)


def test_a_second_model_is_run_evaluated_calibrated_and_compared_by_the_same_commands(harness: Harness) -> None:
    cascade = '[cascade]\nmodel = "second"\nbelow = 1.0\nsample = 0\n'
    both = harness.run("both", cascade)
    second = harness.run("second", '[model]\nname = "second"\n')
    assert second["prompt"] != both["prompt"]  # the default was taught with its own
    assert second["engine"]["content_free"].keys() == {"benign", "review", "escalate"}
    # With `below` 1 the second model was asked everything, and its word stands.
    assert both["cascade"]["asked_second"] > 0
    assert both["cascade"]["model"]["digest"] == second["model"]["digest"]
    said = harness.verdicts("both")
    assert set(said["model_digest"]) == {second["model"]["digest"]}
    shown = ["p_benign", "p_review", "p_escalate"]
    change = (said.select(shown) - harness.verdicts("second").select(shown)).to_numpy()
    assert abs(change).max() < 0.02
    found = orjson.loads(triage("eval", harness.folder / "second", harness.labels, "--json", timeout=300).stdout)
    assert found["overall"]["lines"]["n"] == len(LINES)
    fitted = orjson.loads(triage("calibrate", harness.folder / "second", harness.labels, "--json").stdout)
    assert fitted["recorded"]
    leaning = orjson.loads(triage("calibrate", harness.folder / "second", "--dry-run", "--json").stdout)
    assert leaning["temperature"] == 1
    compared = triage(
        "compare", harness.folder / "both", harness.folder / "second", harness.labels, "--json", timeout=300
    )
    assert orjson.loads(compared.stdout)["finding"]
