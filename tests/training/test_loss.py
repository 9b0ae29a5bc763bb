"""The GE2E loss against the paper's equations, one by one."""

from __future__ import annotations

import math

import pytest
import torch

from auditor.training.loss import GE2ELoss, similarities


def batch(n: int, m: int, d: int = 8, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, m, d, generator=generator, dtype=torch.float64)
    return torch.nn.functional.normalize(x, dim=-1)


def cosine(a: list[float], b: list[float]) -> float:
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


def mean(vectors: list[list[float]]) -> list[float]:
    return [sum(values) / len(vectors) for values in zip(*vectors, strict=True)]


def plain_loss(e: list, w: float, b: float, excluded: set[tuple[int, int]]) -> float:
    """Equations 1, 8, 9 and 6 of Wan et al. (2018), averaged over the batch."""
    n_classes, n_utterances = len(e), len(e[0])
    centroids = [mean(e[k]) for k in range(n_classes)]
    total = 0.0
    for j in range(n_classes):
        for i in range(n_utterances):
            scores = {}
            for k in range(n_classes):
                if k == j:
                    centroid = mean([e[j][m] for m in range(n_utterances) if m != i])
                else:
                    centroid = centroids[k]
                scores[k] = w * cosine(e[j][i], centroid) + b
            kept = [s for k, s in scores.items() if k == j or (j, k) not in excluded]
            total += -scores[j] + math.log(sum(math.exp(s) for s in kept))
    return total / (n_classes * n_utterances)


@pytest.mark.parametrize(("n", "m"), [(2, 2), (5, 3), (3, 6)])
@pytest.mark.parametrize(("w", "b"), [(10.0, -5.0), (1.5, 2.0)])
def test_the_loss_is_that_of_the_paper(n, m, w, b):
    x = batch(n, m)
    loss = GE2ELoss(w, b)(x).detach()
    assert float(loss) == pytest.approx(plain_loss(x.tolist(), w, b, set()), rel=1e-5)


def test_excluded_classes_are_not_told_apart():
    x = batch(4, 3)
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[0, 2] = mask[2, 0] = True
    mask.fill_diagonal_(True)  # is ignored
    loss = GE2ELoss()(x, mask).detach()
    assert float(loss) == pytest.approx(
        plain_loss(x.tolist(), 10.0, -5.0, {(0, 2), (2, 0)}), rel=1e-5
    )
    assert float(loss) < float(GE2ELoss()(x).detach())
    assert float(GE2ELoss()(x, ~torch.zeros_like(mask)).detach()) == pytest.approx(0.0, abs=1e-6)


def test_excluded_classes_get_no_gradient_from_each_other():
    x = batch(2, 2).requires_grad_()
    GE2ELoss()(x, torch.ones(2, 2, dtype=torch.bool)).backward()
    assert bool(torch.isfinite(x.grad).all())
    assert float(x.grad.abs().max()) < 1e-9


def test_similarities_leave_the_window_itself_out():
    x = batch(3, 2)
    scores = similarities(x)
    assert scores.shape == (3, 2, 3)
    assert float(scores.abs().max()) <= 1.0 + 1e-9
    # With two windows a class, a window's own centroid is the other window.
    for j in range(3):
        assert float(scores[j, 0, j]) == pytest.approx(float(x[j, 0] @ x[j, 1]))


def test_the_scale_stays_positive_whatever_the_optimiser_does():
    loss = GE2ELoss(scale=0.1)
    optimiser = torch.optim.SGD(loss.parameters(), lr=5.0)
    separated = torch.eye(4)[:, None].repeat(1, 2, 1)
    for _ in range(20):
        optimiser.zero_grad()
        (-loss(separated)).backward()  # the worse the better: w is pushed down
        optimiser.step()
        assert float(loss.log_scale.detach().exp()) > 0.0
    assert float(loss.log_scale.detach()) < -2.5


def test_gradient_steps_lower_the_loss():
    x = batch(6, 4, d=16).float().requires_grad_()
    loss = GE2ELoss()
    optimiser = torch.optim.Adam([x, *loss.parameters()], lr=0.05)
    values = []
    for _ in range(30):
        optimiser.zero_grad()
        value = loss(torch.nn.functional.normalize(x, dim=-1))
        value.backward()
        optimiser.step()
        values.append(float(value.detach()))
    assert values[-1] < 0.2 * values[0]
    assert loss.log_scale.grad is not None
    # The offset is common to all classes, so that the softmax does not feel it.
    assert float(loss.offset.grad.abs()) < 1e-5


def test_a_separated_batch_costs_next_to_nothing():
    eye = torch.eye(4)[:, None].repeat(1, 3, 1)
    assert float(GE2ELoss(scale=30.0)(eye).detach()) < 1e-6


@pytest.mark.parametrize(("n", "m"), [(1, 4), (4, 1)])
def test_a_batch_needs_two_of_each(n, m):
    message = f"a batch of {n} classes x {m} utterances; GE2E needs two of each"
    with pytest.raises(ValueError, match=message):
        GE2ELoss()(batch(n, m))


@pytest.mark.parametrize("scale", [0.0, -1.0])
def test_the_scale_must_start_positive(scale):
    with pytest.raises(ValueError, match=f"scale is {scale}; it must be positive"):
        GE2ELoss(scale=scale)
