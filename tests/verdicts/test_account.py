"""run.json: one configuration, totals from receipts, and the balance stated."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.verdicts.builders import receipt
from triage.errors import PromiseBroken, WrongInput
from triage.records import Account, Attempt
from triage.verdicts import account as accounts
from triage.verdicts.commit import prepare_output

FRESH = Account(
    run_id="run", state="running", started_at="2026-01-01T00:00:00+00:00", inputs=[], model={}, prompt="p",
    configuration={"model": "m1", "prompt": "p1"}, rules={}, attempts=0, attempt_log=[],
)  # fmt: skip


def test_totals_are_sums_over_receipts_and_what_was_not_committed_is_waste() -> None:
    spent = Attempt(attempt=1, started_at="now", questions=9, wall_seconds=2.0)
    log = FRESH.model_copy(update={"attempt_log": [spent, spent]})
    total = accounts.add_up(log, [receipt("a" * 32), receipt("b" * 32)])
    assert (total.rows_in, total.rows_settled, total.rows_judged, total.slices) == (6, 2, 4, 2)
    assert (total.questions, total.wasted_questions, total.prompt_tokens) == (4, 14, 20)
    assert (total.wall_seconds, total.dispositions["benign"], total.settled_by_rule) == (4.0, 4, {"noise": 2})
    assert total.balanced
    assert (total.sample_questions, total.samples["settled"].rows, total.samples["shared"].rate) == (2, 2, None)
    assert accounts.add_up(total, [receipt("a" * 32), receipt("b" * 32)]) == total


def test_rows_that_do_not_balance_are_said_to_be_so() -> None:
    assert not accounts.add_up(FRESH, [receipt(rows={"rows_in": 3, "rows_judged": 2})]).balanced


def test_an_output_of_another_configuration_is_refused_naming_what_differs(tmp_path: Path) -> None:
    prepare_output(tmp_path)
    accounts.write(tmp_path, accounts.open_account(tmp_path, FRESH, "now"))
    again = accounts.open_account(tmp_path, FRESH, "later")
    assert (again.attempts, len(again.attempt_log)) == (2, 2)
    other = FRESH.model_copy(update={"configuration": {"model": "m2", "prompt": "p1", "rules": "r"}})
    with pytest.raises(WrongInput, match="another model, another rules") as refused:
        accounts.open_account(tmp_path, other, "now")
    assert "prompt" not in refused.value.what


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"null", b"{}", b"[1]", b'"x"'])
def test_a_damaged_account_is_named(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "run.json").write_bytes(damage)
    with pytest.raises(PromiseBroken, match=r"run\.json"):
        accounts.read(tmp_path)
