"""The scores against hand-worked cases, torchmetrics, and counting written out."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics.classification import (
    BinaryAccuracy,
    BinaryF1Score,
    BinaryJaccardIndex,
    BinaryPrecision,
    BinaryRecall,
    MulticlassJaccardIndex,
)

from birdlab.errors import BirdlabError
from birdlab.metrics import (
    THRESHOLDS,
    Counts,
    LegacyIoU,
    MeanLoss,
    SegmentationScores,
    foreground,
    summarise,
    threshold_logit,
)
from birdlab.metrics.segmentation import level_counts


def logits_of(prediction: list[list[int]]) -> Tensor:
    return torch.tensor(prediction) * 2.0 - 1


PAIRS = {
    # TP 1, FP 1, FN 1, TN 3
    "overlap": ([[1, 0, 1], [0, 0, 0]], [[1, 1, 0], [0, 0, 0]]),
    # FP 1, TN 5
    "false alarm": ([[0, 0, 0], [0, 1, 0]], [[0, 0, 0], [0, 0, 0]]),
    # TN 6
    "silence": ([[0, 0, 0], [0, 0, 0]], [[0, 0, 0], [0, 0, 0]]),
    # FN 2, TN 4
    "missed": ([[0, 0, 0], [0, 0, 0]], [[1, 1, 0], [0, 0, 0]]),
    # TP 6
    "full": ([[1, 1, 1], [1, 1, 1]], [[1, 1, 1], [1, 1, 1]]),
}
NAN = math.nan
HAND_WORKED = {
    "iou": [1 / 3, 0, 1, 0, 1],
    "iou_present": [1 / 3, NAN, NAN, 0, 1],
    "iou_two_class": [(1 / 3 + 3 / 5) / 2, (0 + 5 / 6) / 2, 1, (0 + 4 / 6) / 2, 1],
    "dice": [2 / 4, 0, 1, 0, 1],
    "precision": [1 / 2, 0, 1, 0, 1],
    "recall": [1 / 2, 0, 1, 0, 1],
    "accuracy": [4 / 6, 5 / 6, 1, 4 / 6, 1],
    "over_segmentation": [1 / 2, NAN, NAN, 0, 0],
    "under_segmentation": [1 / 2, NAN, NAN, 1, 0],
    "false_positive_area": [NAN, 1 / 6, 0, NAN, NAN],
    "absent_unmarked": [NAN, 0, 1, NAN, NAN],
}
MEANS = {
    "iou": (1 / 3 + 2) / 5,
    "iou_present": (1 / 3 + 1) / 3,
    "iou_two_class": (7 / 15 + 5 / 12 + 1 + 1 / 3 + 1) / 5,
    "dice": 2.5 / 5,
    "precision": 2.5 / 5,
    "recall": 2.5 / 5,
    "accuracy": (4 / 6 + 5 / 6 + 1 + 4 / 6 + 1) / 5,
    "over_segmentation": 0.5 / 3,
    "under_segmentation": 1.5 / 3,
    "false_positive_area": (1 / 6) / 2,
    "absent_unmarked": 1 / 2,
    # TP 7, FP 2, FN 3
    "iou_pooled": 7 / 12,
    "images": 5,
    "empty_images": 2,
}


@pytest.fixture
def hand_worked() -> SegmentationScores:
    scores = SegmentationScores()
    predictions, truths = zip(*PAIRS.values(), strict=True)
    scores.update([logits_of(prediction) for prediction in predictions], [torch.tensor(t) for t in truths])
    return scores


class TestHandWorked:
    def test_scores_of_each_image(self, hand_worked: SegmentationScores) -> None:
        by_name = hand_worked.per_image()
        assert by_name.keys() == HAND_WORKED.keys()
        for name, values in by_name.items():
            assert values.tolist() == pytest.approx(HAND_WORKED[name], nan_ok=True), name

    def test_scores_of_the_data_set(self, hand_worked: SegmentationScores) -> None:
        assert hand_worked.compute() == pytest.approx(MEANS)
        assert hand_worked.scores(0.5) == hand_worked.compute()

    def test_scores_without_their_kind_of_image_are_nan(self) -> None:
        scores = SegmentationScores()
        scores.update([logits_of(PAIRS["silence"][0])], [torch.tensor(PAIRS["silence"][1])])
        summary = scores.compute()
        assert math.isnan(summary["over_segmentation"])
        assert math.isnan(summary["under_segmentation"])
        assert summary["false_positive_area"] == 0

    def test_legacy_iou_pools_batches_and_counts_the_background(self) -> None:
        legacy = LegacyIoU()
        for names in [("overlap", "false alarm"), ("missed",)]:
            legacy.update(
                torch.stack([logits_of(PAIRS[name][0]) for name in names]),
                torch.tensor([PAIRS[name][1] for name in names]),
            )
        # First batch: TP 1, FP 2, FN 1, TN 8; second: FN 2, TN 4.
        first, second = (1 / 4 + 8 / 11) / 2, (0 + 4 / 6) / 2
        assert legacy.compute() == pytest.approx((first + second) / 2)

    def test_doing_nothing_is_good_at_being_background(self) -> None:
        # 5 % foreground, as most images have: why the two-class mean says little.
        truth = torch.zeros(1, 10, 10)
        truth[0, 0, :5] = 1
        scores = SegmentationScores()
        scores.update(torch.full((1, 10, 10), -1.0), truth)
        assert scores.compute()["iou"] == 0
        assert scores.compute()["iou_two_class"] == pytest.approx(0.475)
        assert scores.compute()["accuracy"] == pytest.approx(0.95)


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.83])
def test_torchmetrics_agrees_where_it_defines_the_same(threshold: float) -> None:
    random = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(6, 16, 20, generator=random)
    truth = torch.rand(6, 16, 20, generator=random).lt(0.3).long()
    scores = SegmentationScores()
    scores.update(logits, truth)
    ours = scores.per_image(threshold)

    binary = {
        "iou": BinaryJaccardIndex(threshold),
        "dice": BinaryF1Score(threshold),
        "precision": BinaryPrecision(threshold),
        "recall": BinaryRecall(threshold),
        "accuracy": BinaryAccuracy(threshold),
    }
    for name, metric in binary.items():
        theirs = torch.stack([metric(p, t) for p, t in zip(logits.sigmoid(), truth, strict=True)])
        torch.testing.assert_close(ours[name].float(), theirs, msg=name)
    two_class = MulticlassJaccardIndex(2)
    predictions = (logits.sigmoid() > threshold).long()
    theirs = torch.stack([two_class(p, t) for p, t in zip(predictions, truth, strict=True)])
    torch.testing.assert_close(ours["iou_two_class"].float(), theirs)
    pooled = BinaryJaccardIndex(threshold)(logits.sigmoid(), truth)
    assert scores.scores(threshold)["iou_pooled"] == pytest.approx(pooled.item())


LIMITS = torch.tensor([threshold_logit(threshold) for threshold in THRESHOLDS])
"""The values of logits that are hardest to place, with their neighbours on both sides."""
EDGES = [
    value
    for limit in LIMITS
    for value in (
        limit.item(),
        torch.nextafter(limit, torch.tensor(-math.inf)).item(),
        torch.nextafter(limit, torch.tensor(math.inf)).item(),
    )
]
LOGITS = st.one_of(
    st.sampled_from([*EDGES, 0.0, -0.0, math.inf, -math.inf, math.nan]),
    st.floats(-10, 10, width=32),
    st.floats(width=32),
)


@given(pixels=st.lists(st.tuples(LOGITS, st.booleans()), min_size=2, max_size=60), images=st.integers(1, 2))
@example(pixels=[(edge, index % 2 == 0) for index, edge in enumerate(EDGES)], images=1)
def test_counts_at_every_threshold_are_those_of_its_mask(
    pixels: list[tuple[float, bool]], images: int
) -> None:
    pixels = pixels[: len(pixels) // images * images]
    logits = torch.tensor([logit for logit, _ in pixels]).view(images, 1, -1)
    truth = torch.tensor([true for _, true in pixels]).view(images, 1, -1)
    scores = SegmentationScores()
    scores.update(logits, truth)
    for threshold in THRESHOLDS:
        expected, found = Counts.of(foreground(logits, threshold), truth), scores.counts(threshold)
        assert (found.tp.tolist(), found.fp.tolist()) == (expected.tp.tolist(), expected.fp.tolist())
        assert (found.fn.tolist(), found.tn.tolist()) == (expected.fn.tolist(), expected.tn.tolist())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_every_precision_is_judged_in_float32(dtype: torch.dtype) -> None:
    # In float64 the second half exceeds the limits, in float32 it equals them.
    logits = torch.cat([torch.linspace(-6, 6, 1201), LIMITS.double() + 1e-12]).view(1, 1, -1).to(dtype)
    truth = torch.ones_like(logits)
    assert level_counts(logits, truth).equal(level_counts(logits.float(), truth))
    for threshold in (0.1, 0.5, 0.7):
        assert foreground(logits, threshold).equal(foreground(logits.float(), threshold))


class TestForeground:
    def test_is_what_exceeds_the_threshold(self) -> None:
        assert foreground(torch.tensor([-1e-6, 0.0, 1e-6])).tolist() == [False, False, True]

    @given(threshold=st.floats(0.001, 0.999), logit=st.floats(-8, 8))
    def test_agrees_with_the_probability(self, threshold: float, logit: float) -> None:
        probability = 1 / (1 + math.exp(-logit))
        if abs(probability - threshold) > 1e-6:
            assert foreground(torch.tensor(logit), threshold).item() == (probability > threshold)

    @pytest.mark.parametrize("threshold", [0, 1, -0.5, 50, math.nan])
    def test_refuses_what_is_no_probability(self, threshold: float) -> None:
        with pytest.raises(BirdlabError, match="must be between 0 and 1"):
            foreground(torch.zeros(1), threshold)


class TestCounts:
    def test_what_is_not_zero_is_foreground(self) -> None:
        counts = Counts.of(torch.tensor([[1, 255, 0]]), torch.tensor([[2, 0, 255]]))
        assert (counts.tp, counts.fp, counts.fn, counts.tn) == (1, 1, 1, 0)

    def test_shapes_must_agree(self) -> None:
        with pytest.raises(ValueError, match=r"\(1, 2, 2\) and truth \(2, 2\)"):
            Counts.of(torch.zeros(1, 2, 2), torch.zeros(2, 2))

    def test_summary_of_counts_is_that_of_the_metric(self) -> None:
        prediction, truth = torch.tensor([PAIRS["overlap"], PAIRS["missed"]]).unbind(1)
        scores = SegmentationScores()
        scores.update(prediction * 2.0 - 1, truth)
        assert summarise(Counts.of(prediction, truth)) == pytest.approx(scores.compute(), nan_ok=True)


class TestBestThreshold:
    @staticmethod
    def best(probabilities: list[float], truth: list[int]) -> float:
        scores = SegmentationScores()
        scores.update(torch.tensor([[probabilities]]).logit(), torch.tensor([[truth]]))
        return scores.best_threshold()

    def test_is_the_one_of_the_highest_mean_iou(self) -> None:
        # Between .72 and .73 only, both true pixels stay and the false one goes.
        assert self.best([0.715, 0.725, 0.9, 0.1], [0, 1, 1, 0]) == 0.72

    def test_is_the_nearest_to_one_half_among_equals(self) -> None:
        assert self.best([0.2, 0.9], [0, 1]) == 0.5
        assert self.best([0.6049, 0.9], [0, 1]) == 0.61
        assert self.best([0.1, 0.3951], [0, 1]) == 0.39

    def test_scores_there_are_the_highest(self) -> None:
        random = torch.Generator().manual_seed(0)
        truth = torch.rand(4, 12, 12, generator=random) < 0.2
        scores = SegmentationScores()
        scores.update(torch.randn(4, 12, 12, generator=random) + 2 * truth, truth)
        best = scores.best_threshold()
        assert scores.scores(best)["iou"] == max(scores.scores(other)["iou"] for other in THRESHOLDS)


class TestSegmentationScores:
    @pytest.mark.parametrize("threshold", [0.005, 0.333, 0.0, 1.0, -0.3])
    def test_thresholds_off_the_grid_are_refused(
        self, hand_worked: SegmentationScores, threshold: float
    ) -> None:
        with pytest.raises(BirdlabError, match=r"0.01, 0.02, ..., 0.99"):
            hand_worked.scores(threshold)

    def test_a_threshold_that_was_stored_in_float32(self, hand_worked: SegmentationScores) -> None:
        for threshold in THRESHOLDS:
            stored = torch.tensor(threshold).item()
            assert hand_worked.scores(stored) == hand_worked.scores(threshold)

    def test_batches_of_any_size_and_images_of_any_size(self) -> None:
        random = torch.Generator().manual_seed(0)
        sizes = [(3, 5), (3, 5), (1, 1), (4, 2)]
        logits = [torch.randn(size, generator=random) for size in sizes]
        truths = [torch.rand(size, generator=random) < 0.5 for size in sizes]
        together, apart = SegmentationScores(), SegmentationScores()
        together.update(torch.stack(logits[:2]), torch.stack(truths[:2]))
        together.update(logits[2:], truths[2:])
        for one_logits, one_truth in zip(logits, truths, strict=True):
            apart.update(one_logits[None], one_truth[None])
        for threshold in (0.3, 0.5):
            assert together.scores(threshold) == pytest.approx(apart.scores(threshold), nan_ok=True)
            assert together.per_image(threshold)["iou"].equal(apart.per_image(threshold)["iou"])

    def test_shapes_must_agree(self) -> None:
        with pytest.raises(ValueError, match=r"\(1, 2, 3\) and truth \(1, 1, 3\)"):
            SegmentationScores().update([torch.zeros(2, 3)], [torch.zeros(1, 3)])
        with pytest.raises(ValueError, match="argument 2 is shorter"):
            SegmentationScores().update([torch.zeros(2, 3)], [])

    def test_starts_anew_after_a_reset(self, hand_worked: SegmentationScores) -> None:
        hand_worked.compute()
        hand_worked.reset()
        hand_worked.update([logits_of(PAIRS["full"][0])], [torch.tensor(PAIRS["full"][1])])
        assert hand_worked.compute()["images"] == 1
        assert hand_worked.compute()["iou"] == 1

    def test_nothing_has_no_score(self) -> None:
        for metric in (SegmentationScores(), LegacyIoU()):
            with (
                pytest.warns(UserWarning, match="before the ``update`` method"),
                pytest.raises(ValueError, match="nothing to score"),
            ):
                metric.compute()

    def test_merges_with_another(self, hand_worked: SegmentationScores) -> None:
        parts = []
        for names in [("overlap", "false alarm"), ("silence", "missed", "full")]:
            part = SegmentationScores()
            part.update([logits_of(PAIRS[n][0]) for n in names], [torch.tensor(PAIRS[n][1]) for n in names])
            parts.append(part)
        merged, other = parts
        merged.merge_state(other)
        assert merged.compute() == pytest.approx(hand_worked.compute())


class TestMeanLoss:
    def test_batches_count_by_their_images(self) -> None:
        loss = MeanLoss()
        loss.update(torch.tensor(0.5), 3)
        loss.update(torch.tensor(2.5, dtype=torch.bfloat16), 1)
        assert loss.compute() == (3 * 0.5 + 2.5) / 4

    def test_a_loss_that_is_no_number_is_not_hidden(self) -> None:
        loss = MeanLoss()
        loss.update(torch.tensor(0.5), 3)
        loss.update(torch.tensor(math.nan), 1)
        assert math.isnan(loss.compute())


PROCESS = """
import sys, torch
from birdlab.metrics import LegacyIoU, MeanLoss, SegmentationScores

