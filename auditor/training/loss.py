"""The generalized end-to-end softmax loss.

A batch holds N classes with M windows each.  Every d-vector is compared with every class centroid;
its own centroid leaves it out.  The loss is the cross-entropy of naming the right class from the
scaled cosines.

References
----------
Wan, Wang, Papir, Moreno (2018), arXiv:1710.10467, equations 5, 6, 8 and 9.
"""

from __future__ import annotations

import torch
from torch import nn


class GE2ELoss(nn.Module):
    """GE2E softmax loss with a learned scale ``w > 0`` and offset ``b``.

    ``w`` is kept as its logarithm, so that it stays positive whatever the optimiser does.

    Parameters
    ----------
    scale, offset : float
        Starting values of w and b; the paper's are 10 and -5.
    """

    def __init__(self, scale: float = 10.0, offset: float = -5.0) -> None:
        super().__init__()
        if scale <= 0:
            raise ValueError(f"scale is {scale}; it must be positive")
        self.log_scale = nn.Parameter(torch.tensor(float(scale)).log())
        self.offset = nn.Parameter(torch.tensor(float(offset)))

    def forward(self, dvectors: torch.Tensor, excluded: torch.Tensor | None = None) -> torch.Tensor:
        """Return the mean loss of a batch.

        Parameters
        ----------
        dvectors : torch.Tensor
            (n_classes, n_utterances, n_dims), unit norm; at least two of each.
        excluded : torch.Tensor, optional
            (n_classes, n_classes) bool; True where two classes are known to hold the same music
            and must not be told apart.  The diagonal is ignored.

        Returns
        -------
        torch.Tensor
            Scalar, nats per window.
        """
        n_classes, n_utterances, _ = dvectors.shape
        scores = self.log_scale.exp() * similarities(dvectors) + self.offset  # (N, M, N)
        if excluded is not None:
            excluded = excluded & ~torch.eye(n_classes, dtype=torch.bool, device=scores.device)
            scores = scores.masked_fill(excluded[:, None, :], float("-inf"))
        target = torch.arange(n_classes, device=dvectors.device).repeat_interleave(n_utterances)
        return nn.functional.cross_entropy(scores.flatten(0, 1), target)


def similarities(dvectors: torch.Tensor) -> torch.Tensor:
    """Return the cosine of every d-vector with every centroid, its own leaving it out.

    Parameters
    ----------
    dvectors : torch.Tensor
        (n_classes, n_utterances, n_dims), unit norm.

    Returns
    -------
    torch.Tensor
        (n_classes, n_utterances, n_classes), in [-1, 1].

    Raises
    ------
    ValueError
        If there are fewer than two classes or two utterances.
    """
    n_classes, n_utterances, _ = dvectors.shape
    if n_classes < 2 or n_utterances < 2:
        raise ValueError(
            f"a batch of {n_classes} classes x {n_utterances} utterances; GE2E needs two of each"
        )
    sums = dvectors.sum(dim=1)  # (N, D)
    centroids = nn.functional.normalize(sums, dim=-1)  # (N, D), equation 1
    others = nn.functional.normalize(sums[:, None] - dvectors, dim=-1)  # (N, M, D), equation 8
    scores = torch.einsum("nmd,kd->nmk", dvectors, centroids)  # (N, M, N)
    own = (dvectors * others).sum(dim=-1)  # (N, M)
    diagonal = torch.eye(n_classes, dtype=torch.bool, device=dvectors.device)[:, None]  # (N, 1, N)
    return torch.where(diagonal, own[:, :, None], scores)
