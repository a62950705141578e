"""experiments/training_speed/networks.py: what a measurement says; how long it takes is not looked at."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).parents[2] / "experiments" / "training_speed"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(SCRIPTS)
    return importlib.import_module("networks")


def test_every_network_is_measured_in_both_precisions_compiled_and_not(script: ModuleType) -> None:
    cases = list(script.cases())
    assert len({(case.precision, case.compiled) for case in cases}) == 4
    assert sum(not case.compiled and case.precision == "32-true" for case in cases) == len(script.STUDIES) + 1
    assert {case.batch for case in cases} == {16}
    (in_parts,) = (case for case in cases if case.accumulated > 1)
    assert in_parts.network == "resnet34_decoder"


@pytest.mark.parametrize("accumulated", [1, 2])
def test_a_measurement(script: ModuleType, accumulated: int) -> None:
    case = script.Case("resunet", "bf16-mixed", False, batch=4, accumulated=accumulated, size=32)
    found = script.measure(case, "cpu", steps=1, warm_up=1)
    assert set(found) == {"images_per_s", "first_step_s", "peak_memory_gb", "before_memory_gb"}
    assert 0 < found["before_memory_gb"] <= found["peak_memory_gb"]
    assert found["images_per_s"] > 0
    assert found["first_step_s"] > 0
