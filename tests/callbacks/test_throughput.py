"""What is counted as throughput, by a clock that is set by hand."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from birdlab.callbacks import throughput
from birdlab.callbacks.throughput import Throughput
from birdlab.run import Run


def test_validation_and_the_first_epoch_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0, 100, 200, 203, 300, 301, 400])
    monkeypatch.setattr(throughput.time, "monotonic", lambda: next(clock))
    trainer: Any = SimpleNamespace(world_size=2, is_global_zero=True, default_root_dir=str(tmp_path))
    task: Any = None
    counted = Throughput()
    batch = {"id": ["a", "b", "c"]}
    counted.on_train_epoch_start(trainer, task)  # 0 s; compiles until 100 s
    counted.on_train_batch_end(trainer, task, None, batch, 0)
    counted.on_train_epoch_end(trainer, task)
    counted.on_train_epoch_start(trainer, task)  # 200 s
    counted.on_train_batch_end(trainer, task, None, batch, 0)
    counted.on_validation_start(trainer, task)  # 203 to 300 s
    counted.on_train_batch_start(trainer, task, batch, 1)
    counted.on_train_batch_end(trainer, task, None, batch, 1)
    counted.on_train_epoch_end(trainer, task)  # 301 s
    counted.on_train_end(trainer, task)
    # Two batches of three on each of two ranks, in 3 + 1 s.
    assert Run(tmp_path).read_json("provenance.json") == {"samples_per_s": 3.0}


def test_a_training_of_no_steps_notes_nothing(tmp_path: Path) -> None:
    trainer: Any = SimpleNamespace(world_size=1, is_global_zero=True, default_root_dir=str(tmp_path))
    Throughput().on_train_end(trainer, None)  # type: ignore[arg-type]
    assert not (tmp_path / "provenance.json").exists()
