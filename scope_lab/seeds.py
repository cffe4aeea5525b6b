"""How sure a difference between two methods is, when both were trained with several seeds and met the same problems.

Axis letters: S seeds that both methods were trained with, P problems that both were tested on, R resamples. A value
[s, p] is ours - theirs of one metric on problem p after training with seed s. Two kinds of luck are in a mean of such
values, which problems were drawn and which seeds; an interval holds the kinds that it redraws and no other.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .evaluation import bootstrap_interval, drawn_shares, percentile_interval


class Interval(NamedTuple):
    """Its ends, in the unit of the values; both NaN where the data say nothing about the luck that it should hold."""

    low: float
    high: float


def over_problems(values_SP, level: float = 0.95) -> Interval:
    """Bootstrap interval of the mean if other problems had been drawn, with these very seeds."""
    return Interval(*bootstrap_interval(np.asarray(values_SP).mean(0), level))


def over_seeds(values_SP, level: float = 0.95) -> Interval:
    """Student's t interval of the mean if other seeds had trained, on these very problems; NaN for a single seed."""
    means_S = np.asarray(values_SP, dtype=float).mean(1)
    if len(means_S) < 2:
        return Interval(math.nan, math.nan)
    reach = t_quantile((1 + level) / 2, len(means_S) - 1) * means_S.std(ddof=1) / math.sqrt(len(means_S))
    return Interval(float(means_S.mean() - reach), float(means_S.mean() + reach))


class Contrast(NamedTuple):
    """A mean over problems and seeds, both taken as drawn: its interval, and the p-value of "no difference"."""

    mean: float
    interval: Interval
    p: float


def contrast(values_SP, level: float = 0.95) -> Contrast:
    """Mean of a seeds × problems table, by Student's t with both ways random: other seeds and other problems.

    With the table's mean squares MS_s, MS_p, MS_e (seeds, problems, rest) the variance of the mean is
    max(MS_s + MS_p - MS_e, MS_s, MS_p) / (S·P), with Satterthwaite's degrees of freedom. No normal approximation and
    no bootstrap over seeds: with five seeds both promise too much. For a single seed interval and p are NaN: nothing
    is known about the spread over seeds.
    """
    values_SP = np.asarray(values_SP, dtype=float)
    S, P = values_SP.shape
    mean = float(values_SP.mean())
    if S < 2:
        return Contrast(mean, Interval(math.nan, math.nan), math.nan)
    of_seeds, of_problems = values_SP.mean(1) - mean, values_SP.mean(0) - mean
    rest_SP = values_SP - mean - of_seeds[:, None] - of_problems
    free = np.array([S - 1, P - 1, (S - 1) * (P - 1)])
    squares = np.array([P * (of_seeds**2).sum(), S * (of_problems**2).sum(), (rest_SP**2).sum()]) / free
    total = max(squares[0] + squares[1] - squares[2], squares[0], squares[1])
    if total == 0:
        return Contrast(mean, Interval(mean, mean), float(mean == 0))
    df = max(total**2 / (squares**2 / free).sum(), 1.0)
    error = math.sqrt(total / (S * P))
    reach = t_quantile((1 + level) / 2, df) * error
    return Contrast(mean, Interval(mean - reach, mean + reach), 2 * t_chance(-abs(mean) / error, df))


def contrast_of_seeds(values_S, level: float = 0.95) -> Contrast:
    """Mean of one number a seed, by Student's t; interval and p are NaN for a single seed.

    For what has no problems, like the entropy of a training step.
    """
    values_S = np.asarray(values_S, dtype=float)
    mean, S = float(values_S.mean()), len(values_S)
    interval = over_seeds(values_S[:, None], level)
    if S < 2:
        return Contrast(mean, interval, math.nan)
    error = float(values_S.std(ddof=1)) / math.sqrt(S)
    if error == 0:
        return Contrast(mean, interval, float(mean == 0))
    return Contrast(mean, interval, 2 * t_chance(-abs(mean) / error, S - 1))


def bootstrap_over_both(values_SP, level: float = 0.95, n_resamples: int = 10_000, seed: int = 0) -> Interval:
    """Percentile bootstrap interval of the mean, seeds and problems both drawn anew; NaN for a single seed.

    Redrawing S seeds shows only (S - 1) / S of their variance, and percentiles know nothing of Student's t: where the
    spread over few seeds matters it is too short. Here to be compared with `contrast`, which is what the package uses.
    """
    values_SP = np.asarray(values_SP, dtype=float)
    if len(values_SP) < 2:
        return Interval(math.nan, math.nan)
    seeds_RS, problems_RP = resampled_shares(values_SP.shape, n_resamples, seed)
    return Interval(*percentile_interval(np.einsum("rp,rp->r", seeds_RS @ values_SP, problems_RP), level))


def relative(ours_SP, theirs_SP, level: float = 0.95, n_resamples: int = 10_000, seed: int = 0):
    """mean(ours) / mean(theirs) - 1, and its bootstrap interval over problems and, where there are several, seeds.

    A ratio of means, as the paper states improvements: problems on which theirs is 0 do not matter by themselves.
    Infinite, without an interval, where theirs is 0 on all.
    """
    ours_SP, theirs_SP = np.asarray(ours_SP, dtype=float), np.asarray(theirs_SP, dtype=float)
    seeds_RS, problems_RP = resampled_shares(ours_SP.shape, n_resamples, seed)
    means = [np.einsum("rp,rp->r", seeds_RS @ x, problems_RP) for x in (ours_SP, theirs_SP)]
    if not theirs_SP.any():
        return math.inf, Interval(math.nan, math.nan)
    ends = Interval(*percentile_interval(means[0] / means[1] - 1, level))
    return float(ours_SP.mean() / theirs_SP.mean() - 1), ends


@lru_cache(maxsize=2)
def resampled_shares(shape: tuple[int, ...], n_resamples: int, seed: int) -> list[np.ndarray]:
    """`drawn_shares` of each axis, kept: (R, S) and (R, P)."""
    rng = np.random.default_rng(seed)
    return [drawn_shares(rng, size, n_resamples) for size in shape]


@lru_cache(maxsize=256)
def _student_t(df: float) -> tuple[np.ndarray, np.ndarray]:
    """Angles θ from -π/2 to π/2 and the chance of t ≤ sqrt(df)·tan θ: its density is proportional to cos(θ)^(df-1)."""
    theta = np.linspace(-np.pi / 2, np.pi / 2, 20_001)
    density = np.cos(theta).clip(0) ** (df - 1)
    chance = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return theta, chance / chance[-1]


def t_quantile(chance: float, df: float) -> float:
    """Quantile of Student's t with df >= 1 degrees of freedom."""
    theta, chances = _student_t(df)
    return math.sqrt(df) * math.tan(np.interp(chance, chances, theta))


def t_chance(t: float, df: float) -> float:
    """Chance that Student's t with df >= 1 degrees of freedom is t or less."""
    theta, chances = _student_t(df)
    return float(np.interp(math.atan(t / math.sqrt(df)), theta, chances))


def holm(p_values) -> np.ndarray:
    """Holm's adjustment of m p-values: the i-th smallest (from 0) times m - i, never below a smaller one's, at most 1.

    Those that stay at or below α hold together: the chance of one false alarm or more among them is at most α.
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p)))), 1)
    return adjusted
