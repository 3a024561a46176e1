"""Which summaries photographs show by their specialists, against the machine's own decisions."""

import numpy as np
import pytest
from sklearn.svm import LinearSVC

from visual_summaries.pipeline.evaluate.mistakes import decisions, shown
from visual_summaries.pipeline.summarize.specialists import normalized, train_specialist


def test_decisions_are_those_of_the_trained_machines() -> None:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(30, 8)).astype(np.float16)
    truths = [np.arange(30) < 10, np.arange(30) % 3 == 0]
    machines = [train_specialist(features[truth], features[~truth]) for truth in truths]
    values = decisions(features, machines)
    assert values.shape == (30, 2)
    for at, truth in enumerate(truths):
        order = np.concatenate([np.flatnonzero(truth), np.flatnonzero(~truth)])
        machine = LinearSVC(class_weight="balanced", random_state=0, max_iter=10_000)
        machine.fit(normalized(features[order]), truth[order])
        assert values[:, at] == pytest.approx(machine.decision_function(normalized(features)), abs=1e-4)
        assert [at + 5 in own for own in shown(values, [5, 6])] == (values[:, at] > 0).tolist()


def test_the_surest_summary_comes_first() -> None:
    values = np.array([[0.1, -0.2, 0.5], [-1.0, -0.1, 0.0], [0.3, 0.3, 0.2]])
    assert shown(values, [1, 2, 4]) == [[4, 1], [], [1, 2, 4]]
    assert decisions(np.zeros((0,)), []).shape == (0, 0) and shown(decisions(np.ones((2, 3)), []), []) == [[], []]
