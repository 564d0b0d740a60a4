"""`triage calibrate`."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import numpy as np
import polars as pl
from rich.text import Text

from triage.calibration import Calibration, calibration_from
from triage.cli.printing import PathArgument, as_json, committed, out, print_json
from triage.columns import LABELS
from triage.custody import registry
from triage.engine import prompt as prompts
from triage.errors import WrongInput
from triage.evaluate import calibrate as fitting
from triage.evaluate.join import ABOUT, joined
from triage.evaluate.labels import BY, Labels, read_labels
from triage.records import Account
from triage.report.findings import scan_verdicts

_P = [f"p_{label}" for label in LABELS]


class Share(click.ParamType[float]):
    """`2%` or `0.02`."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            share = float(str(value).removesuffix("%")) / (100 if str(value).endswith("%") else 1)
        except ValueError:
            share = -1.0
        if not 0 <= share <= 1:
            self.fail(f"{value!r} is no share; expected 2% or 0.02", param, ctx)
        return share


@click.command()
@click.argument("output", type=PathArgument)
@click.argument("labels_file", metavar="[LABELS]", type=PathArgument, required=False)
@click.option("--review-budget", type=Share(), help="show at most this share of the lines, as `2%`")
@click.option("--recall", type=Share(), help="show at least this share of the labelled lines that matter")
@click.option("--escalate-budget", type=Share(), help="escalate at most this share of the lines")
@click.option("--dry-run", is_flag=True, help="say what would be recorded, and record nothing")
@as_json
def calibrate(
    output: Path,
    labels_file: Path | None,
    review_budget: float | None,
    recall: float | None,
    escalate_budget: float | None,
    dry_run: bool,
    json_: bool,
) -> None:
    """Record what the answers of OUTPUT's model are worth, and where to cut them.

    With LABELS, temperature and offsets are fitted on them; without, they come from what the model answered to texts
    without content. Runs that begin afterwards use it; nothing is asked again."""
    if recall is not None and (labels_file is None or review_budget is not None):
        raise WrongInput(
            "what to aim at is not clear", where="--recall", expected="LABELS with it, and no --review-budget beside it"
        )
    account, receipts = committed(output)
    entry = registry.get(account.model["name"])
    if entry.digest != account.model["digest"]:
        raise WrongInput(
            f"model {entry.name!r} is not the one that judged there",
            where=str(output),
            expected=f"digest {account.model['digest'][:12]}, the registry has {entry.digest[:12]}",
        )
    verdicts = scan_verdicts(output, list(receipts))
    spoken = _raw(verdicts.filter(pl.col("p_benign").is_not_null(), model_digest=entry.digest), account)
    labels = read_labels(labels_file) if labels_file else None
    lines = _labelled(spoken, labels, {receipt.shard for receipt in receipts.values()}) if labels else None
    fit = None
    if labels and lines is not None:
        whole = _templates(lines, labels)
        fit = fitting.fit(whole.select(_P).to_numpy(), whole["truth"].to_numpy(), whole["group"].to_list())
        temperature, offsets = fit.temperature, fit.offsets
    else:
        temperature, offsets = fitting.contextual(_content_free(account, output))
    p = fitting.applied(spoken.select(_P).collect().to_numpy(), temperature, offsets)
    readable = account.rows_in - account.rows_quarantined
    others = verdicts.filter(pl.col("p_benign").is_null(), pl.col("disposition") != "benign")
    shown = others.select(pl.len()).collect().item()
    review_at = None
    if review_budget is not None:
        review_at = _within(1 - p[:, 0], review_budget, readable, shown, "--review-budget")
    elif recall is not None and lines is not None:
        said = fitting.applied(lines.select(_P).to_numpy(), temperature, offsets)
        review_at = fitting.at_recall(1 - said[:, 0], lines["truth"].to_numpy() > 0, recall)
    escalate_at = None
    if escalate_budget is not None:
        urgent = others.filter(disposition="escalate").select(pl.len()).collect().item()
        escalate_at = _within(p[:, 2], escalate_budget, readable, urgent, "--escalate-budget")
    prompt = prompts.load(account.prompt)
    fitted = {
        "how": "temperature and offsets by maximum likelihood" if fit else "contextual: texts without content",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "by": getpass.getuser(),
        "run": account.run_id,
        "templates": fit.rows if fit else 0,
        "labels_sha256": registry.sha256_of(labels_file) if labels_file else None,
        "ece": round(fit.ece_after, 4) if fit else None,
        "across_groups": fit.across_groups if fit else None,
    }
    made = fitting.calibration(
        prompt.digest, temperature, offsets, review_at=review_at, escalate_at=escalate_at, fitted=fitted
    )
    if not dry_run:
        registry.calibrate(entry.name, made)
    if json_:
        print_json({"model": entry.name, "prompt": account.prompt, **made.as_dict(), "recorded": not dry_run})
        return
    _say(made, fit, entry.name, account, p, readable, shown, recorded=not dry_run)


