"""Who is asked what: seeded, resumable, the same for everybody but for the order."""

from collections import Counter
from dataclasses import replace

import numpy as np
from hostile_names import EVIL_LABEL

from visual_summaries.pipeline.evaluate.ratings import FIND_IMAGE, MAP_RATING, PART_NAME
from visual_summaries.pipeline.review import questions as module
from visual_summaries.pipeline.review.drawing import HIDDEN, explanation
from visual_summaries.pipeline.review.questions import BLOCK, POOL, Photograph, Question, Questionnaire, questionnaire


def test_what_is_asked(known_run) -> None:
    found = questionnaire(known_run.store, 0)
    kept = [row for row in known_run.store.read_all("summaries").to_pylist() if row["kept"]]
    named = {(question.label, question.summary) for question in found.questions[PART_NAME]}
    assert named == {(row["label"], row["summary"]) for row in kept} and named
    rated = {question.image.image_id for question in found.questions[MAP_RATING]}
    wanted = {question.image.image_id for question in found.questions[FIND_IMAGE]}
    mapped = set(known_run.store.read_all("maps").column("image_id").to_pylist())
    assert rated | wanted == mapped and not rated & wanted
    assert Counter(question.label for question in found.questions[MAP_RATING]) == {EVIL_LABEL: 3, "butterfly": 3}
    for question in found.questions[FIND_IMAGE]:
        ids = [photograph.image_id for photograph in question.pool]
        assert len(set(ids)) == POOL and question.image in question.pool
        assert {photograph.label for photograph in question.pool} == {question.label}
        assert question.distractors == "same class"


def test_the_seed_settles_everything(known_run) -> None:
    first, again, other = (questionnaire(known_run.store, seed) for seed in (0, 0, 1))
    assert first.questions == again.questions
    assert first.questions[FIND_IMAGE] != other.questions[FIND_IMAGE]
    assert [question.key for question in first.in_order(MAP_RATING, "ann")] == [
        question.key for question in again.in_order(MAP_RATING, "ann")
    ]


def test_every_rater_has_an_own_order_within_common_blocks() -> None:
    own = tuple(Question(str(number), MAP_RATING, "robin", 0, ()) for number in range(2 * BLOCK + 3))
    questions = Questionnaire(0, {MAP_RATING: own}, {})
    orders = [[question.key for question in questions.in_order(MAP_RATING, rater)] for rater in ("ann", "bob")]
    assert orders[0] != orders[1]
    for start in range(0, len(own), BLOCK):
        block = {question.key for question in own[start : start + BLOCK]}
        assert all(set(order[start : start + BLOCK]) == block for order in orders)


def test_small_classes_borrow_distractors() -> None:
    photographs = [Photograph(str(number), f"{number}.jpg", label) for number, label in enumerate("abbbcccd")]
    alone = Question("k", FIND_IMAGE, "a", 0, (), image=photographs[0])
    filled = module._filled_up(module._with_pool(alone, photographs[:1], 0), photographs, 0)
    assert filled.distractors == "other classes" and len(filled.pool) == POOL
    assert {photograph.label for photograph in filled.pool} > {"a"}
    pair = replace(alone, label="b", image=photographs[1])
    mixed = module._filled_up(module._with_pool(pair, photographs[1:3], 0), photographs, 0)
    assert mixed.distractors == "mixed" and Counter(own.label for own in mixed.pool)["b"] == 2
    # What lies in two folders is one photograph.
    twice = [photographs[0], replace(photographs[0], label="z")]
    assert module._filled_up(alone, twice, 0).pool == (photographs[0],)
    pools = [module._filled_up(replace(alone, key=str(key)), photographs, 0).pool for key in range(40)]
    assert {pool.index(photographs[0]) for pool in pools} == set(range(POOL))


def test_an_explanation_keeps_the_most_salient_fifth_in_gray() -> None:
    image = np.zeros((10, 10, 3), np.uint8)
    image[:, :5] = (255, 0, 0)
    saliency = np.arange(100, dtype=np.uint8).reshape(10, 10)
    shown = explanation(image, saliency)
    hidden = (shown == round(255 * HIDDEN)).all(axis=-1)
    assert hidden[:8].all() and not hidden[8:].any()
    assert (shown[8:, :5] == round(255 * 0.299)).all() and (shown[8:, 5:] == 0).all()
    # A crisp mask of less than a fifth is kept as it is, and an empty map keeps nothing.
    crisp = np.zeros((10, 10), np.uint8)
    crisp[2, 3] = 255
    shown = explanation(image, crisp)
    assert (shown == round(255 * HIDDEN)).all(axis=-1).sum() == 99
    assert (explanation(image, np.zeros((10, 10), np.uint8)) == round(255 * HIDDEN)).all()
