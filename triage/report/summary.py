"""The end of a run in one screen."""

from __future__ import annotations

from pathlib import Path

from rich.console import Group
from rich.table import Table
from rich.text import Text

from triage.records import Account
from triage.report.escape import escaped
from triage.report.findings import STYLE, WORST_FIRST

_ROWS = {
    "rows_settled": "settled as benign by rules",
    "rows_ruled": "decided by rules",
    "rows_judged": "judged by the model",
    "rows_from_memory": "answered from memory",
    "rows_corrected": "corrected by an analyst",
    "rows_undecided": "undecided",
    "rows_quarantined": "could not be read (quarantine/)",
}


def summary(account: Account, output: Path) -> Group:
    """Where every row went, what the verdicts are, what it took, where the files are."""
    rows = Table.grid(padding=(0, 2))
    rows.add_column(justify="right")
    rows.add_column()
    rows.add_row(f"{account.rows_in:,}", Text("rows read", "bold"))
    for name, words in _ROWS.items():
        if count := getattr(account, name):
            rows.add_row(f"{count:,}", words)
    rows.add_row(
        "=" if account.balanced else "≠", "every row accounted for once" if account.balanced else "ROWS DO NOT BALANCE"
    )
    verdicts = Table.grid(padding=(0, 2))
    verdicts.add_column(justify="right")
    verdicts.add_column()
    for name in WORST_FIRST:
        verdicts.add_row(f"{account.dispositions.get(name, 0):,}", Text(name, STYLE[name]))
    side_by_side = Table.grid(padding=(0, 6))
    side_by_side.add_row(rows, verdicts)
    lines = [Text(line) for line in (*_spent(account), *_cascaded(account), *_measured(account))]
    notes = [
        Text(f"could not be read: {escaped(item['shard'])}: {item['reason']}", "yellow") for item in account.unreadable
    ]
    if account.memory_refused:
        notes.append(
            Text(
                f"{account.memory_refused:,} entries of the memory are not sealed with its key and were ignored: "
                f"somebody changed {account.memory}",
                "bold red",
            )
        )
    if all(approval["purpose"] == "demonstration" for approval in account.model["approvals"]):
        notes.append(
            Text(
                f"The model {account.model['name']!r} is approved for demonstration only. See how good it is on your "
                "own logs (triage eval) before anybody acts on its verdicts.",
                "yellow",
            )
        )
    return Group(
        "",
        side_by_side,
        "",
        *lines,
        Text(f"verdicts: {output}/verdicts/*.parquet   account: {output}/run.json"),
        *notes,
    )


def _measured(account: Account) -> list[str]:
    """What the samples say, each in a sentence."""
    lines = []
    settled, shared = account.samples.get("settled"), account.samples.get("shared")
    if settled and settled.rows:
        drawn = settled.judged + settled.undecided
        told = f"{settled.found:,} raised" + (f", {settled.undecided:,} undecided" if settled.undecided else "")
        lines.append(
            f"of {settled.rows:,} rows settled as benign {drawn:,} were drawn and judged anyway: {told}; "
            f"with {settled.confidence:.0%} confidence the judge would have raised {settled.low:.1%} to "
            f"{settled.high:.1%} of them (Korn-Graubard)"
            if drawn
            else f"none of {settled.rows:,} rows settled as benign was drawn to be judged ([sample] settled)"
        )
    if shared and shared.rows:
        drawn = shared.judged + shared.undecided
        lines.append(
            f"of {shared.rows:,} events judged by a shared question {drawn:,} were drawn and judged on their own: "
            f"{shared.found:,} changed disposition ({shared.low:.1%} to {shared.high:.1%}), p_benign by "
            f"{shared.mean_shift_p_benign or 0:.3f} on average"
            if drawn
            else f"none of {shared.rows:,} events judged by a shared question was drawn ([sample] shared)"
        )
    return lines


def _cascaded(account: Account) -> list[str]:
    """What the larger model of a cascade was asked, and how often the two agreed."""
    if not account.cascade:
        return []
    counts, asked = account.cascade, account.questions - account.sample_questions
    told = f"the larger model {counts['model']['name']!r} was asked {counts['asked_second']:,} times"
    if asked:
        told += f" ({counts['asked_second'] / asked:.0%} of the questions)"
    if counts["asked_second"]:
        told += f" and agreed {counts['agreed']:,} times"
    if counts["sampled"]:
        told += f"; of {counts['sampled']:,} that the first was sure of it agreed on {counts['sampled_agreed']:,}"
    return [told]


def _spent(account: Account) -> list[str]:
    last = account.attempt_log[-1]
    lines = []
    if account.questions:
        per_thousand = 1000 * account.questions / account.rows_in
        cached = account.cached_tokens / account.prompt_tokens if account.prompt_tokens else 0
        lines.append(
            f"{account.questions:,} questions ({per_thousand:,.0f} per 1,000 rows"
            f"{f', {account.sample_questions:,} of them for samples' if account.sample_questions else ''}), "
            f"{account.prompt_tokens:,} prompt tokens ({cached:.0%} from the prefix cache), "
            f"{account.output_tokens:,} output tokens"
        )
    if account.templates_from_memory:
        count = f"{account.templates_from_memory:,} templates (counted once a slice)"
        lines.append(f"{count} answered from {account.memory}")
    if last.engine_seconds:
        tokens = last.prompt_tokens + last.output_tokens
        lines.append(
            f"{tokens / last.engine_seconds:,.0f} tokens/s and {last.questions / last.engine_seconds:,.1f} questions/s "
            f"over {last.engine_seconds:,.0f} s of engine time; {last.wall_seconds:,.0f} s in all"
        )
    engine = account.engine
    if not engine and account.state == "done":
        lines.append(
            f"no engine was needed; model {account.model['name']} {account.model['digest'][:12]}; "
            f"run {account.run_id}, attempt {account.attempts}"
        )
    if engine:
        lines.append(
            f"engine: {engine.get('engine')} {engine.get('version')} on {engine.get('device')}; "
            f"model {account.model['name']} {account.model['digest'][:12]}; "
            f"run {account.run_id}, attempt {account.attempts}"
        )
    return lines
