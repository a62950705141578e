"""Checkpoints that are written whole or not at all, and never unpickled."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from birdlab.errors import BirdlabError
from birdlab.files import replacing


class CheckpointFiles(TorchCheckpointIO):
    """Lightning's checkpoint files, replaced in one step on the same file system.

    Lightning writes to the system's temporary folder and moves the file, which is no single step when that
    folder is on another disk.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        try:
            with replacing(Path(path)) as temporary:
                torch.save(checkpoint, temporary)
        except (OSError, RuntimeError) as error:
            raise BirdlabError(
                f"{path} can't be written ({error}). The checkpoint before it is kept: make room and go on "
                f"with resume={Path(path).parents[1]}."
            ) from error

    def load_checkpoint(
        self, path: Any, map_location: Any = lambda storage, _: storage, weights_only: bool | None = None
    ) -> dict[str, Any]:
        checkpoint: dict[str, Any] = super().load_checkpoint(
            path, map_location=map_location, weights_only=True
        )
        for state in checkpoint.get("callbacks", {}).values():
            if "best_k_models" in state:
                _follow(state, Path(os.path.realpath(path)).parent)
        return checkpoint


def _follow(state: dict[str, Any], folder: Path) -> None:
    """Let what a ModelCheckpoint remembers point into the folder where its checkpoints lie by now.

    It forgets the best score otherwise, and the first epoch after resuming a run that was moved would replace
    the best one.
    """

    def here(path: str) -> str:
        return str(folder / Path(path).name) if path else path

    state["dirpath"] = str(folder)
    for name in ("best_model_path", "kth_best_model_path", "last_model_path"):
        state[name] = here(state[name])
    state["best_k_models"] = {here(path): score for path, score in state["best_k_models"].items()}
