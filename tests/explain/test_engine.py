"""The engine that keeps a batch full: slots, order, memory, failure, against runs of one image at a time."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from visual_summaries.pipeline.explain.engine import Engine, Item, Method, Stage, State, explain_stream
from visual_summaries.pipeline.explain.interface import Explanation, LogitsFunction
from visual_summaries.pipeline.explain.updates import Adam
from visual_summaries.pipeline.explain.work_done import WorkDone

CPU = torch.device("cpu")


class Nearest:
    """Two scores of an image: minus its squared distance from 0.2, and from 0.7. Counts passes and batches."""

    def __init__(self, memory: int | None = None) -> None:
        self.batches: list[int] = []
        self.memory = memory

    def logits(self, images: Tensor) -> Tensor:
        if self.memory is not None and len(images) > self.memory:
            raise torch.OutOfMemoryError("too many images")
        self.batches.append(len(images))
        return torch.stack([-(images - place).square().mean(dim=(1, 2, 3)) for place in (0.2, 0.7)], dim=1)


class Approach(Method):
    """Moves a value per image to where its target's logit is largest, then another at a tenth of the rate."""

    update = Adam()
    can_converge = True

    def __init__(self, first: int = 30, second: int = 10, tolerance: float = 0.0) -> None:
        self.stages = (Stage("far", (0.1,) * first), Stage("near", (0.01,) * second))
        self.tolerance = tolerance
        self.entered: list[int] = []

    def start(
        self,
        classifier: LogitsFunction,
        images: Tensor,
        targets: Tensor,
        generators: Sequence[torch.Generator] | None,
    ) -> State:
        self.entered.append(len(images))
        middle = images.mean(dim=(1, 2, 3), keepdim=True)
        return {"target": targets, "image": images, "far": middle, "near": middle.clone(), "distance": middle + 1}

    def objective(self, classifier: LogitsFunction, state: State, present: frozenset[int]) -> Tensor:
        value = state["near"] if 1 in present else state["far"]
        if present == {0, 1}:
            value = torch.where((state["stage"] == 0).view(-1, 1, 1, 1), state["far"], state["near"])
        logits = classifier.logits(value.expand_as(state["image"]))
        state["distance"].copy_(-logits.detach().gather(1, state["target"][:, None]).view(-1, 1, 1, 1))
        return -logits.gather(1, state["target"][:, None]).squeeze(1)

    def project(self, state: State, stage: int) -> None:
        state[self.stages[stage].parameter].clamp_(0, 1)

    def converged(self, state: State) -> Tensor:
        return state["distance"].flatten() < self.tolerance

    def enter(self, state: State, stage: int) -> State:
        return {"near": state["far"].clone()}

    def finish(self, classifier: LogitsFunction, state: State) -> Explanation:
        found = state["near"].flatten()
        return Explanation(state["near"], found, state["distance"].flatten(), state["passes"])


def items(count: int) -> list[Item]:
    generator = torch.Generator().manual_seed(5)
    images = torch.rand(count, 1, 1, 1, dtype=torch.float64, generator=generator).expand(-1, 3, 4, 4)
    return [Item(f"image {number}", image, number % 2) for number, image in enumerate(images)]


def alone(item: Item, **settings: float) -> Explanation:
    """One image by torch's own Adam, stage by stage."""
    method = Approach(**settings)
    place = (0.2, 0.7)[item.target]
    value = item.image.mean().reshape(1, 1, 1, 1)
    passes = 0
    for stage in method.stages:
        value = value.detach().requires_grad_(True)
        optimizer = torch.optim.Adam([value], lr=stage.learning_rates[0])
        for _ in stage.learning_rates:
            optimizer.zero_grad()
            loss = (value - place).square().mean()
            loss.backward()
            optimizer.step()
            passes += 1
            with torch.no_grad():
                value.clamp_(0, 1)
            if loss.item() < method.tolerance:
                break
    value = value.detach()
    return Explanation(value, value.flatten(), loss.detach().reshape(1), torch.tensor([passes]), {})


