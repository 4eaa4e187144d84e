"""Grounds: rows with clusters, what a search for their optimum stands on, and mixtures that are stuck there."""

import numpy as np
import pytest
import torch
from cases import NAMES, onehot, parameters, tensor, to_mixture

import mixtura.moves as moving
from mixtura.covariance import STRUCTURES
from mixtura.data.array import Array
from mixtura.plan import Plan, ground_of
from mixtura.race import EFFORTS
from mixtura.rows import Rows
from mixtura.search import plain
from mixtura.start import mixture_from
from mixtura.stop import Still
from mixtura.survey import Sample, survey

EVERY = pytest.mark.parametrize("name", NAMES)
CLIMB = EFFORTS["standard"].climb
CPU = torch.device("cpu")


def pairs(rows=240, seed=0):
    """Four clusters in the plane, and their labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % 4
    centres = np.array([[0, 0], [0, 4], [20, 0], [20, 9]])
    return centres[labels] + rng.normal(size=(rows, 2)) * [1, 0.5], labels


def grounds(x, name="full", components=4, weight=None, seed=0, passes=2000):
    """What a search of some components stands on."""
    plan = Plan(
        structure=STRUCTURES[name],
        components=components,
        added=None,
        clip=True,
        stop=Still(),
        passes=passes,
        search=plain(lambda ground: None, "none"),
        last_step=False,
        ordered=True,
        seed=seed,
        device=CPU,
    )
    source = Array(x, None if weight is None else tensor(weight))
    facts = survey(source, seed)
    return ground_of(facts, Rows(source, origin=facts.mean), plan)


def looked(x, name="full", components=3, seed=1):
    """A mixture that fits nothing well, seen by rows that weigh differently, and the same as the oracle holds it."""
    rng = np.random.default_rng(seed)
    p = parameters(name, rng, components, x.shape[1], spread=3.0)
    weight = rng.uniform(0.5, 2, size=len(x))
    return moving.seen(to_mixture(name, p), Sample(tensor(x), tensor(weight))), p, weight


def shares(x, labels, ground):
    """(K, S), 1 where a row of the sample has a label."""
    at = [int(np.abs(x - row).sum(1).argmin()) for row in (ground.sample.x + ground.origin).numpy()]
    return onehot(labels[at], 4).T


def parted(x, labels, ground):
    """The mixture that labels of the rows give."""
    return mixture_from(tensor(shares(x, labels, ground))[None], ground.sample, ground.unit, ground.rule)


def stuck(x, ground):
    """Two components in one cluster, one for two: where EM alone stays."""
    return parted(x, np.where(x[:, 0] > 10, 0, np.where(x[:, 1] > 2, 1, 2 + (x[:, 0] > 0))), ground)