rank, meeting = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=3)
random = torch.Generator().manual_seed(0)
logits, truth = torch.randn(5, 4, 4, generator=random), torch.rand(5, 4, 4, generator=random) < 0.3
scores, legacy, loss = SegmentationScores(), LegacyIoU(), MeanLoss()
for images in [(slice(0, 2), slice(2, 3)), (slice(3, 5),), ()][rank]:  # the last process has none
    scores.update(logits[images], truth[images])
    legacy.update(logits[images], truth[images])
    loss.update(logits[images].mean(), len(logits[images]))

alone, alone_legacy, alone_loss = SegmentationScores(), LegacyIoU(), MeanLoss()
alone._to_sync = alone_legacy._to_sync = alone_loss._to_sync = False
for images in slice(0, 2), slice(2, 3), slice(3, 5):
    alone.update(logits[images], truth[images])
    alone_legacy.update(logits[images], truth[images])
    alone_loss.update(logits[images].mean(), len(logits[images]))

def results(scores, legacy, loss):
    best = scores.best_threshold()
    return [best, scores.scores(0.3), scores.compute(), scores.scores(0.3), legacy.compute(), loss.compute()]

found, expected = results(scores, legacy, loss), results(alone, alone_legacy, alone_loss)
assert str(found) == str(expected), (found, expected)
assert scores.per_image()["iou"].equal(alone.per_image()["iou"])
assert scores.compute()["images"] == 5
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_processes_score_as_one(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", PROCESS, str(rank), str(tmp_path / "meeting")],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(3)
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
