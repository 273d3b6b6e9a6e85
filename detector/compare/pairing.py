"""Which trainings belong together: those with the same seed, one of each arm."""

from collections.abc import Mapping, Sequence
from typing import Any

from detector.compare.runs import Measured
from detector.compare.specification import Run, Specification
from detector.compare.told import Manifest

Runs = Mapping[tuple[str, int], Measured]
"""By arm and seed."""


def common_seeds(specification: Specification, measured: Runs) -> list[int]:
    per_arm = [{seed for arm, seed in measured if arm == one.name} for one in specification.arms]
    return sorted(set.intersection(*per_arm))


def left_out(specification: Specification, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Every seed that some arm lacks, and why."""
    runs: dict[int, dict[str, Run]] = {}
    for arm in specification.arms:
        for run in arm.runs:
            runs.setdefault(run.seed, {})[arm.name] = run
    out = []
    for seed in sorted(set(runs) - set(seeds)):
        given = {arm.name: runs[seed].get(arm.name) for arm in specification.arms}
        out.append(
            {
                "seed": seed,
                "lacking": {
                    arm: "not trained" if run is None else run.failed
                    for arm, run in given.items()
                    if run is None or run.failed is not None
                },
            }
        )
    return out


def paired(specification: Specification, measured: Runs, seeds: Sequence[int]) -> dict[str, Any]:
    """Whether the trainings of a seed saw the same images in the same order and began with the same weights;
    null where a manifest is missing."""
    hashes: list[dict[str, Any]] = []
    for seed in seeds:
        manifests = {one.name: measured[one.name, seed].manifest or Manifest() for one in specification.arms}
        hashes.append(
            {"seed": seed}
            | {
                name: {arm: getattr(manifest, key) for arm, manifest in manifests.items()}
                for name, key in (
                    ("data_order", "data_order_sha256"),
                    ("initial_weights", "initial_state_sha256"),
                )
            }
        )
    return {
        name: _alike([list(one[name].values()) for one in hashes])
        for name in ("data_order", "initial_weights")
    } | {"hashes": hashes}


def _alike(groups: Sequence[Sequence[str | None]]) -> bool | None:
    if not groups or any(one is None for group in groups for one in group):
        return None
    return all(len(set(group)) == 1 for group in groups)