def _raw(verdicts: pl.LazyFrame, account: Account) -> pl.LazyFrame:
    """`verdicts` with the model's own probabilities, as they were before the run's calibration."""
    frame = verdicts.select(*ABOUT, *_P).collect()
    if account.calibration:
        used = calibration_from(account.calibration)
        raw = [used.raw(dict(zip(LABELS, row, strict=True))) for row in frame.select(_P).iter_rows()]
        frame = frame.with_columns(pl.Series(f"p_{label}", [p[label] for p in raw]) for label in LABELS)
    return frame.lazy()


def _labelled(spoken: pl.LazyFrame, labels: Labels, shards: set[str]) -> pl.DataFrame:
    if labels.classes != tuple(LABELS):
        raise WrongInput(
            "only whether an analyst should see it is labelled", where="LABELS", expected="benign, review and escalate"
        )
    lines = joined(labels, spoken, None, shards, lambda messages: messages).lines
    if lines.height < len(LABELS) or lines["truth"].n_unique() < len(LABELS):
        raise WrongInput("too few labelled lines to fit anything on", expected="lines of all three labels")
    return lines


def _templates(lines: pl.DataFrame, labels: Labels) -> pl.DataFrame:
    """One row a template: the worst truth of its lines, their probabilities, and the group of the first."""
    group = BY + labels.groupings[0] if labels.groupings else "shard"
    return lines.group_by("template_id", maintain_order=True).agg(
        pl.col("truth").max(), pl.col(_P).mean(), pl.col(group).first().alias("group")
    )


def _content_free(account: Account, output: Path) -> dict[str, float]:
    found = account.engine.get("content_free")
    if not found:
        raise WrongInput(
            "no engine was loaded in the last attempt of that run, so that the model's leaning is not known",
            where=str(output),
            expected="LABELS, or an OUTPUT whose run asked the model",
        )
    return dict(found)


def _within(score: np.ndarray, share: float, readable: int, taken: int, option: str) -> float:
    """The threshold with which lines that the model judged, with those `taken` by others, stay within a share."""
    left = share * readable - taken
    if left < 0:
        raise WrongInput(
            f"rules and analysts alone show {taken:,} of {readable:,} lines", where=option, expected="a larger budget"
        )
    return fitting.at_budget(score, min(1.0, left / len(score)) if len(score) else 1.0)


def _say(
    made: Calibration,
    fit: fitting.Fit | None,
    model: str,
    account: Account,
    p: np.ndarray,
    readable: int,
    shown: int,
    *,
    recorded: bool,
) -> None:
    offsets = ", ".join(f"{label} {offset:+.2f}" for label, offset in zip(LABELS, made.offsets, strict=True))
    out.print(Text(f"model {model} with prompt {account.prompt}: temperature {made.temperature:.2f}; {offsets}"))
    if fit:
        where = "on groups that it was not fitted on" if fit.across_groups else "on the lines it was fitted on"
        out.print(
            Text(
                f"fitted on {fit.rows:,} templates; {where}: loss {fit.loss_before:.3f} to {fit.loss_after:.3f}, "
                f"calibration error {fit.ece_before:.3f} to {fit.ece_after:.3f}"
            )
        )
    review = made.review_at if made.review_at is not None else 0.5
    seen = int((1 - p[:, 0] >= review).sum()) + shown
    escalate = "" if made.escalate_at is None else f", escalate from {made.escalate_at:.4f} on"
    out.print(Text(f"review from {review:.4f} on{escalate}: {seen:,} of {readable:,} lines of that run would be shown"))
    out.print(
        Text(
            f"Recorded as {made.digest[:12]}; new runs use it, and what memory holds is not asked again."
            if recorded
            else "Nothing was recorded (--dry-run).",
            "dim",
        )
    )
