"""Pictures of the quality benchmark: DET curves and score histograms, as PNG files.

A DET curve shows FRR over FAR, here on two logarithmic axes (Martin et al. 1997, "The DET curve in
assessment of detection task performance", Eurospeech).  Both rates are counted; what lies below
one pair cannot be seen, and the curve ends there.

Matplotlib is needed, which ``pip install -e '.[benchmark]'`` installs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from evaluation import Pairs

from auditor.calibration.metrics import far_frr
from auditor.errors import UsageError

N_POINTS = 2000
N_BINS = 80
SIZE_INCHES = (7.0, 5.0)
DPI = 130


def det_curve(matching: np.ndarray, impostor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return FAR and FRR over thresholds that are spread evenly in the logarithm of the FAR.

    Parameters
    ----------
    matching, impostor : numpy.ndarray
        (n_matching,) and (n_impostor,) scores; impostors highest first.

    Returns
    -------
    far, frr : numpy.ndarray
        (m,) float64 each, FAR rising from ``1 / n_impostor`` to 1 and FRR falling.
    """
    ranks = np.unique(np.geomspace(1, len(impostor), N_POINTS).astype(np.int64))
    thresholds = np.unique(impostor[ranks - 1])[::-1]
    return far_frr(matching, impostor, thresholds)


def _figure():
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError(
            "matplotlib is not installed; the pictures of the benchmark need it. "
            "Run: pip install -e '.[benchmark]'"
        ) from None
    figure = Figure(figsize=SIZE_INCHES, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def draw_det(systems: Mapping[str, Pairs], path: Path) -> None:
    """Draw the DET curves of systems, all alterations at one threshold.

    Parameters
    ----------
    systems : mapping of str to Pairs
    path : pathlib.Path
        PNG file.

    Raises
    ------
    UsageError
        If matplotlib is not installed.
    """
    figure = _figure()
    axes = figure.subplots()
    lowest_frr = 1.0
    for i, (name, pairs) in enumerate(systems.items()):
        matching = np.concatenate(list(pairs.matching.values()))
        far, frr = det_curve(matching, pairs.impostor)
        seen = frr > 0.0
        style = ("-", "--", ":")[i // 10 % 3]
        axes.step(far[seen], frr[seen], style, where="post", label=name, linewidth=1.5)
        lowest_frr = min(lowest_frr, 1.0 / len(matching))
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(1e-6, 1.0)
    axes.set_ylim(lowest_frr / 1.5, 1.2)
    axes.set_xlabel("FAR: impostor pairs flagged")
    axes.set_ylabel("FRR: altered copies missed")
    axes.set_title("All alterations, one threshold (DET)")
    axes.grid(which="both", alpha=0.25)
    axes.legend(fontsize="small")
    figure.savefig(path)


def draw_histogram(name: str, pairs: Pairs, thresholds: Mapping[float, float], path: Path) -> None:
    """Draw the scores of matching and impostor pairs, each as a share of its kind.

    Parameters
    ----------
    name : str
        Of the system.
    pairs : Pairs
    thresholds : mapping of float to float
        FAR to threshold, drawn as lines.
    path : pathlib.Path
        PNG file.

    Raises
    ------
    UsageError
        If matplotlib is not installed.
    """
    figure = _figure()
    axes = figure.subplots()
    matching = np.concatenate(list(pairs.matching.values()))
    every = np.concatenate([matching, pairs.impostor])
    # What cannot be scored at all lies far below the rest and would squeeze it into one bar.
    low, high = float(np.percentile(every, 0.01)), float(every.max())
    bins = np.linspace(low, high if high > low else low + 1.0, N_BINS + 1)
    for label, values in (("impostor pairs", pairs.impostor), ("matching pairs", matching)):
        weights = np.full(len(values), 1.0 / len(values))
        shown = np.clip(values, bins[0], bins[-1])
        axes.hist(shown, bins, weights=weights, alpha=0.6, label=f"{len(values):,} {label}")
    for far, threshold in thresholds.items():
        axes.axvline(threshold, color="black", linewidth=0.8, linestyle="--")
        axes.annotate(
            f"{far:g}",
            (threshold, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(2, -2),
            textcoords="offset points",
            rotation=90,
            va="top",
            fontsize="x-small",
        )
    axes.set_yscale("log")
    axes.set_xlabel("score")
    axes.set_ylabel("share of pairs")
    axes.set_title(f"{name}: scores; lines are thresholds at FAR")
    axes.legend(fontsize="small")
    figure.savefig(path)
