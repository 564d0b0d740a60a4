"""What a judge must beat: words that frighten, and a linear model of characters trained on other systems."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from triage.evaluate.metrics import Floats

Truth = npt.NDArray[Any]
"""0, 1 or 2 (benign, review, escalate), or booleans: whether an analyst should see it."""

LEVEL_WORDS: Final = (
    # what loggers write of their lines
    "emerg", "emergency", "alert", "crit", "critical", "fatal", "severe", "err", "error", "errors", "warn", "warning",
    # what went wrong
    "fail", "failed", "failure", "failing", "fault", "panic", "abort", "aborted", "crash", "crashed", "corrupt",
    "corrupted", "exception", "traceback", "timeout", "unreachable", "unable", "cannot", "lost", "down", "oom",
    # what somebody was kept from
    "denied", "deny", "refused", "rejected", "reject", "blocked", "block", "forbidden", "unauthorized", "unauthorised",
    "invalid", "illegal", "violation", "not allowed", "banned",
    # what an attack is called
    "attack", "attacker", "attempt", "break-in", "breach", "exploit", "malware", "virus", "trojan", "infected",
    "injection", "intrusion", "suspicious", "threat", "scan", "brute", "overflow", "root", "passwd",
)  # fmt: skip

_LEVEL: Final = re.compile(rf"(?<![a-z])(?:{'|'.join(map(re.escape, LEVEL_WORDS))})(?![a-z])", re.IGNORECASE)

MOST_FOLDS: Final = 10
MOST_TRAINED: Final = 20_000  # texts; more take minutes and change little


def level(texts: Sequence[str]) -> Floats:
    """How many of LEVEL_WORDS stand in each text, each as often as it does. From 1 on, it would be shown."""
    return np.array([len(_LEVEL.findall(text)) for text in texts], dtype=np.float64)


@dataclass(frozen=True)
class OutOfFold:
    """The probabilities of texts by models that were not trained on their group, (n, 3), or (n,) of being seen for two
    classes; None with the `reason` where there cannot be any."""

    probabilities: Floats | None
    folds: int = 0
    reason: str | None = None


def tfidf(
    texts: Sequence[str],
    truth: Truth,
    groups: Sequence[str],
    *,
    most_folds: int = MOST_FOLDS,
    seed: int = 0,
) -> OutOfFold:
    """Every text judged by `tfidf_trained` of the texts of other groups: GroupKFold of at most `most_folds` folds."""
    from sklearn.model_selection import GroupKFold

    truth = np.asarray(truth)
    many = len(set(groups))
    if many < 2:
        return OutOfFold(None, reason="fewer than two groups: nothing is left to train on")
    if len(np.unique(truth)) < 2:
        return OutOfFold(None, reason="fewer than two classes: there is nothing to learn")
    folds = min(most_folds, many)
    found = np.zeros(truth.shape if truth.dtype == np.bool_ else (len(truth), 3))
    for train, test in GroupKFold(n_splits=folds).split(np.zeros(len(truth)), truth, np.asarray(groups)):
        found[test] = tfidf_trained([texts[i] for i in train], truth[train], [texts[i] for i in test], seed=seed)
    return OutOfFold(found, folds)


def tfidf_trained(train_texts: Sequence[str], train_truth: Truth, texts: Sequence[str], *, seed: int = 0) -> Floats:
    """What TF-IDF of character 2-5-grams with logistic regression, trained on `train_texts`, says of `texts`: (n, 3)
    for truth 0 to 2, (n,) of being seen for booleans. At most MOST_TRAINED texts train, drawn by `seed`."""
    train_truth = np.asarray(train_truth)
    if len(train_texts) > MOST_TRAINED:
        drawn = np.sort(np.random.default_rng(seed).choice(len(train_texts), MOST_TRAINED, replace=False))
        train_texts, train_truth = [train_texts[i] for i in drawn], train_truth[drawn]
    classes = np.unique(train_truth).astype(np.intp)
    said = np.ones((len(texts), 1)) if len(classes) == 1 else _fitted(train_texts, train_truth, texts)
    found = np.zeros((len(texts), 3))
    found[:, classes] = said
    return found[:, 1] if train_truth.dtype == np.bool_ else found


def _fitted(train_texts: Sequence[str], train_truth: Truth, texts: Sequence[str]) -> Floats:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from threadpoolctl import threadpool_limits

    least = 2 if len(train_texts) >= 100 else 1  # what only one text has tells little, but of few texts it is all
    model = make_pipeline(
        TfidfVectorizer(analyzer="char", ngram_range=(2, 5), sublinear_tf=True, min_df=least, max_features=200_000),
        LogisticRegression(C=10.0, max_iter=1000),
    )
    # One thread: the steps are short, and threads that wait for one another on busy cores take twenty times as long.
    with threadpool_limits(limits=1):
        model.fit(list(train_texts), train_truth.astype(np.intp))
        said: Floats = model.predict_proba(list(texts))
    return said
