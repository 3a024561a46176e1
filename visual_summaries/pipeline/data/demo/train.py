"""Train the demo network so that it looks at the discriminative parts, and at any visible piece of them.

    python -m visual_summaries.pipeline.data.demo.train --output FILE

A picture's label follows from what can be seen of its discriminative parts after parts of the picture were blurred as
the crisp masks blur it (one 11×11-pixel Gaussian, σ = 10 pixels): its class if a whole patch of any such part is still
sharp, "none of these" if all of them are blurred or were never drawn. Deleting the class then takes blurring every
discriminative part entirely, and blurring anything else does nothing.
"""

from __future__ import annotations

import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from visual_summaries.pipeline.data.demo.network import DEMO_MEAN, DEMO_STD, DemoNetwork, fold_batch_norm
from visual_summaries.pipeline.data.demo.scenes import CLASS_NAMES, NETWORK_CLASS_NAMES, discriminative_parts, render
from visual_summaries.pipeline.explain.blur import gaussian_blur

BATCH = 64
FIRST_TRAINING_SEED = 1 << 40  # far from the numbers that anybody passes to render
NONE = len(CLASS_NAMES)
# For scores near 0.999: beyond, the softmax is so flat that the deletion game has no gradient.
LABEL_SMOOTHING = 0.001
SHARP_PATCH, RESIDUE_PATCH = 9, 4  # sides, in pixels


