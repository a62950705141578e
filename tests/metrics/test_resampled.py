"""Ranked once, or each draw by itself: the same scores."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from birdlab.metrics.classification import average_precision, roc_auc
from birdlab.metrics.resampled import RankedOnce


@given(st.integers(0, 10_000), st.integers(2, 30), st.integers(1, 4), st.integers(2, 12))
@settings(max_examples=60)
def test_as_of_the_drawn_recordings_by_themselves(seed: int, n: int, classes: int, levels: int) -> None:
    """With ties, and with species that are nowhere or everywhere among those drawn."""
    rng = np.random.default_rng(seed)
    score = rng.integers(0, levels, (n, classes)) / levels
    truth = rng.random((n, classes)) < 0.4
    ranked = RankedOnce(score, truth)
    for drawn in (np.arange(n), rng.integers(n, size=n)):
        given = torch.from_numpy(score[drawn]), torch.from_numpy(truth[drawn])
        for ours, theirs in ((ranked.average_precision, average_precision), (ranked.roc_auc, roc_auc)):
            each = theirs(*given)
            if bool(each.isnan().all()):
                continue
            assert ours(drawn) == pytest.approx(each.nanmean().item(), abs=1e-12)
