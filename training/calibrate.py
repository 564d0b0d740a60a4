"""Fit the first calibration of what `train.py` taught, on the systems that it held out, through the product itself.

    python training/calibrate.py OUT [--model default]

OUT is what `train.py` wrote; the model that was made of OUT/adapter is in the registry. The held-out lines go through
`triage run` and `triage calibrate`, as a user's labelled lines would, on the weights that the product loads (quantised,
where it quantises); what was recorded is written to OUT/adapter/calibration.json, for `triage models add --taught`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import orjson

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from triage.custody import embedded, registry
from triage.engine import prompt as prompts

TRIAGE = Path(sys.executable).parent / "triage"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="default")
    given = parser.parse_args()
    rows = orjson.loads((given.out / "held-out.json").read_bytes())
    labelled = [{"message": row["text"], "triage": row["label"], "system": row["system"]} for row in rows]
    with tempfile.TemporaryDirectory(prefix="triage-calibrate-") as name:
        folder = Path(name)
        lines = folder / "lines.jsonl"
        lines.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in labelled))
        (folder / "job.toml").write_text(
            f'[input]\npaths = ["lines.jsonl"]\nfields = {{ message = "message" }}\n[model]\nname = "{given.model}"\n'
            '[judge]\ncalibrated = false\nexplain = false\n[sample]\nsettled = 0\nshared = 0\n[output]\npath = "out"\n'
        )
        subprocess.run([TRIAGE, "run", folder / "job.toml"], check=True)
        subprocess.run([TRIAGE, "calibrate", folder / "out", lines], check=True)
    entry = registry.get(given.model)
    recorded = entry.calibrations[prompts.load(entry.prompt).digest]
    data = orjson.dumps(recorded, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)
    (given.out / "adapter" / embedded.CALIBRATION).write_bytes(data)


if __name__ == "__main__":
    main()