def draw_picture(class_index: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture uint8 [128,128,3] with its discriminative parts' map uint8 [128,128] (1, 2, …; 0: none).

    Of the discriminative parts a random subset is drawn: all of them in half of the pictures, none in a tenth.
    """
    class_name = CLASS_NAMES[class_index]
    names = discriminative_parts(class_name)
    random = np.random.Generator(np.random.PCG64([seed, class_index, 1]))
    chance = random.random()
    if chance < 0.1:
        without = list(names)
    elif chance < 0.6 or len(names) == 1:
        without = []
    else:
        without = random.permutation(names)[: random.integers(1, len(names))].tolist()
    scene = render(class_name, seed, without)
    numbers = np.zeros(len(scene.parts) + 1, dtype=np.uint8)
    telling = [index for index, part in enumerate(scene.parts, start=1) if part.discriminative]
    numbers[telling] = range(1, len(telling) + 1)
    return scene.image, numbers[scene.part_map]


def draw_set(images_per_class: int, first_seed: int, workers: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures uint8 [N,3,128,128], part maps uint8 [N,1,128,128], class indices int64 [N]."""
    labels = np.repeat(np.arange(len(CLASS_NAMES)), images_per_class).tolist()
    seeds = [first_seed + number for number in range(images_per_class)] * len(CLASS_NAMES)
    with ProcessPoolExecutor(workers) as pool:
        images, maps = zip(*pool.map(draw_picture, labels, seeds, chunksize=25), strict=True)
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    return pixels, torch.from_numpy(np.stack(maps)).unsqueeze(1), torch.tensor(labels)


def blobs(count: int, generator: torch.Generator) -> Tensor:
    """Soft-edged random regions [B,1,128,128] in [0,1] that cover anything between little and most of the picture."""
    cells = int(torch.randint(5, 17, (), generator=generator))
    noise = torch.randn(count, 1, cells, cells, generator=generator)
    noise = functional.interpolate(noise, size=(128, 128), mode="bicubic", align_corners=False)
    level = torch.rand(count, 1, 1, 1, generator=generator) * 2.4 - 1.2
    sharpness = 2 + 10 * torch.rand(count, 1, 1, 1, generator=generator)
    return torch.sigmoid(sharpness * (noise - level))


def largest(values: Tensor, side: int, padding: int = 0) -> Tensor:
    """Maximum over side×side windows, stride 1, along rows and then along columns."""
    rows = functional.max_pool2d(values, (1, side), 1, (0, padding))
    return functional.max_pool2d(rows, (side, 1), 1, (padding, 0))


def covers(maps: Tensor, generator: torch.Generator) -> Tensor:
    """The discriminative parts [B,1,128,128], grown by up to 5 pixels and feathered."""
    grown = (maps > 0).float()
    growth = int(torch.randint(0, 6, (), generator=generator))
    feather = 2 * int(torch.randint(0, 4, (), generator=generator)) + 1
    if growth:
        grown = largest(grown, 2 * growth + 1, growth)
    return functional.avg_pool2d(grown, feather, 1, feather // 2, count_include_pad=False)


def windows(maps: Tensor, generator: torch.Generator) -> Tensor:
    """A soft-edged square [B,1,128,128] somewhere within a discriminative part of each picture that has one."""
    inside = (maps > 0).float().flatten(1) + 1e-9
    place = torch.multinomial(inside, 1, generator=generator)
    half = 5 + 6 * torch.rand(len(maps), 1, 1, 1, generator=generator)
    axis = torch.arange(128.0)
    dx = (axis.view(1, 1, 1, -1) - (place % 128).view(-1, 1, 1, 1)).abs()
    dy = (axis.view(1, 1, -1, 1) - (place // 128).view(-1, 1, 1, 1)).abs()
    return torch.sigmoid(2 * (half - torch.maximum(dx, dy)))


def spoil(images: Tensor, maps: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Blur parts of the pictures [B,3,128,128] (in [0,1]) and say what they still show [B].

    A third each of: regions anywhere; all discriminative parts; all but a window. A quarter of the pictures and
    those whose truth would be doubtful stay as they are.
    """
    count = len(images)
    kind = torch.rand(count, 1, 1, 1, generator=generator)
    cover = covers(maps, generator)
    anywhere = blobs(count, generator)
    hidden = torch.where(kind < 0.25, anywhere, cover)
    hidden = torch.where(kind > 0.5, hidden * (1 - windows(maps, generator)), hidden)
    also = torch.rand(count, 1, 1, 1, generator=generator) < 0.4
    hidden = torch.where((kind >= 0.25) & (kind <= 0.5) & also, torch.maximum(hidden, anywhere), hidden)
    hidden = torch.where(kind > 0.75, torch.zeros(()), hidden)
    kept = 1 - hidden

    part = (maps > 0).float()
    whole_patch = -largest(-(kept * part), SHARP_PATCH)
    sharp = whole_patch.flatten(1).amax(1) > 0.7
    residue = -largest(-(kept * part), RESIDUE_PATCH)
    share = (kept * part).sum((1, 2, 3)) / part.sum((1, 2, 3)).clamp(min=1)
    gone = (residue.flatten(1).amax(1) < 0.35) & (share < 0.12)
    mixed = kept * images + hidden * gaussian_blur(images, sigma=10.0, radius=5)
    doubtful = ~(sharp | gone)
    mixed = torch.where(doubtful.view(-1, 1, 1, 1), images, mixed)
    shown = torch.where(gone, torch.full_like(labels, NONE), labels)
    return mixed, shown


def normalize(images: Tensor) -> Tensor:
    """Pictures in [0,1] as the network takes them."""
    mean = torch.tensor(DEMO_MEAN).view(1, 3, 1, 1)
    return (images - mean) / torch.tensor(DEMO_STD).view(1, 3, 1, 1)


def train(images_per_class: int, epochs: int, seed: int, workers: int, log=print) -> torch.nn.Module:
    """Draw the training pictures, train, and return the network (batch normalization folded), in evaluation mode."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    started = time.monotonic()
    images, maps, labels = draw_set(images_per_class, FIRST_TRAINING_SEED * (seed + 1), workers)
    log(f"{len(images)} pictures drawn in {time.monotonic() - started:.0f} s")
    network = DemoNetwork(len(NETWORK_CLASS_NAMES), batch_norm=True).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3, weight_decay=0.01)
    steps = epochs * (len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps, pct_start=0.15)
    for epoch in range(epochs):
        network.train()
        order = torch.randperm(len(images), generator=generator)
        losses, hits, seen = 0.0, 0, 0
        for chosen in order[: len(order) // BATCH * BATCH].split(BATCH):
            batch = images[chosen].float() / 255
            with torch.no_grad():
                batch, shown = spoil(batch, maps[chosen], labels[chosen], generator)
            logits = network(normalize(batch).contiguous(memory_format=torch.channels_last))
            loss = functional.cross_entropy(logits, shown, label_smoothing=LABEL_SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses += float(loss.detach())
            hits += int((logits.argmax(1) == shown).sum())
            seen += len(shown)
        spent = time.monotonic() - started
        log(f"epoch {epoch + 1}/{epochs}: loss {losses * BATCH / seen:.4f}, right {hits / seen:.4f}, {spent:.0f} s")
    return fold_batch_norm(network.eval()).eval()


@torch.no_grad()
def clean_test(network: torch.nn.Module, images_per_class: int) -> tuple[float, float]:
    """Share of right answers and median score of the true class on complete pictures not used for training."""
    right, scores = [], []
    for index, class_name in enumerate(CLASS_NAMES):
        pictures = np.stack([render(class_name, (1 << 50) + number).image for number in range(images_per_class)])
        batch = normalize(torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255)
        probabilities = network(batch).softmax(1)
        right.append((probabilities.argmax(1) == index).float())
        scores.append(probabilities[:, index])
    return float(torch.cat(right).mean()), float(torch.cat(scores).median())


def main(arguments: list[str] | None = None) -> None:
    """Train, test and save the network; the command line."""
    program = "python -m visual_summaries.pipeline.data.demo.train"
    parser = argparse.ArgumentParser(prog=program, description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="the safetensors file to write")
    parser.add_argument("--images-per-class", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=7)
    parser.add_argument("--test-images-per-class", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that draw the pictures")
    settings = parser.parse_args(arguments)
    network = train(settings.images_per_class, settings.epochs, settings.seed, settings.workers)
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, settings.output)
    accuracy, score = clean_test(network, settings.test_images_per_class)
    print(f"{settings.output}: {accuracy:.1%} of new pictures right, median score {score:.5f}")


if __name__ == "__main__":
    main()
