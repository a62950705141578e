from types import SimpleNamespace
from typing import Any

import pytest
import torch

from birdlab.callbacks.finite import FiniteLoss
from birdlab.errors import BirdlabError


def validated(callback: FiniteLoss, loss: float, **trainer: Any) -> None:
    task = SimpleNamespace(trainer=SimpleNamespace(optimizers=[SimpleNamespace(param_groups=[{"lr": 0.01}])]))
    at = SimpleNamespace(**{"global_step": 7, "sanity_checking": False} | trainer)
    callback.on_validation_batch_end(at, task, torch.tensor(loss), {"id": ["a", "b"]}, 0)


def test_weights_that_the_last_step_of_an_epoch_spoiled_are_seen_in_validation_before_they_are_kept() -> None:
    with pytest.raises(
        BirdlabError, match=r"The loss is nan at step 7, on the samples a, b.*optimizer\.lr=0\.001"
    ):
        validated(FiniteLoss(), float("nan"))
    validated(FiniteLoss(), 0.5)


def test_before_training_nothing_is_said() -> None:
    validated(FiniteLoss(), float("nan"), sanity_checking=True)