@pytest.mark.parametrize("batch_size", [1, 2, 5, None])
@pytest.mark.parametrize("tolerance", [0.0, 1e-3])
def test_every_image_gets_what_it_gets_alone(batch_size: int | None, tolerance: float) -> None:
    stream = items(11)
    found = dict(Engine(Approach(tolerance=tolerance), Nearest(), CPU, batch_size).run(stream))
    assert set(found) == {item.key for item in stream}
    expected = {item.key: alone(item, tolerance=tolerance) for item in stream}
    for key, explanation in expected.items():
        torch.testing.assert_close(found[key].saliency, explanation.saliency, rtol=0, atol=1e-12)
        assert found[key].iterations.tolist() == explanation.iterations.tolist()
    passes = {explanation.iterations.item() for explanation in expected.values()}
    assert len(passes) == 1 if tolerance == 0.0 else len(passes) > 4


def test_order_and_company_do_not_matter() -> None:
    stream = items(9)
    straight = dict(Engine(Approach(tolerance=1e-3), Nearest(), CPU, 4).run(stream))
    backwards = dict(Engine(Approach(tolerance=1e-3), Nearest(), CPU, 3).run(stream[::-1]))
    for key, explanation in straight.items():
        torch.testing.assert_close(backwards[key].saliency, explanation.saliency, rtol=0, atol=1e-12)


def test_a_finished_image_leaves_at_once_and_the_next_takes_its_place() -> None:
    stream, taken = items(12), []

    def source():  # noqa: ANN202
        for item in stream:
            taken.append(item.key)
            yield item

    network, method = Nearest(), Approach(tolerance=1e-3)
    finished = []
    for key, _ in Engine(method, network, CPU, 4).run(source()):
        finished.append(key)
        # Nothing is taken before there is room for it.
        assert len(taken) <= len(finished) + 4
    expected = {item.key: alone(item, tolerance=1e-3).iterations.item() for item in stream}
    assert sum(network.batches) == sum(expected.values())  # no pass is spent on an empty or finished slot
    assert max(network.batches) == 4
    assert method.entered[0] == 4 and set(method.entered[1:]) <= {1, 2}
    assert network.batches.count(4) > 0.75 * len(network.batches)
    assert finished[0] == min(list(expected)[:4], key=expected.get)


def test_images_are_not_asked_for_before_there_is_room() -> None:
    def source():  # noqa: ANN202
        yield from items(4)
        raise AssertionError("asked for a fifth image")

    finished = []
    with pytest.raises(AssertionError, match="fifth"):
        for key, _ in Engine(Approach(first=2, second=2), Nearest(), CPU, 4).run(source()):
            finished.append(key)
    assert len(finished) == 4


def test_an_image_that_is_not_finite_leaves_the_others_alone() -> None:
    stream = items(6)
    clean = dict(Engine(Approach(), Nearest(), CPU, 3).run(stream))
    stream[2] = Item("image 2", torch.full_like(stream[2].image, torch.nan), 0)
    found = dict(Engine(Approach(), Nearest(), CPU, 3).run(stream))
    assert found["image 2"].score_after.isnan().item() and found["image 2"].iterations.item() == 1
    for key in set(found) - {"image 2"}:
        torch.testing.assert_close(found[key].saliency, clean[key].saliency, rtol=0, atol=1e-12)


def test_out_of_memory_makes_the_batch_smaller_and_loses_nothing() -> None:
    stream = items(13)
    expected = dict(Engine(Approach(tolerance=1e-3), Nearest(), CPU, 1).run(stream))
    network = Nearest(memory=5)
    engine = Engine(Approach(tolerance=1e-3), network, CPU, 12)
    found = dict(engine.run(stream))
    assert set(found) == set(expected)
    for key, explanation in expected.items():
        torch.testing.assert_close(found[key].saliency, explanation.saliency, rtol=0, atol=1e-12)
        assert found[key].iterations.tolist() == explanation.iterations.tolist()
    assert 1 < engine.capacity.size <= 5 and max(network.batches) <= 5
    with pytest.raises(torch.OutOfMemoryError):
        list(Engine(Approach(), Nearest(memory=0), CPU, 4).run(stream))


def test_batch_grows_while_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Nearest()
    engine = Engine(Approach(), network, CPU)
    list(engine.run(items(40)))
    assert network.batches[:4] == [4, 8, 16, 16] and max(network.batches) == engine.capacity.size == 16
    # A schedule without a stop rule is not run to its end before the batch has found its size.
    network, method = Nearest(), Approach()
    method.can_converge = False
    list(Engine(method, network, CPU).run(items(40)))
    assert network.batches[:6] == [4, 4, 8, 8, 16, 16] and sum(network.batches) == 40 * (30 + 10)
    # A machine whose memory is all but used up: what one step took does not fit twice.
    readings = iter([10_000, *[10_100] * 10_000])
    monkeypatch.setattr("visual_summaries.pipeline.explain.capacity.Capacity._peak", lambda self: next(readings))
    monkeypatch.setattr("visual_summaries.pipeline.explain.capacity.Capacity._free", lambda self: 250)
    network = Nearest()
    list(Engine(Approach(), network, CPU).run(items(10)))
    assert max(network.batches) == 4


