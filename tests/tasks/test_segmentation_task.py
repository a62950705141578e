"""The segmentation task: what becomes of logits, weights and rates."""

import math
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from lightning import Trainer
from torch import nn
from torch.utils.data import DataLoader

from birdlab.errors import BirdlabError
from birdlab.losses import BCELoss
from birdlab.metrics import foreground
from birdlab.models.resunet import ResUNet
from birdlab.tasks import SegmentationTask
from birdlab.tasks.segmentation import foreground_logits, to_native, truth


def task(net: nn.Module | None = None, **settings: object) -> SegmentationTask:
    adam = partial(torch.optim.Adam, lr=0.01)
    return SegmentationTask(net or ResUNet(widths=(2, 4)), BCELoss(), adam, **settings)


def test_two_classes_become_the_logit_of_their_softmax() -> None:
    logits = torch.randn(2, 2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(foreground_logits(logits).sigmoid(), logits.softmax(dim=1)[:, 1])
    assert torch.equal(foreground_logits(logits[:, :1]), logits[:, 0])
    with pytest.raises(ValueError, match="1 or 2 channels of logits, not 3"):
        foreground_logits(torch.zeros(1, 3, 2, 2))


def test_logits_are_brought_to_the_size_of_each_mask() -> None:
    logits = torch.tensor([[[0.0, 4.0]], [[1.0, 1.0]]])
    wide, same = to_native(logits, [torch.zeros(2, 4), torch.zeros(1, 2)])
    assert wide.tolist() == [[0.0, 1.0, 3.0, 4.0]] * 2
    assert torch.equal(same, logits[1])


def test_every_class_but_the_background_is_bird_to_the_loss_as_to_the_scores() -> None:
    # As with data.classes={0: background, 128: bird, 255: bird}.
    mask = torch.tensor([[[0, 1, 2]]], dtype=torch.uint8)
    made = task(nn.Identity())
    image = torch.tensor([[[0, 255, 255]]], dtype=torch.uint8)
    one_class = made.training_step({"image": image, "mask": mask.clamp(max=1)}, 0)
    assert made.training_step({"image": image, "mask": mask}, 0) == one_class
    assert truth({"mask": mask}).tolist() == [[[False, True, True]]]


def test_legacy_iou_is_that_of_the_study_s_batches_at_the_size_it_trains_at() -> None:
    """Whatever the size of the native masks: here they are four times as large, and all foreground."""
    made = task(nn.Conv2d(1, 1, 1))
    nn.init.constant_(made.net.weight, 1.0)
    nn.init.constant_(made.net.bias, -0.5)  # bright pixels are foreground
    made.log_dict = lambda *_: None
    images = 255 * torch.tensor([[[1, 1]], [[1, 0]], [[0, 0]]], dtype=torch.uint8)
    masks = torch.tensor([[[1, 0]], [[1, 0]], [[1, 0]]], dtype=torch.uint8)
    for part in (slice(0, 2), slice(2, 3)):
        count = len(images[part])
        batch = {"id": ["x"] * count, "image": images[part], "mask": masks[part]}
        made.test_step(batch | {"native_mask": [torch.ones(4, 8)] * count}, 0)
    made.on_test_epoch_end()
    first = (2 / 3 + 1 / 2) / 2  # TP 2, FP 1, TN 1 of two images together
    second = (0 / 1 + 1 / 2) / 2  # FN 1, TN 1
    assert made.tested.scores["legacy_iou"] == pytest.approx((first + second) / 2)


def test_bytes_become_float_channels() -> None:
    image = torch.tensor([[[0, 51], [255, 102]]], dtype=torch.uint8)
    made = task(channels=3).as_input(image)
    assert made.shape == (1, 3, 2, 2)
    assert torch.equal(made[0, 0], made[0, 2])
    torch.testing.assert_close(made[0, 1], torch.tensor([[0.0, 0.2], [1.0, 0.4]]))


def test_weights_of_another_network_are_refused_and_listed() -> None:
    state = task(ResUNet(widths=(2, 8))).state_dict()
    state["extra"] = torch.zeros(1)
    del state["net.head.bias"]
    with pytest.raises(BirdlabError, match=r"net\.head\.bias; unexpected: extra; of other shape: net\."):
        task().load_weights(state, "best.ckpt")


def test_checkpoints_from_before_there_was_a_temperature_can_be_gone_on_with() -> None:
    made = task()
    made.temperature.fill_(2.0)
    state = {name: value for name, value in task().state_dict().items() if name != "temperature"}
    checkpoint = {"state_dict": dict(state)}
    made.on_load_checkpoint(checkpoint)
    made.load_state_dict(checkpoint["state_dict"])
    assert made.temperature == 1
    made.temperature.fill_(2.0)
    made.load_weights(state, "best.ckpt")
    assert made.temperature == 1


def test_validation_chooses_a_temperature_that_mends_probabilities_and_moves_no_pixel() -> None:
    """Of 400 pixels with logit 3 ln 3 three quarters are bird, of 400 with -3 ln 3 one quarter."""
    made = task(nn.Conv2d(1, 1, 1))
    nn.init.constant_(made.net.weight, 6 * math.log(3))
    nn.init.constant_(made.net.bias, -3 * math.log(3))
    made.log_dict = lambda *_: None
    made._trainer = SimpleNamespace(sanity_checking=False)
    image = 255 * torch.tensor([1, 0]).repeat_interleave(400).to(torch.uint8).view(1, 2, 400)
    mask = torch.tensor([1, 0, 1, 0]).repeat_interleave(torch.tensor([300, 100, 100, 300])).view(1, 2, 400)
    batch = {"id": ["x"], "image": image, "mask": mask, "native_mask": [mask[0]]}
    made.validation_step(batch, 0)
    made.on_validation_epoch_end()
    assert float(made.temperature) == pytest.approx(3, rel=0.01)  # the bins of a histogram
    assert made.validated["recall"][49] == pytest.approx(0.75)
    made.threshold.fill_(0.9)
    assert made.reported_threshold == pytest.approx(1 / (1 + 9 ** (-1 / float(made.temperature))))
    marked = made.probabilities(batch) > made.reported_threshold
    assert torch.equal(marked, foreground(made.logits(image), 0.9))
    made.test_step(batch, 0)
    made.on_test_epoch_end()
    scores = made.tested.scores
    assert scores["calibration_error_unscaled"] == pytest.approx(27 / 28 - 0.75, abs=1e-5)
    assert scores["calibration_error"] == pytest.approx(0, abs=0.002)
    assert (made.tested.threshold, made.tested.temperature) == (made.reported_threshold, made.temperature)


def test_a_setting_of_the_optimizer_that_is_out_of_range_shows_at_once() -> None:
    with pytest.raises(ValueError, match="Invalid learning rate"):
        SegmentationTask(ResUNet(widths=(2, 4)), BCELoss(), partial(torch.optim.Adam, lr=-1))


def test_random_draws_are_a_function_of_seed_and_step() -> None:
    def draw(seed: int, step: int, batch: int = 0, accumulated: int = 1) -> float:
        made = task(seed=seed)
        made._trainer = SimpleNamespace(global_rank=0, global_step=step, accumulate_grad_batches=accumulated)
        made.on_train_batch_start({}, batch)
        return torch.rand(()).item()

    assert draw(0, 1) == draw(0, 1)
    assert len({draw(0, 1), draw(0, 2), draw(1, 1)}) == 3
    # Batches whose gradients are accumulated belong to one step, and draw each for itself.
    assert len({draw(0, step, batch, 2) for step, batch in ((0, 0), (0, 1), (1, 2), (1, 3))}) == 4


def test_a_batch_in_parts_is_the_batch() -> None:
    """One step of four images at once, and of the same four one by one: the same weights."""
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(256, (4, 8, 8), dtype=torch.uint8, generator=draw)
    masks = torch.randint(2, (4, 8, 8), dtype=torch.uint8, generator=draw)
    items = [{"id": str(n), "image": images[n], "mask": masks[n]} for n in range(4)]

    def trained(batch_size: int) -> torch.Tensor:
        torch.manual_seed(0)
        made = SegmentationTask(nn.Conv2d(1, 1, 3, padding=1), BCELoss(), partial(torch.optim.SGD, lr=1.0))
        trainer = Trainer(
            accelerator="cpu",
            precision="64-true",
            max_epochs=1,
            accumulate_grad_batches=4 // batch_size,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(made, DataLoader(items, batch_size))
        assert trainer.global_step == 1
        return made.net.weight.detach()

    at_once = trained(4)
    torch.testing.assert_close(trained(1), at_once, rtol=1e-12, atol=1e-14)
    torch.manual_seed(0)
    assert not torch.allclose(nn.Conv2d(1, 1, 3, padding=1).weight.double(), at_once, atol=1e-3)
