"""From proposals to candidates for summaries: pooled features, matching, pruning, clusters."""

import numpy as np
import torch
from drawn_parts import CELL, DEPTH, GRID, draw

from visual_summaries.pipeline.summarize.candidates import candidate_of_boxes
from visual_summaries.pipeline.summarize.clustering import cluster_edges
from visual_summaries.pipeline.summarize.conv_descriptors import conv_descriptors
from visual_summaries.pipeline.summarize.pair_scores import Matching, match_pairs
from visual_summaries.pipeline.summarize.similarity import (
    BestScores,
    ImageProposals,
    class_edges,
    salient_shares,
    survivors,
)

SIDE = GRID * CELL
COUNT = 8


def test_clusters_of_proposals_are_the_parts_of_a_class() -> None:
    generator = np.random.default_rng(3)
    patterns = {name: generator.normal(size=(5, 5, DEPTH)) for name in ("head", "tail")}
    drawn = draw(patterns, COUNT, moving=4, seed=5, mirrored=False)
    images, truth = [], {}
    for number in range(COUNT):
        boxes = []
        for name in patterns:
            row, column = np.argwhere(drawn.truth[name][number])[0]
            truth[name, number] = [CELL * column, CELL * row, CELL * (column + 5), CELL * (row + 5)]
            # The part itself, and a proposal that is much like it: one of the two is redundant.
            boxes += [truth[name, number], [*truth[name, number][:2], CELL * (column + 5), CELL * (row + 4)]]
        corners = generator.integers(0, SIDE - 30, (12, 2))
        boxes = np.array([*boxes, *np.concatenate([corners, corners + generator.integers(15, 30, (12, 2))], axis=1)])
        boxes = boxes[generator.permutation(len(boxes))].astype(np.float32)
        features = torch.from_numpy(conv_descriptors(drawn.features[number], boxes, (SIDE, SIDE)))
        on_mask = salient_shares(boxes, drawn.masks[number]) > 0.75
        images.append(ImageProposals(torch.from_numpy(boxes), features, on_mask))

    pairs = [(a, b) for a in range(COUNT) for b in range(a, COUNT)]
    found = match_pairs(images, pairs, Matching(side=SIDE))
    fates = [
        survivors(image.boxes.numpy(), image.on_mask, found.best.get(number, BestScores(int(image.on_mask.sum()))))
        for number, image in enumerate(images)
    ]
    blocks = [(a, b, block) for (a, b), block in zip(pairs, found.blocks, strict=True)]
    edges, starts = class_edges(blocks, fates)
    exemplar = cluster_edges(edges.first, edges.second, edges.scores, int(starts[-1])).exemplar

    owner = np.repeat(np.arange(COUNT), np.diff(starts))
    kept = [image.boxes.numpy()[fate.on_mask[fate.kept]] for image, fate in zip(images, fates, strict=True)]
    box = np.concatenate(kept)
    candidates = []
    for one in np.unique(exemplar[exemplar >= 0]):
        members = np.flatnonzero(exemplar == one)
        candidates.append(candidate_of_boxes("proposals", owner[members], box[members], (SIDE, SIDE), GRID))
    largest = sorted(candidates, key=len)[-2:]
    for name in patterns:
        own = [part for part in largest if drawn.found(part, name) >= 0.5]
        assert len(own) == 1, name
        assert len(own[0]) >= COUNT - 1
        for number, place in zip(own[0].images, own[0].boxes, strict=True):
            # Either of the two proposals that are the part: the smaller has four fifths of the larger's area.
            x0, y0, x1, y1 = truth[name, number]
            assert place.tolist() in ([x0, y0, x1, y1], [x0, y0, x1, y1 - CELL])
