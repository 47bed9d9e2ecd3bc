"""One trial of a sweep: `python -m training.sweep_trial TRIAL STORE` fits, and writes `valid.json`."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

from training import pipeline
from training.config import read_run_config
from training.evaluation.protocol import evaluate
from training.fit.run import Run
from training.same_data import check_same_data
from training.sweep import RESULT


def main(directory: Path, store: Path) -> None:
    """Fit by the directory's `config.toml` and measure the validation part; the test part is taken away before."""
    config = read_run_config(directory / "config.toml")
    device = pipeline.device_of(config.device)
    run = Run(directory, seed=config.seed, device=device, amp=config.amp, resume=True)
    prepared = pipeline.prepare(config, run, store)
    check_same_data(run, prepared.dataset, prepared.split)
    nothing = prepared.split.test.copy()
    nothing.data[:] = 0
    nothing.eliminate_zeros()
    prepared = replace(prepared, split=replace(prepared.split, test=nothing))
    fitted = pipeline.fit(prepared, run)
    means = evaluate(fitted.score_block, prepared.split, "valid").means()
    partial = directory / f"{RESULT}.partial"
    partial.write_text(json.dumps(means, indent=1) + "\n", encoding="utf-8")
    partial.replace(directory / RESULT)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
