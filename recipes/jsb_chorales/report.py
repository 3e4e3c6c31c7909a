"""The summaries of ``run.sh`` as a table: nats per step of each run, mean and spread over seeds.

python report.py OUT/*.json
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any


def main(paths: list[Path]) -> None:
    """Print one JSON object: for each kind of run its figures, seeds together."""
    runs: dict[str, list[dict[str, Any]]] = {}
    for path in paths:
        content = json.loads(path.read_text("utf-8"))
        if isinstance(content, dict) and "test" in content:  # not a piece that was composed
            runs.setdefault(path.stem.rstrip("-0123456789"), []).append(content)
    report = {}
    for name, some in runs.items():
        report[name] = {
            "parameters": some[0]["parameters"],
            "epochs": some[0]["epochs"],
            "seeds": [run["seed"] for run in some],
            "cpu_seconds": [round(run["cpu_seconds"]) for run in some],
            **{part: [round(run[part]["nats_per_step"], 3) for run in some] for part in ("valid", "test")},
            "test_mean": round(statistics.mean(run["test"]["nats_per_step"] for run in some), 3),
        }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
