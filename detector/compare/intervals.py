"""How sure a difference is: intervals over seeds, over images and over both, and the verdict.

Two noises are in every difference of two trained detectors (Bouthillier et al., Accounting for Variance in
Machine Learning Benchmarks, MLSys 2021), and neither tells of the other:

training noise: other seeds give other detectors. Over n seeds whose differences are paired, Student's t.
test-set noise: other images of the same kind give other numbers for the same detectors. A bootstrap over
    images, paired: both arms on the same resample.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]
Verdict: TypeAlias = Literal["better", "worse", "inconclusive", "refused"]

FEWEST_SEEDS = 3
"""With fewer there is no verdict: two seeds have an interval 13 times as wide as their standard error."""


@dataclass(frozen=True)
class Interval:
    """Both limits belong to it; of arrays (...,) an interval each."""

    low: Floats
    high: Floats

    @property
    def above(self) -> NDArray[np.bool_]:
        """Whether all of it is above 0."""
        return np.asarray(self.low > 0)

    @property
    def below(self) -> NDArray[np.bool_]:
        return np.asarray(self.high < 0)


@dataclass(frozen=True)
class Intervals:
    """Three of the same difference."""

    seeds: Interval
    """Of the mean difference over all seeds, on these test images."""
    images: Interval
    """Of the difference of these very detectors, over all images of the kind."""
    both: Interval
    """Over all seeds and all images of the kind."""

    @property
    def above(self) -> NDArray[np.bool_]:
        return np.asarray(self.seeds.above & self.images.above & self.both.above)

    @property
    def below(self) -> NDArray[np.bool_]:
        return np.asarray(self.seeds.below & self.images.below & self.both.below)


def over_seeds(differences: Floats, confidence: float) -> Interval:
    """Student's paired t interval of the mean of differences (..., n), n >= 2."""
    n = differences.shape[-1]
    half = _t(n - 1, confidence) * differences.std(axis=-1, ddof=1) / np.sqrt(n)
    return _around(differences.mean(axis=-1), half)


def over_images(resampled: Floats, images: int, confidence: float) -> Interval:
    """The percentile interval of resampled differences (..., R), each the mean over the seeds.

    A bootstrap of so many images is too narrow by sqrt((images - 1) / images), and a normal distribution by
    what Student's t makes up for; the percentiles are moved outwards by both (Hesterberg, What Teachers
    Should Know About the Bootstrap, The American Statistician 2015: the expanded percentile interval).
    """
    quantile = _t(max(images - 1, 1), confidence) * np.sqrt(images / max(images - 1, 1))
    tail = float(special.ndtr(-quantile))
    low, high = np.quantile(resampled, [tail, 1 - tail], axis=-1)
    return Interval(low, high)


def over_both(differences: Floats, resampled: Floats, images: int, confidence: float) -> Interval:
    """Of the mean difference over seeds and images: differences (..., n), resampled (..., R).

    The two variances of the mean add up. How seeds and images interact is in both, so the sum is, if
    anything, too large. Degrees of freedom by Welch and Satterthwaite, from n - 1 and `images` - 1.
    """
    n = differences.shape[-1]
    training = differences.var(axis=-1, ddof=1) / n
    # A bootstrap's variance is that of images drawn from themselves, smaller by one of them.
    testing = resampled.var(axis=-1, ddof=1) * images / max(images - 1, 1)
    whole = training + testing
    parts = training**2 / (n - 1) + testing**2 / max(images - 1, 1)
    freedom = np.divide(whole**2, parts, out=np.full_like(whole, float(n - 1)), where=parts > 0)
    return _around(differences.mean(axis=-1), _t(freedom, confidence) * np.sqrt(whole))


def intervals(differences: Floats, resampled: Floats, images: int, confidence: float) -> Intervals:
    """All three; NaN in `resampled` (a resample without objects) is left out. Of one difference each."""
    known = resampled[~np.isnan(resampled)]
    return Intervals(
        over_seeds(differences, confidence),
        over_images(known, images, confidence),
        over_both(differences, known, images, confidence),
    )


def verdict(found: Intervals) -> Verdict:
    """`better` or `worse` where all three intervals leave out 0 on the same side.

    Over both, so that a claim about other seeds and other images fails no more often than it should; over
    each, so that it holds on these images and for these detectors, too. See docs/decisions/0034.
    """
    if found.above:
        return "better"
    return "worse" if found.below else "inconclusive"


def shared_confidence(confidence: float, claims: int) -> float:
    """What each of so many claims needs, so that all of them hold together at `confidence` (Bonferroni)."""
    return 1 - (1 - confidence) / max(claims, 1)


def _t(freedom: Floats | int, confidence: float) -> Floats:
    return np.asarray(special.stdtrit(freedom, (1 + confidence) / 2))


def _around(middle: Floats, half: Floats) -> Interval:
    return Interval(np.asarray(middle - half), np.asarray(middle + half))
