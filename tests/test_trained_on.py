import json
from pathlib import Path

from birdlab.run import Run
from birdlab.trained_on import augmented_with, trained_on


def a_run(directory: Path, heard: str, config: str = "{}") -> Run:
    """That was trained on one recording, validated on a second, and tested on a third."""
    (directory / "checkpoints").mkdir(parents=True)
    (directory / "config.yaml").write_text(config)
    splits = {split: [f"{heard}_{split}@0.000s"] for split in ("train", "val", "test")}
    (directory / "splits.json").write_text(json.dumps(splits))
    return Run(directory)


def test_a_network_has_heard_what_those_before_it_have(tmp_path: Path) -> None:
    first = a_run(tmp_path / "first", "A")
    second = a_run(
        tmp_path / "second", "B", f"model: {{weights: {first.directory / 'checkpoints' / 'best.ckpt'}}}"
    )
    third = a_run(tmp_path / "third", "C", f"start_from: {second.directory}")
    assert trained_on(first) == {"A_train", "A_val"}
    assert trained_on(third) == {f"{each}_{split}" for each in "ABC" for split in ("train", "val")}
    # Validated on the run's own validation recordings, tested on none of the others'.
    assert trained_on(third, "train") == trained_on(third) - {"C_val"}


def test_noise_of_those_before_it_was_heard_too(tmp_path: Path) -> None:
    first = a_run(tmp_path / "first", "A", f"augment: {{noise: {tmp_path / 'rain'}}}")
    second = a_run(tmp_path / "second", "B", f"{{start_from: {first.directory}, augment: {{noise: null}}}}")
    assert augmented_with(second) == {(tmp_path / "rain").resolve()}
    assert augmented_with(Run(tmp_path / "gone")) == set()


def test_runs_that_name_each_other_or_are_gone_are_read_once(tmp_path: Path) -> None:
    first = a_run(tmp_path / "first", "A", f"start_from: {tmp_path / 'second'}")
    second = a_run(tmp_path / "second", "B", f"start_from: {tmp_path / 'first'}")
    assert trained_on(first) == trained_on(second)
    assert trained_on(a_run(tmp_path / "third", "C", f"start_from: {tmp_path / 'gone'}")) == {
        "C_train",
        "C_val",
    }
