"""How an extractor is trained."""

from __future__ import annotations

from dataclasses import dataclass

from auditor.embedding.config import PRECISIONS
from auditor.serialisation import check_range


@dataclass(frozen=True)
class TrainConfig:
    """How an extractor is trained.

    Attributes
    ----------
    classes : "track", "genre" or "excerpt"
        What the GE2E loss calls a class.
    n_classes, n_utterances : int
        N and M of a batch.
    n_steps : int
        Batches in all; the learning rate follows a cosine over them.
    learning_rate : float
        Of AdamW, at its highest, after ``warmup_steps``.
    clip_norm : float
        Gradients are scaled down to this norm.
    scale, offset : float
        Starting w and b of the loss.
    jitter_s : float
        Windows move by up to this much either way, in seconds.
    evaluate_every, patience : int
        Steps between validations; validations without improvement before an early stop.
    precision : "bfloat16" or "float32"
        Of the arithmetic inside the network; weights and loss are float32 in either case.  A
        processor that cannot train in bfloat16 trains in float32.
    seed : int
        Of everything that chance decides.
    start : str
        Hash of the weights that training starts from; empty for random ones.
    """

    classes: str = "track"
    n_classes: int = 48
    n_utterances: int = 4
    n_steps: int = 4000
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    weight_decay: float = 1e-4
    clip_norm: float = 3.0
    scale: float = 10.0
    offset: float = -5.0
    jitter_s: float = 0.5
    evaluate_every: int = 250
    patience: int = 8
    precision: str = "bfloat16"
    seed: int = 0
    start: str = ""

    def __post_init__(self) -> None:
        if self.classes not in ("track", "genre", "excerpt"):
            raise ValueError(f"classes is {self.classes!r}; it must be track, genre or excerpt")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision is {self.precision!r}; it must be bfloat16 or float32")
        check_range("n_classes", self.n_classes, 2, 4096)
        check_range("n_utterances", self.n_utterances, 2, 256)
        check_range("n_steps", self.n_steps, 1, 10_000_000)
        check_range("learning_rate", self.learning_rate, 1e-8, 1.0)
        check_range("warmup_steps", self.warmup_steps, 0, 10_000_000)
        check_range("weight_decay", self.weight_decay, 0.0, 10.0)
        check_range("clip_norm", self.clip_norm, 1e-6, 1e6)
        check_range("scale", self.scale, 1e-3, 1e3)
        check_range("jitter_s", self.jitter_s, 0.0, 60.0)
        check_range("evaluate_every", self.evaluate_every, 1, 10_000_000)
        check_range("patience", self.patience, 1, 10_000_000)
        check_range("seed", self.seed, 0, 2**31 - 1)
