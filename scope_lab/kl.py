"""Reverse and forward KL on a small vocabulary: exact, sampled, and the single peak that is nearest by each."""

import numpy as np


def kl_divergence(p_V, q_V) -> float:
    """KL(p ‖ q) = Σ_v p(v) · log(p(v) / q(v)), nats: the mean log-ratio over what p samples. Not symmetric.

    p_V, q_V  (V,) probabilities. Tokens with p = 0 add nothing; infinity where p > 0 and q = 0.
    """
    p_V, q_V = np.asarray(p_V, dtype=float), np.asarray(q_V, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.where(p_V > 0, p_V * (np.log(p_V) - np.log(q_V)), 0.0).sum())


def single_peak(centre: float, width: float, size: int) -> np.ndarray:
    """A discrete bell over tokens 0 … size - 1: the shape of a student that can have one peak only."""
    score = -0.5 * ((np.arange(size) - centre) / width) ** 2
    share = np.exp(score - score.max())
    return share / share.sum()


def closest_peak(teacher_V, direction: str) -> np.ndarray:
    """The single peak nearest to the teacher by "reverse" KL(student ‖ teacher) or "forward" KL(teacher ‖ student)."""
    if direction not in ("reverse", "forward"):
        raise ValueError(f"direction: found {direction!r}, accepted reverse, forward")
    teacher_V = np.asarray(teacher_V, dtype=float)
    V = len(teacher_V)
    students = [single_peak(c, w, V) for c in np.linspace(0, V - 1, 8 * V) for w in np.geomspace(0.4, V, 60)]
    distances = [
        kl_divergence(s, teacher_V) if direction == "reverse" else kl_divergence(teacher_V, s) for s in students
    ]
    return students[int(np.argmin(distances))]


def running_estimate(student_V, teacher_V, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Mean of log(student / teacher) over the first 2, 3, … n samples of the student, and its standard error."""
    student_V, teacher_V = np.asarray(student_V, dtype=float), np.asarray(teacher_V, dtype=float)
    tokens = np.random.default_rng(seed).choice(len(student_V), n, p=student_V)
    ratio = np.log(student_V / teacher_V)[tokens]
    count = np.arange(1, n + 1)
    mean = ratio.cumsum() / count
    variance = np.clip((ratio**2).cumsum() / count - mean**2, 0, None)[1:]
    return mean[1:], np.sqrt(variance / (count[1:] - 1))
