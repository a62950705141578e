"""Committed results were made by the shipped configs: ``experiments/NAME/run.yaml`` is such a run's."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from birdlab import config

RUNS = sorted((Path(__file__).parents[1] / "experiments").glob("**/run.yaml"))
COMMAND = "# python -m birdlab.train "
SETTLED = ("task.names", "task.classes", "task.counts", "data.segment_s")
"""What only the data say."""


def leaves(content: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Values by dotted key."""
    if isinstance(content, dict) and content:
        for key, value in content.items():
            yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, content


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.parent.name)
def test_a_committed_run_is_what_its_command_composes(run: Path) -> None:
    text = run.read_text(encoding="utf-8")
    first = text.splitlines()[0]
    assert first.startswith(COMMAND)
    then = dict(leaves(yaml.safe_load(text)))
    cfg = config.compose(first.removeprefix(COMMAND).split())
    config.fill(cfg, {key: then[key] for key in SETTLED if key in then})
    now = dict(leaves(OmegaConf.to_container(cfg, resolve=True)))
    # What was added since has its default.
    assert {key: value for key, value in then.items() if now.get(key, value) != value or key not in now} == {}


def test_there_are_some() -> None:
    assert RUNS
