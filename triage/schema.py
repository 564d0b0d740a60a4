"""JSON Schemas of the files that `triage` reads and writes, from the code that does it.

`python -m triage.schema schemas/` writes them; a test holds the folder to the code.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from triage.columns import DECIDERS, DISPOSITIONS, SEVERITIES, VERDICTS
from triage.job import Job
from triage.prefilter.rules import RuleFile
from triage.records import Account

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_JSON_TYPES: dict[type[pl.DataType], str] = {
    pl.String: "string",
    pl.Int64: "integer",
    pl.Float64: "number",
    pl.Boolean: "boolean",
}
_WORDS = {"disposition": DISPOSITIONS, "severity": SEVERITIES, "decided_by": DECIDERS}
_ALWAYS = ("event_id", "shard", "position", "message", "disposition", "decided_by", "run_id", "judged_at")


def schemas() -> dict[str, dict[str, Any]]:
    """The schema of each kind of file, by its name."""
    return {
        "job": {"$schema": _DRAFT, **Job.model_json_schema()},
        "rule": {"$schema": _DRAFT, **RuleFile.model_json_schema(by_alias=True)},
        "run": {"$schema": _DRAFT, **Account.model_json_schema()},
        "verdict": _verdict(),
    }


def _verdict() -> dict[str, Any]:
    """One row of verdicts/*.parquet as JSON."""
    return {
        "$schema": _DRAFT,
        "title": "Verdict",
        "type": "object",
        "properties": {name: _column(name, dtype) for name, dtype in VERDICTS.items()},
        "required": list(VERDICTS),
        "additionalProperties": False,
    }


def _column(name: str, dtype: pl.DataType) -> dict[str, Any]:
    if isinstance(dtype, pl.List):
        return {"type": "array", "items": {"type": "string"}}
    kind: dict[str, Any] = (
        {"type": "string", "format": "date-time"}
        if isinstance(dtype, pl.Datetime)
        else {"type": _JSON_TYPES[type(dtype)]}
    )
    if name in _WORDS:
        kind["enum"] = list(_WORDS[name])
    return kind if name in _ALWAYS else {"anyOf": [kind, {"type": "null"}]}


def main() -> None:
    """Write every schema into the folder that is the first argument."""
    for name, schema in schemas().items():
        text = orjson.dumps(schema, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        (Path(sys.argv[1]) / f"{name}.schema.json").write_bytes(text)


if __name__ == "__main__":
    main()
