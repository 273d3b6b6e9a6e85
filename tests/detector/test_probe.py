"""The probe times both number formats and leaves the choice to the config."""

import json
from pathlib import Path

import pytest

from detector.config import TrainConfig
from detector.probe import Timing, main, probe

CONFIG = {"architecture": {"kind": "ssdlite320_mobilenet_v3_large", "image_size": 128}, "batch_size": 2}


def test_half_precision_is_advised_where_it_is_a_tenth_faster() -> None:
    assert Timing(float32=[1.0, 1.2, 5.0], bfloat16=[0.9, 1.0, 1.0]).advice == "bf16"  # 1.1, 1.2 and 5 times
    assert Timing(float32=[1.0, 1.0, 5.0], bfloat16=[1.0, 0.95, 1.0]).advice == "off"


def test_both_formats_are_timed_on_the_networks_own_steps() -> None:
    timing = probe(TrainConfig.model_validate({**CONFIG, "device": "cpu"}), steps=1)
    assert len(timing.float32) == len(timing.bfloat16) == 1
    assert min(*timing.float32, *timing.bfloat16) > 0


def test_the_command_prints_a_value_for_the_config(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("detector.probe.probe", lambda config, steps: Timing([0.2] * steps, [0.1] * steps))
    monkeypatch.setattr("detector.probe.use_available_cores", lambda: None)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIG))
    assert main(["--config", str(path), "--steps", "3"]) == 0
    printed = capsys.readouterr().out
    assert "200.0 ms a step of 2" in printed
    assert 'bfloat16 is 2.00 times as fast here: "amp": "bf16"' in printed
