"""The preset robust, stage by stage, against plain programs: its steps, SciPy's minimum, a search of every share."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.ndimage
import scipy.optimize
import torch
from torch import Tensor, nn
from torch.nn import functional

from visual_summaries.pipeline.explain.engine import Engine, Item, State
from visual_summaries.pipeline.explain.interface import LogitsFunction
from visual_summaries.pipeline.explain.robust import BOUNDARY, DETAIL, EVIDENCE, RobustMethod, RobustSettings

HEIGHT, WIDTH = 48, 56
SCALE = HEIGHT / 224
CPU = torch.device("cpu")


class Network:
    """A small network in double precision that cares where things are; keeps the last pictures it was shown."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        layers = (nn.Conv2d(3, 8, 5, stride=3), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.ReLU())
        module = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(72, 4))
        self.module = module.double().requires_grad_(False)
        self.shown = torch.empty(0)

    def logits(self, images: Tensor) -> Tensor:
        self.shown = images.detach()
        return 40 * self.module(images * 20 - 10)


def photographs(count: int, height: int = HEIGHT, width: int = WIDTH) -> Tensor:
    """White noise on larger blots of color."""
    generator = torch.Generator().manual_seed(3)
    blots = torch.rand(count, 3, height // 8, width // 8, generator=generator, dtype=torch.float64)
    blots = functional.interpolate(blots, size=(height, width), mode="bilinear")
    return (2 * blots + torch.rand(count, 3, height, width, generator=generator, dtype=torch.float64)) / 3


def gaussian(size: int, sigma: float, mode: str = "nearest", radius: int | None = None) -> Tensor:
    """SciPy's Gaussian filter as a matrix `[size,size]`."""
    options = {"mode": mode, "radius": round(4 * sigma) if radius is None else radius}
    return torch.from_numpy(scipy.ndimage.gaussian_filter1d(np.eye(size), sigma, axis=0, **options))


def smooth(values: Tensor, sigma: float, mode: str = "nearest", radius: int | None = None) -> Tensor:
    rows, columns = (gaussian(size, sigma, mode, radius) for size in values.shape[-2:])
    return rows @ values @ columns.T


def enlarged(cells: Tensor, sigma: float) -> Tensor:
    """Cells enlarged to the image's pixels and smoothed, σ in pixels of a 224-px image but 1 px at least."""
    larger = functional.interpolate(cells, size=(HEIGHT, WIDTH), mode="bilinear", align_corners=False)
    return smooth(larger, max(1, sigma * SCALE))


def baselines(image: Tensor) -> list[Tensor]:
    """The authors' blur, whose kernel has 5 px at least, a heavy one, and the mean color."""
    sigma = 12 * SCALE
    heavy = smooth(image, sigma, "mirror", radius=round(2 * sigma))
    return [smooth(image, 50 / 11, "mirror", radius=2), heavy, image.mean(dim=(2, 3), keepdim=True).expand_as(image)]


def score_of(classifier: Network, image: Tensor, target: int) -> Tensor:
    return classifier.logits(image).softmax(dim=1)[0, target]


def score_term(score: Tensor, before: Tensor, settings: RobustSettings) -> Tensor:
    floor = settings.destroyed * before
    odds_ratio = score / (1 - score) * (1 - floor) / floor
    return settings.score_weight * (1 + odds_ratio).log() ** 2 / 2


def plain_step(
    classifier: Network, image: Tensor, target: int, settings: RobustSettings, stage: int, step: int,
    cells: Tensor, field: Tensor, hold: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The picture that one image `[1,3,H,W]` is shown as in a step, and what is minimized."""
    before = score_of(classifier, image, target)
    generator = torch.Generator().manual_seed(0)
    tile = torch.randn(3, HEIGHT, WIDTH, generator=generator).double()
    turn, second = divmod(step, 2)
    reach = 0 if stage == DETAIL else round(settings.shifts[stage] * SCALE)
    plastic = float(np.real(np.roots([1, 0, -1, -1])[0]))
    down, across = (round((((turn + 1) / plastic**power + 0.5) % 1 * 2 - 1) * reach) for power in (2, 1))

    def viewed(values: Tensor) -> Tensor:
        shown = functional.pad(values.flip(3) if second else values, (reach,) * 4, mode="reflect")
        return shown[..., reach + down : reach + down + HEIGHT, reach + across : reach + across + WIDTH]

    own = (settings.evidence, settings.boundary, settings.detail)[stage]
    correction = enlarged(cells, own.smoothing)
    first, middle, last = settings.slopes
    if stage == EVIDENCE:
        mask = correction.clamp(0, 1)
        scores = [score_of(classifier, shown + settings.noise * tile, target) for shown in (image, image.flip(3))]
        borne = min(1.0, float(sum(scores) / 2 / before))
        noise = settings.noise * borne * tile.roll((-89 * (turn + 1), -55 * (turn + 1)), (1, 2))
        hidden = image + mask * (baselines(image)[turn % 3] - image)
        picture, terms = viewed(hidden) + noise, own.pull * viewed(mask).square().mean()
    else:
        slope = first + (middle - first) * step / (settings.boundary.iterations - 1)
        if stage == DETAIL:
            slope = middle + (last - middle) * min(1, step / settings.ramp) * hold**0.25
        mask = torch.sigmoid(slope * (field + correction))
        picture = image + mask * (baselines(image)[0] - image)
        if stage == BOUNDARY:
            picture, mask = viewed(picture), viewed(mask)
        company = smooth(mask.detach(), max(1, settings.context * SCALE))
        area = (mask + settings.isolation * mask * (1 - company)).mean()
        terms = hold * (own.area * area + own.pull * cells.square().mean())
    return picture, score_term(score_of(classifier, picture, target), before, settings) + terms


def started(
    settings: RobustSettings, classifier: LogitsFunction, images: Tensor, targets: Tensor
) -> tuple[RobustMethod, State]:
    """The method, and its state as the engine completes it."""
    method = RobustMethod(settings)
    state = method.start(classifier, images, targets, None)
    counter = torch.zeros_like(targets)
    return method, state | {name: counter.clone() for name in ("stage", "step", "passes")}


def test_every_step_is_that_of_a_plain_program() -> None:
    """Images at different steps of all three stages, together, with their gradients."""
    classifier, generator = Network(), torch.Generator().manual_seed(2)
    settings = replace(RobustSettings(), noise=0.06, shifts=(40.0, 23.0))
    stages = torch.tensor([0, 1, 0, 2, 1, 0, 2, 0])
    steps = torch.tensor([0, 3, 5, 1, 4, 9, 30, 2])
    images, targets = photographs(8), torch.arange(8) % 4
    method, state = started(settings, classifier, images, targets)
    assert 0 < state["noise"].min() < 0.9 * settings.noise
    hold = torch.linspace(0.3, 1, 8, dtype=torch.float64)
    field = torch.rand(8, 1, HEIGHT, WIDTH, generator=generator, dtype=torch.float64) * 2 - 1
    state |= {"stage": stages, "step": steps, "hold": hold.clone(), "field": field}
    for name in ("evidence", "boundary", "detail"):
        cells = torch.rand(state[name].shape, generator=generator, dtype=torch.float64)
        # Some beyond the range that a mask is cut to.
        state[name] = (1.4 * cells - 0.2 if name == "evidence" else cells - 0.5).requires_grad_(True)
    names = ["evidence", "boundary", "detail"]
    found = method.objective(classifier, dict(state), frozenset({EVIDENCE, BOUNDARY, DETAIL}))
    gradients = torch.autograd.grad(found.sum(), [state[name] for name in names])
    shown = classifier.shown
    for row, (stage, step) in enumerate(zip(stages.tolist(), steps.tolist(), strict=True)):
        image, cells = images[row : row + 1], state[names[stage]][row : row + 1].detach().requires_grad_(True)
        picture, expected = plain_step(
            classifier, image, int(targets[row]), settings, stage, step, cells, field[row : row + 1], float(hold[row])
        )
        torch.testing.assert_close(shown[row], picture[0], rtol=0, atol=1e-8)
        torch.testing.assert_close(found[row], expected, rtol=1e-6, atol=0)
        (gradient,) = torch.autograd.grad(expected, cells)
        torch.testing.assert_close(gradients[stage][row], gradient[0], rtol=1e-5, atol=1e-9)


class Watched(RobustMethod):
    """Keeps the state of the images that begin each stage, and the evidence after each step."""

    def __init__(self, settings: RobustSettings) -> None:
        super().__init__(settings)
        self.entering: dict[int, State] = {}
        self.evidence: list[Tensor] = []

    def enter(self, state: State, stage: int) -> State:
        changed = super().enter(state, stage)
        self.entering[stage] = state | changed
        return changed

    def project(self, state: State, stage: int) -> None:
        super().project(state, stage)
        if stage == EVIDENCE:
            self.evidence.append(state["evidence"].clone())


def test_evidence_is_scipys_minimum() -> None:
    """Over all baselines and both mirror images, without shifts and noise: by L-BFGS-B with bounds."""
    classifier = Network()
    own = replace(RobustSettings().evidence, cells=8, iterations=150, learning_rate=0.1, final_learning_rate=0.01)
    few = replace(RobustSettings().detail, iterations=1)
    settings = RobustSettings(evidence=own, boundary=few, detail=few, averaged=36, shifts=(0.0, 0.0), noise=0.0)
    images, targets = photographs(2), torch.tensor([2, 1])
    method = Watched(settings)
    stream = [Item(row, images[row], int(targets[row])) for row in range(2)]
    list(Engine(method, classifier, CPU, 2).run(stream))
    state = method.entering[BOUNDARY]
    steps = torch.stack(method.evidence)
    assert len(steps) == own.iterations and steps.min() >= 0 and steps.max() <= 1
    torch.testing.assert_close(state["evidence sum"] / settings.averaged, steps[-settings.averaged :].mean(dim=0))
    for row in range(2):
        image, target = images[row : row + 1], int(targets[row])
        before = score_of(classifier, image, target)
        hidden_behind = baselines(image)

        def mean_objective(values: np.ndarray) -> tuple[float, np.ndarray]:
            cells = torch.from_numpy(values.reshape(1, 1, 8, 9)).requires_grad_(True)
            mask = enlarged(cells, own.smoothing).clamp(0, 1)
            terms = own.pull * mask.square().mean()
            for baseline in hidden_behind:  # noqa: B023
                picture = image + mask * (baseline - image)  # noqa: B023
                for shown in (picture, picture.flip(3)):
                    score = score_of(classifier, shown, target)  # noqa: B023
                    terms = terms + score_term(score, before, settings) / 6  # noqa: B023
            (gradient,) = torch.autograd.grad(terms, cells)
            return terms.item(), gradient.numpy().ravel()

        found = (state["evidence sum"][row] / settings.averaged).numpy().ravel()
        best = scipy.optimize.minimize(
            mean_objective, np.ones(72), jac=True, method="L-BFGS-B", bounds=[(0, 1)] * 72, options={"maxiter": 150}
        )
        assert best.x.std() > 0.1
        assert mean_objective(found)[0] <= 1.03 * best.fun
        assert np.corrcoef(found, best.x)[0, 1] > 0.95


class Hidden:
    """Class 1 by how much of the image, weighed by `weights` `[B,1,H,W]`, is not blurred; class 0 else."""

    def __init__(self, images: Tensor, weights: Tensor, needed: float) -> None:
        self.images, self.weights, self.needed = images, weights, needed

    def logits(self, images: Tensor) -> Tensor:
        kept = (images - self.images).abs().amax(dim=1, keepdim=True) < 1e-4
        share = (kept * self.weights).sum(dim=(1, 2, 3)) / self.weights.sum(dim=(1, 2, 3))
        value = 60 * (share - self.needed)
        return torch.stack([torch.zeros_like(value), value], dim=1)


def evidence(count: int, settings: RobustSettings) -> tuple[Tensor, Tensor]:
    """Soft masks as cells, an isolated strong spot in each, and what weighs them: pixels, by their surroundings."""
    generator = torch.Generator().manual_seed(5)
    cells = torch.rand(count, 1, 28, 33, generator=generator, dtype=torch.float64) ** 3
    cells[:, :, 8:20, 10:22] += 0.4
    cells[:, :, 2:4, 28:30] = 1
    soft = enlarged(cells.clamp(0, 1), settings.evidence.smoothing)
    return cells.clamp(0, 1), soft * smooth(soft, max(1, settings.context * SCALE))


@pytest.mark.parametrize("needed", [0.9, 0.7, 0.5])
def test_first_level_set_is_the_smallest_that_hides_the_class(needed: float) -> None:
    """Against a search of every share of the image's pixels."""
    settings = RobustSettings()
    images, targets = photographs(3), torch.ones(3, dtype=torch.int64)
    cells, weighed = evidence(3, settings)
    # The network goes by the evidence, roughly.
    classifier = Hidden(images, weighed.sqrt() + 0.1, needed)
    method, state = started(settings, classifier, images, targets)
    state["evidence sum"] = cells * settings.averaged
    changed = method.enter(state, BOUNDARY)
    least, most = settings.shares
    ordered = weighed.flatten(1).argsort(dim=1, descending=True)
    for row in range(3):
        alone = Hidden(images[row : row + 1], classifier.weights[row : row + 1], needed)
        before = alone.logits(images[row : row + 1]).softmax(dim=1)[0, 1]
        reached = []
        for count in range(round(least * HEIGHT * WIDTH), round(most * HEIGHT * WIDTH), 4):
            removed = torch.zeros(HEIGHT * WIDTH, dtype=torch.bool)
            removed[ordered[row, :count]] = True
            picture = torch.where(removed.view(HEIGHT, WIDTH), baselines(images[row : row + 1])[0], images[row])
            if alone.logits(picture).softmax(dim=1)[0, 1] <= (1 - settings.hidden) * before:
                reached.append(count)
        share = changed["share"][row].item()
        if not reached:
            assert share == pytest.approx(settings.usual_share)
        else:
            smallest = reached[0] / (HEIGHT * WIDTH)
            assert reached == list(range(reached[0], reached[-1] + 1, 4))
            assert smallest - 2e-3 <= share <= smallest + (most - least) / 60
        field = changed["field"][row].flatten()
        count = int(share * HEIGHT * WIDTH)
        assert set((field > 0).nonzero().flatten().tolist()) == set(ordered[row, :count].tolist())
        # A unit is the step to the level that 2 % of the pixels exceed.
        two = ordered[row, int(0.02 * HEIGHT * WIDTH)]
        assert field[two] == pytest.approx(1) and field.max() == 1 and field.min() >= -1
        cut = weighed[row].flatten()[ordered[row, count]]
        expected = (weighed[row].flatten() - cut) / (weighed[row].flatten()[two] - cut)
        torch.testing.assert_close(field, expected.clamp(-1, 1), rtol=1e-6, atol=1e-9)
    assert (changed["passes"] > state["passes"]).all()


def test_without_evidence_nothing_is_salient() -> None:
    settings = RobustSettings()
    images = photographs(2)
    classifier = Hidden(images, torch.ones_like(images[:, :1]), 0.5)
    method, state = started(settings, classifier, images, torch.ones(2, dtype=torch.int64))
    state["evidence sum"][1] = evidence(1, settings)[0][0]
    field = method.enter(state, BOUNDARY)["field"]
    assert (field[0] == -1).all() and (field[1] > 0).any()


def test_small_pieces_are_given_up_after_the_second_stage() -> None:
    """By SciPy's labels of connected pixels, diagonal neighbors included."""
    generator = torch.Generator().manual_seed(6)
    settings, images = replace(RobustSettings(), least_piece=0.004), photographs(3)
    method, state = started(settings, Network(), images, torch.arange(3))
    blots = torch.randn(3, 1, HEIGHT, WIDTH, generator=generator, dtype=torch.float64)
    state["field"] = 4 * smooth(blots, 1.5) - 0.3
    state["boundary"] = torch.randn(state["boundary"].shape, generator=generator, dtype=torch.float64)
    changed = method.enter(state, DETAIL)
    whole = state["field"] + enlarged(state["boundary"], settings.boundary.smoothing)
    for row in range(3):
        labels, count = scipy.ndimage.label(whole[row, 0].numpy() > 0, structure=np.ones((3, 3)))
        sizes = np.bincount(labels.ravel())
        small = (sizes < settings.least_piece * HEIGHT * WIDTH)[labels] & (labels > 0)
        assert count > 3 and small.any() and (labels[~small] > 0).any()
        expected = torch.where(torch.from_numpy(small), -whole[row, 0], whole[row, 0])
        torch.testing.assert_close(changed["field"][row, 0], expected)
        assert torch.equal(changed["previous"][row, 0], expected > 0)


def test_what_holds_a_mask_yields_only_where_the_score_is_not_destroyed() -> None:
    """Of three images the first has the goal; the second has not; the third is not yet in the last stage."""
    settings = replace(RobustSettings(), largest_rate=0.11)
    images = photographs(3)
    weights = torch.ones_like(images[:, :1])
    classifier = Hidden(images, weights, 0.5)
    method, state = started(settings, classifier, images, torch.ones(3, dtype=torch.int64))
    field = torch.full_like(weights, -1)
    field[0, :, :, : WIDTH * 3 // 4] = 1
    field[1, :, :, : WIDTH // 8] = 1
    state |= {"field": field, "stage": torch.tensor([DETAIL, DETAIL, BOUNDARY]), "previous": field > 0}
    scheduled = torch.full((3,), 0.03, dtype=torch.float64)
    held = 1.0
    for step in range(16):
        state["step"].fill_(step)
        if step == 10:
            # From now on the second has the goal too, though its mask is not crisp.
            state["field"][1] = field[0]
            state["field"][1, :, : HEIGHT // 10] = 0.01
        objective = method.objective(classifier, dict(state), frozenset({BOUNDARY, DETAIL}))
        assert objective.isfinite().all()
        held = held * settings.yields if step < 10 else min(1, held / settings.yields)
        torch.testing.assert_close(state["hold"], torch.tensor([1, held, 1], dtype=torch.float64))
        done = state["done"].tolist()
        # Without the goal nothing is done, and before the mask is sharp neither.
        assert done == [step >= settings.ramp, False, False]
        expected = [0.03, min(0.11, 0.03 * held**-0.5), 0.03]
        assert method.rates(state, scheduled).tolist() == pytest.approx(
            [0 if over else rate for rate, over in zip(expected, done, strict=True)]
        )
    assert settings.yields**10 < held < 1


def test_a_mask_that_moves_or_is_not_crisp_is_not_done() -> None:
    settings = RobustSettings()
    images = photographs(3)
    weights = torch.ones_like(images[:, :1])
    method, state = started(settings, Hidden(images, weights, 0.5), images, torch.ones(3, dtype=torch.int64))
    field = torch.full_like(weights, -1)
    field[:, :, :, : WIDTH * 3 // 4] = 1
    previous = field > 0
    previous[0, :, : round(2 * settings.moved * HEIGHT)] = False
    # In a tenth of the image the mask is near a half.
    field[1, :, : HEIGHT // 10] = 0.01
    previous[1] = field[1] > 0
    state |= {"field": field, "stage": torch.full((3,), DETAIL), "previous": previous}
    state["step"].fill_(settings.ramp)
    method.objective(Hidden(images, weights, 0.5), state, frozenset({DETAIL}))
    assert state["done"].tolist() == [False, False, True]
    # The first rests from now on.
    method.objective(Hidden(images, weights, 0.5), state, frozenset({DETAIL}))
    assert state["done"].tolist() == [True, False, True]
