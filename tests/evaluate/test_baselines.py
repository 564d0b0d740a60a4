"""The baselines judge what they were not trained on, or say why they cannot."""

from __future__ import annotations

import numpy as np
import pytest

from triage.evaluate import baselines

TEXTS = [
    f"{word} number {n} of system {n % 4}" for n in range(10) for word in ("calm session", "awful attack", "weird")
]
TRUTH = np.array([0, 2, 1] * 10)
GROUPS = [f"g{n % 4}" for n in range(10) for _ in range(3)]


def test_frightening_words_are_counted_whole_and_in_any_case() -> None:
    texts = ["all is well", "ERROR: access denied", "terrors and fallout", "Error error", "[error]", "x_error=1"]
    assert baselines.level(texts).tolist() == [0, 2, 0, 2, 1, 1]


def test_words_are_listed_once_and_in_small_letters() -> None:
    words = baselines.LEVEL_WORDS
    assert len(set(words)) == len(words)
    assert all(word == word.lower() for word in words)


def test_probabilities_are_of_models_that_never_saw_the_group() -> None:
    found = baselines.tfidf(TEXTS, TRUTH, GROUPS)
    assert found.folds == 4
    p = found.probabilities
    assert p is not None
    assert p.shape == (30, 3)
    assert p.sum(axis=1) == pytest.approx(1)
    assert (p.argmax(axis=1) == TRUTH).all()


def test_nothing_of_a_group_reaches_its_own_model() -> None:
    """What only one group shows cannot be known of it: its twin with the other truth gets the same probability."""
    texts = ["calm", "awful"] * 6 + ["purple", "purple"]
    groups = ["a", "a", "b", "b", "c", "c"] * 2 + ["own", "own"]
    p = baselines.tfidf(texts, np.array([False, True] * 7), groups).probabilities
    assert p is not None
    assert p[-1] == p[-2]


def test_two_classes_give_one_probability_each() -> None:
    p = baselines.tfidf(TEXTS, TRUTH > 0, GROUPS).probabilities
    assert p is not None
    assert p.shape == (30,)
    assert ((p > 0.5) == (TRUTH > 0)).all()


def test_a_class_that_was_not_trained_has_no_probability() -> None:
    p = baselines.tfidf_trained(TEXTS, np.minimum(TRUTH, 1), ["awful attack"])
    assert p.shape == (1, 3)
    assert p[0, 2] == 0
    assert baselines.tfidf_trained(["a", "b"], np.array([2, 2]), ["c"]).tolist() == [[0, 0, 1]]
    assert baselines.tfidf_trained(["a"], np.array([False]), ["c"]).tolist() == [0]


@pytest.mark.parametrize(
    ("truth", "groups", "reason"),
    [(TRUTH, ["g"] * 30, "fewer than two groups"), (TRUTH * 0, GROUPS, "fewer than two classes")],
)
def test_what_cannot_be_trained_says_why(truth: np.ndarray, groups: list[str], reason: str) -> None:
    found = baselines.tfidf(TEXTS, truth, groups)
    assert found.probabilities is None
    assert reason in (found.reason or "")
