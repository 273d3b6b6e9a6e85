"""Intervals hold what they promise: on simulated seeds and images, whose difference is known."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from detector.compare.intervals import (
    Interval,
    Intervals,
    intervals,
    over_both,
    over_images,
    over_seeds,
    shared_confidence,
    verdict,
)
from detector.compare.resampling import draws, resample
from detector.evaluate.columns import Detections, Objects, Problem
from detector.evaluate.evaluation import Comparison, evaluate

Floats = NDArray[np.float64]
TRUE = 0.012
SIMULATIONS = 2_000


def covered(interval: Interval, truth: float = TRUE) -> int:
    return int(np.count_nonzero((interval.low <= truth) & (truth <= interval.high)))


def nominal(hits: int, of: int, rate: float) -> bool:
    """Whether so many of so many are no surprise: in the middle 99.99 % of the binomial distribution."""
    low, high = (float(stats.binom.ppf(tail, of, rate)) for tail in (0.00005, 0.99995))
    return low <= hits <= high


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_the_interval_over_seeds_covers_the_truth_at_its_nominal_rate(seeds: int, confidence: float) -> None:
    random = np.random.default_rng(seeds)
    # Two arms, whose seeds have something in common, as those with the same weights and order have.
    common = random.normal(0.4, 0.02, (SIMULATIONS, seeds))
    baseline = common + random.normal(0, 0.01, common.shape)
    arm = common + TRUE + random.normal(0, 0.005, common.shape)
    found = over_seeds(arm - baseline, confidence)
    assert nominal(covered(found), SIMULATIONS, confidence)
    # What a normal distribution would give in place of Student's t covers too seldom.
    z, t = stats.norm.ppf((1 + confidence) / 2), stats.t.ppf((1 + confidence) / 2, seeds - 1)
    middle, half = (found.low + found.high) / 2, (found.high - found.low) / 2 * z / t
    assert not nominal(covered(Interval(middle - half, middle + half)), SIMULATIONS, confidence)


def simulated(
    random: np.random.Generator, images: int, seeds: int, *, of_images: float, of_seeds: float
) -> tuple[Floats, Floats]:
    """Differences over seeds (S, n), and resampled ones (S, R), of a metric that is a mean over images."""
    per_image = TRUE + random.normal(0, of_images * math.sqrt(images), (SIMULATIONS, images))
    per_seed = random.normal(0, of_seeds * math.sqrt(seeds), (SIMULATIONS, seeds))
    differences = per_image.mean(axis=1, keepdims=True) + per_seed
    counts = draws(images, 400, 0)
    return differences, per_image @ counts / images + per_seed.mean(axis=1, keepdims=True)


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize(("of_images", "of_seeds"), [(0.01, 0.01), (0.01, 0.002), (0.002, 0.01)])
def test_the_interval_over_both_covers_the_truth_at_its_nominal_rate(
    seeds: int, of_images: float, of_seeds: float
) -> None:
    random = np.random.default_rng(seeds)
    differences, resampled = simulated(random, 60, seeds, of_images=of_images, of_seeds=of_seeds)
    hits = covered(over_both(differences, resampled, 60, 0.95))
    # Satterthwaite's degrees of freedom are an approximation: it may cover up to a hundredth more or less.
    assert nominal(hits, SIMULATIONS, 0.94) or nominal(hits, SIMULATIONS, 0.96)


def test_each_noise_alone_covers_too_seldom_where_both_are_there() -> None:
    random = np.random.default_rng(1)
    differences, resampled = simulated(random, 60, 5, of_images=0.01, of_seeds=0.01)
    assert covered(over_seeds(differences, 0.95)) < 0.91 * SIMULATIONS
    assert covered(over_images(resampled, 60, 0.95)) < 0.91 * SIMULATIONS


def test_of_arms_that_are_alike_at_most_one_in_twenty_gets_a_verdict() -> None:
    random = np.random.default_rng(2)
    differences, resampled = simulated(random, 60, 5, of_images=0.01, of_seeds=0.01)
    differences, resampled = differences - TRUE, resampled - TRUE
    found = Intervals(
        over_seeds(differences, 0.95),
        over_images(resampled, 60, 0.95),
        over_both(differences, resampled, 60, 0.95),
    )
    decided = np.count_nonzero(found.above | found.below)
    assert 0.005 * SIMULATIONS < decided <= stats.binom.ppf(0.9999, SIMULATIONS, 0.05)
    # That both intervals of one noise leave out 0 is not enough.
    apart = (found.seeds.above & found.images.above) | (found.seeds.below & found.images.below)
    assert np.count_nonzero(apart) > stats.binom.ppf(0.9999, SIMULATIONS, 0.05)


def _problem(random: np.random.Generator, ease: Floats, places: int = 4) -> Problem:
    """Objects in places of their own; `ease` (I,) is the probability that one of an image is found."""
    image = np.repeat(np.arange(len(ease)), places)
    boxes = np.tile([[60.0 * k, 0.0, 40.0, 40.0] for k in range(places)], (len(ease), 1))
    hit = random.random(len(image)) < np.repeat(ease, places)
    moved = boxes + np.where(hit[:, None], 0.0, [0.0, 100.0, 0.0, 0.0])
    ones = np.ones(len(image), np.int64)
    return Problem(
        np.arange(len(ease)),
        np.array([1]),
        Objects(image, ones, boxes, boxes[:, 2] * boxes[:, 3], np.zeros(len(image), bool)),
        Detections.of_boxes(image, ones, moved, random.random(len(image)) * 0.5 + 0.5 * hit),
    )


def _pair(random: np.random.Generator, images: int) -> tuple[Problem, Problem]:
    """Two detectors on the same images, of which some are hard for both; the first finds more."""
    ease = random.normal(0.65, 0.2, images)
    return _problem(random, np.clip(ease + 0.05, 0, 1)), _problem(random, np.clip(ease - 0.05, 0, 1))


def _ap(problem: Problem) -> float:
    one = np.ones((len(problem.image_ids), 1), np.int64)
    return float(resample(Comparison(problem), one).metrics["AP"][0])


def test_the_bootstrap_over_images_covers_the_ap_of_all_images() -> None:
    random = np.random.default_rng(3)
    one, other = _pair(random, 60_000)
    truth = _ap(one) - _ap(other)
    counts, simulations = draws(50, 200, 0), 80
    hits = 0
    for _ in range(simulations):
        sharp, plain = (resample(Comparison(side), counts).metrics["AP"] for side in _pair(random, 50))
        hits += covered(over_images(sharp - plain, 50, 0.9), truth)
    # AP is no mean over images, so with 50 of them it is a little narrow.
    assert nominal(hits, simulations, 0.9) or nominal(hits, simulations, 0.88)


def test_ap_of_the_problem_is_coco_s() -> None:
    random = np.random.default_rng(0)
    problem = _problem(random, random.uniform(0, 1, 20))
    arrays = evaluate(Comparison(problem)).arrays
    assert _ap(problem) == pytest.approx(float(arrays.precision[..., 0, -1].mean()), abs=1e-12)


def test_no_difference_at_all_has_intervals_of_no_length() -> None:
    found = intervals(np.zeros(3), np.zeros(100), 50, 0.95)
    for one in (found.seeds, found.images, found.both):
        assert (float(one.low), float(one.high)) == (0, 0)
    assert verdict(found) == "inconclusive"


def test_a_verdict_needs_all_three_intervals() -> None:
    def interval(low: float, high: float) -> Interval:
        return Interval(np.array(low), np.array(high))

    up, down, around, edge = interval(1, 2), interval(-2, -1), interval(-1, 1), interval(0, 1)
    assert verdict(Intervals(up, up, up)) == "better"
    assert verdict(Intervals(down, down, down)) == "worse"
    for one in (
        Intervals(around, up, up),
        Intervals(up, around, up),
        Intervals(up, up, around),
        Intervals(up, up, edge),
        Intervals(up, down, around),
    ):
        assert verdict(one) == "inconclusive"


def test_with_one_claim_its_confidence_is_the_one_asked_for() -> None:
    assert shared_confidence(0.95, 1) == 0.95
    assert shared_confidence(0.95, 5) == pytest.approx(0.99)
