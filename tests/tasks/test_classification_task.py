"""The classification task: stacks, labels, rates, places, and learning; with a stand-in for the data."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, LightningDataModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from birdlab.callbacks.fitted_head import FittedHead, best_layer
from birdlab.callbacks.freezing import FrozenEncoder
from birdlab.errors import BirdlabError
from birdlab.losses import SpeciesBCE, SpeciesCrossEntropy
from birdlab.models.classifier import head_inputs
from birdlab.models.compact_mobilenet import CompactMobileNet
from birdlab.models.encoding import SegmentVoting
from birdlab.models.frequency_rows import FrequencyRows
from birdlab.tasks import ClassificationTask

pytestmark = pytest.mark.filterwarnings("ignore:.*worker")
NAMES = ("owl", "wren", "dipper")
TINY = ((1, 8, 1, 1), (2, 8, 1, 2))


class Halved(nn.Module):
    """In place of the front end."""

    def forward(self, stack: Tensor) -> Tensor:
        return stack.float() / 2


def task(net: nn.Module | None = None, **settings: Any) -> ClassificationTask:
    torch.manual_seed(0)
    net = net or CompactMobileNet(len(NAMES), in_channels=2, stages=TINY)
    adam = partial(torch.optim.Adam, lr=0.01)
    settings = {"loss": SpeciesCrossEntropy(), "names": NAMES, "front_end": Halved()} | settings
    return ClassificationTask(net, optimizer=adam, **settings)


class Stacks(LightningDataModule):
    """Learnable stacks: species k is loud in band k. Batches as those of ClassificationData."""

    def __init__(self, *, multilabel: bool = False) -> None:
        super().__init__()
        self.multilabel = multilabel

    def batches(self, seed: int, count: int = 4) -> DataLoader[dict[str, Any]]:
        draw = torch.Generator().manual_seed(seed)
        made = []
        for number in range(count):
            label = torch.randint(3, (6,), generator=draw)
            stack = torch.randn(6, 2, 16, 16, generator=draw)
            for row, species in enumerate(label.tolist()):
                stack[row, :, 5 * species : 5 * species + 5] += 4
            shares = nn.functional.one_hot(label, 3).float()
            made.append(
                {
                    "stack": stack.half(),
                    "label": shares if self.multilabel else label,
                    "id": [f"{number}-{row}" for row in range(6)],
                }
            )
        return DataLoader(made, batch_size=None)

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        return self.batches(0, 6)

    def in_order(self, split: str) -> DataLoader[dict[str, Any]]:
        return {"train": self.train_dataloader, "val": self.val_dataloader}[split]()

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        return self.batches(1)

    def test_dataloader(self) -> DataLoader[dict[str, Any]]:
        return self.batches(2)


def quiet(epochs: int, **settings: Any) -> Trainer:
    return Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **settings,
    )


def trained(made: ClassificationTask, epochs: int = 4, **settings: Any) -> dict[str, Any]:
    trainer = quiet(epochs, **settings)
    data = Stacks(multilabel=made.multilabel)
    trainer.fit(made, data)
    logged = dict(trainer.callback_metrics)
    trainer.test(made, data, verbose=False)
    return logged


def test_it_learns_logs_what_it_says_and_keeps_what_it_found() -> None:
    made = task()
    logged = trained(made)
    assert set(made.logged) <= set(logged) | {"train/loss"}
    assert float(logged["val/accuracy"]) > 0.9
    found = made.tested
    assert found.threshold is None
    assert found.scores["recordings"] == 24
    assert found.scores["accuracy"] == pytest.approx(
        sum(row["label"] == row["predicted"] for row in found.samples) / 24
    )
    first = found.samples[0]
    assert first["id"] == "0-0"
    assert {first["label"], first["predicted"]} <= set(NAMES)
    assert sum(first[f"p_{name}"] for name in NAMES) == pytest.approx(1, abs=1e-5)
    assert max(NAMES, key=lambda name: first[f"p_{name}"]) == first["predicted"]


def test_how_sure_a_name_must_be_is_chosen_on_validation_data() -> None:
    """It is saved, taken over with the weights, and tested on the test recordings."""
    made = task()
    trained(made, epochs=2)
    saved: dict[str, Any] = {"state_dict": made.state_dict()}
    made.on_save_checkpoint(saved)
    curve = saved["birdlab"]["validation"]
    assert curve["coverage"][-1] == 1.0
    assert curve["confidence"] == sorted(curve["confidence"], reverse=True)
    reaching = [c for c, a in zip(curve["confidence"], curve["accuracy"], strict=True) if a >= 0.9]
    assert made.tested.confidence == min(reaching)

    rows = made.tested.samples
    named = [row for row in rows if row[f"p_{row['predicted']}"] >= min(reaching) * (1 - 1e-5)]
    right = [row for row in named if row["predicted"] == row["label"]]
    assert made.tested.scores["sure"] == pytest.approx(len(named) / len(rows))
    assert made.tested.scores["sure_right"] == pytest.approx(len(right) / len(rows))

    again = task()
    again.load_checkpoint(saved, "saved")
    assert again.validated == curve
    again.load_checkpoint({"state_dict": made.state_dict()}, "older")
    assert again.validated == {}


def test_several_species_have_scores_and_rows_of_their_own() -> None:
    made = task(loss=SpeciesBCE(), multilabel=True)
    trained(made, epochs=1)
    assert {"micro_f1", "row_f1", "average_precision", "roc_auc", "loss"} < set(made.tested.scores)
    assert "val/accuracy" not in made.logged
    assert made.validated == {}
    assert made.tested.confidence is None
    assert "val/micro_f1" in made.logged
    for row in made.tested.samples:
        said = [name for name in NAMES if row[f"p_{name}"] > 0.5]
        assert row["predicted"] == (" ".join(said) or "nocall")


def test_the_network_sees_what_the_front_end_makes() -> None:
    made = task()
    stack = torch.randn(2, 2, 16, 16).half()
    assert torch.equal(made.inputs({"stack": stack}), stack.float() / 2)


def test_place_and_date_start_from_adding_nothing_and_are_learned() -> None:
    made = task(prior=True).eval()
    batch = {"stack": torch.randn(4, 2, 16, 16), "prior": torch.randn(4, 4), "label": torch.zeros(4).long()}
    assert made.prior is not None
    assert torch.equal(made.logits(batch), made(made.inputs(batch)))
    made.loss(made.logits(batch), batch["label"]).backward()
    last = list(made.prior.parameters())[-2]
    assert last.grad is not None
    assert last.grad.any()


def test_the_last_layer_has_the_optimizer_s_rate_and_the_others_a_share_of_it() -> None:
    made = task(encoder_rate_factor=0.1)
    optimizer = made.make_optimizer()
    head, encoder = optimizer.param_groups
    assert (head["lr"], encoder["lr"]) == (0.01, pytest.approx(0.001))
    assert {tuple(weight.shape) for weight in head["params"]} == {(3, 8), (3,)}
    assert len(head["params"]) + len(encoder["params"]) == len(list(made.parameters()))


def test_frozen_layers_stay_as_they_are_for_their_epochs() -> None:
    def encoder(made: ClassificationTask) -> list[Tensor]:
        state = {key: value.clone() for key, value in made.net.features.state_dict().items()}
        return list(state.values())

    made = task()
    start, head = encoder(made), made.net.head[-1].weight.clone()
    trained(made, epochs=2, callbacks=[FrozenEncoder(epochs=2)])
    assert all(torch.equal(a, b) for a, b in zip(start, encoder(made), strict=True))
    assert not torch.equal(head, made.net.head[-1].weight)
    made = task()
    trained(made, epochs=2, callbacks=[FrozenEncoder(epochs=1)])
    assert all(weight.requires_grad for weight in made.parameters())
    assert not any(torch.equal(a, b) for a, b in zip(start, encoder(made), strict=True) if a.ndim == 4)


def test_what_follows_a_frozen_encoder_learns_all_the_time() -> None:
    timm = pytest.importorskip("timm")
    encoder = partial(
        timm.create_model, "test_efficientnet", features_only=True, in_chans=2, out_indices=[0, 1]
    )
    net = FrequencyRows(3, encoder, rows=16)
    start = {key: value.clone() for key, value in net.state_dict().items()}
    found = trained(task(net), epochs=6, callbacks=[FrozenEncoder(None)])
    changed = {key for key, value in net.state_dict().items() if not torch.equal(value, start[key])}
    assert changed == {"head.weight", "head.bias"}
    assert found["val/accuracy"] > 0.9


def test_the_last_layer_is_solved_for_before_the_first_step() -> None:
    made = task()
    start = {key: value.clone() for key, value in made.net.state_dict().items()}
    callbacks = [FittedHead(0.01), FrozenEncoder(None)]
    found = trained(made, epochs=1, callbacks=callbacks, limit_train_batches=1)
    changed = {key for key, value in made.net.state_dict().items() if not torch.equal(value, start[key])}
    assert changed == {"head.2.weight", "head.2.bias"}
    assert found["val/accuracy"] > 0.9


def test_the_solution_is_that_of_what_votes_together() -> None:
    net = SegmentVoting(CompactMobileNet(3, in_channels=1, stages=TINY))
    made = task(net)
    made.optimizer = partial(torch.optim.SGD, lr=0.0)
    trained(made, epochs=1, callbacks=[FittedHead(0.01), FrozenEncoder(None)])
    features, labels = [], []
    for batch in Stacks().train_dataloader():
        with head_inputs(net) as seen, torch.no_grad():
            made.eval().logits(batch)
        features.append(seen[0].reshape(6, 2, -1).mean(dim=1))
        labels.append(batch["label"])
    weight, bias = best_layer(torch.cat(features), torch.cat(labels), made.loss, 3, 0.01)
    torch.testing.assert_close(net.net.head[-1].weight, weight, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(net.net.head[-1].bias, bias, atol=1e-4, rtol=1e-3)


def test_a_run_that_goes_on_keeps_the_layer_that_it_has(tmp_path: Path) -> None:
    def fitted(made: ClassificationTask, epochs: int, *callbacks: Callback, last: Path | None) -> Trainer:
        trainer = quiet(epochs, callbacks=list(callbacks))
        trainer.fit(made, Stacks(), ckpt_path=last, weights_only=True)
        return trainer

    last = tmp_path / "last.ckpt"
    fitted(task(), 1, last=None).save_checkpoint(last)
    one, other = task(), task()
    fitted(one, 2, last=last)
    fitted(other, 2, FittedHead(), last=last)
    assert torch.equal(one.net.head[-1].weight, other.net.head[-1].weight)


@pytest.mark.parametrize("epochs", [-1, 1.5])
def test_so_many_frozen_epochs_can_t_be(epochs: Any) -> None:
    with pytest.raises(BirdlabError, match=r"callbacks\.frozen\.epochs"):
        FrozenEncoder(epochs)


def test_settings_that_don_t_fit_are_refused() -> None:
    with pytest.raises(BirdlabError, match=r"task\.names has no value"):
        task(names=None)
    with pytest.raises(ValueError, match=r"the network has 3 outputs, and there are 2 species"):
        task(names=("owl", "wren"))
    with pytest.raises(BirdlabError, match=r"encoder_rate_factor=-1"):
        task(encoder_rate_factor=-1)


def test_weights_of_another_network_are_refused_and_listed() -> None:
    other = task(CompactMobileNet(3, in_channels=4, stages=TINY)).state_dict()
    with pytest.raises(BirdlabError, match=r"of other shape: net\.features\.0\.0\.weight"):
        task().load_weights(other, "best.ckpt")


def test_nothing_but_plain_values_is_kept_with_the_weights(tmp_path: Path) -> None:
    torch.save(task().state_dict(), tmp_path / "weights.pth")
    assert torch.load(tmp_path / "weights.pth", weights_only=True).keys() == task().state_dict().keys()


def test_a_schedule_that_knows_one_rate_only_is_refused() -> None:
    schedule = {
        "scheduler": partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.1),
        "interval": "epoch",
        "steps_argument": "total_steps",
    }
    with pytest.raises(BirdlabError, match=r"encoder_rate_factor=0.1: this scheduler knows one rate only"):
        trained(task(encoder_rate_factor=0.1, scheduler=schedule), epochs=2)
    trained(task(scheduler=schedule), epochs=2)


def test_several_species_at_once_need_a_loss_that_takes_them() -> None:
    with pytest.raises(BirdlabError, match="set loss=species_bce"):
        task(multilabel=True)


def test_small_probabilities_keep_their_order_in_the_table() -> None:
    logits = torch.tensor([[30.0, 0.0, -5.0]])
    (row,) = task()._rows(["a"], logits, torch.tensor([[0.0, 1.0, 0.0]]))
    assert row["p_owl"] > row["p_wren"] > row["p_dipper"] > 0