@pytest.mark.parametrize("batch_size", [1, 3, 4, None])
def test_progress_counts_every_pass(batch_size: int | None) -> None:
    """Against the passes that the network has been given: without an early stop, every one moves the bar as much."""
    network, method = Nearest(), Approach()
    method.can_converge = False
    told: list[float] = []
    for finished, _ in enumerate(Engine(method, network, CPU, batch_size).run(items(7), told.append), start=1):
        assert told[-1] >= finished
    assert told == sorted(told) and told[-1] == 7 == sum(network.batches) / 40
    moments = [sum(network.batches[: step + 1]) / 40 for step in range(len(network.batches))]
    assert sorted(set(told)) == pytest.approx(moments)


def test_progress_where_images_leave_early() -> None:
    """Of at most 400 passes each takes some 50: told is what the true number of passes would say, within a half."""
    stream, told = items(40), []
    network = Nearest()
    method = Approach(first=300, second=100, tolerance=1e-3)
    list(Engine(method, network, CPU, 8).run(stream, lambda work: told.append((work, sum(network.batches)))))
    whole = told[-1][1]
    assert told[-1][0] == 40 and whole < 40 * 100
    assert [work for work, _ in told] == sorted(work for work, _ in told)
    shares = [(work / 40, passes / whole) for work, passes in told]
    assert all(1 / 1.5 <= work / passes <= 1.5 for work, passes in shares if work > 0.2)
    # Until one knows what is usual, only whole images count.
    assert all(work <= passes * 1.5 for work, passes in shares)


def test_nothing_is_learned_from_an_image_that_is_given_up() -> None:
    told: list[float] = []
    done = WorkDone(400, early=True, tell=told.append)
    done.under_way([0, 0, 0], 10)
    done.leave([1])
    done.under_way([10, 10], 40)
    done.leave([50])
    done.under_way([40], 0)
    assert told == pytest.approx([0, 1, 2 + 40 / 50])


def test_progress_survives_failure_and_lack_of_memory() -> None:
    stream, told = items(13), []
    stream[2] = Item("image 2", torch.full_like(stream[2].image, torch.nan), 0)
    list(Engine(Approach(tolerance=1e-3), Nearest(memory=5), CPU, 12).run(stream, told.append))
    assert told == sorted(told) and told[-1] == 13


def test_adam_is_torchs() -> None:
    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(20, 2, 3, 5, dtype=torch.float64, generator=generator)
    expected = torch.zeros(2, 3, 5, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([expected], lr=0.03)
    found = torch.zeros(2, 3, 5, dtype=torch.float64)
    moments = {name: torch.zeros_like(found) for name in Adam.moments}
    for step, gradient in enumerate(gradients, start=1):
        expected.grad = gradient
        optimizer.step()
        rates = torch.full((2,), 0.03, dtype=torch.float64)
        Adam().apply(found, gradient, moments, rates, torch.full((2,), step))
    torch.testing.assert_close(found, expected.detach(), rtol=1e-12, atol=1e-15)


def test_a_stream_serves_explainers_without_an_engine() -> None:
    class Plain:
        def explain(self, classifier, images, targets, generators=None) -> Explanation:  # noqa: ANN001
            mean = images.mean(dim=(1, 2, 3))
            return Explanation(images[:, :1], mean, targets.double(), torch.full_like(targets, len(images)))

    stream = items(7)
    taken = Plain()
    for taken.passes, most in ((1, 7), (170, 6), (4000, 1)):
        sizes = [one.iterations.item() for _, one in explain_stream(taken, Nearest(), stream, CPU)]
        assert max(sizes) == most and len(sizes) == 7
    found = dict(explain_stream(Plain(), Nearest(), stream, CPU, batch_size=3))
    assert [explanation.iterations.item() for explanation in found.values()] == [3, 3, 3, 3, 3, 3, 1]
    for item in stream:
        torch.testing.assert_close(found[item.key].saliency, item.image[None, :1])
        assert found[item.key].score_after.item() == item.target
