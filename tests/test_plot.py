"""Pictures: what is on the axes, that it is right, and that nothing global is touched."""

import doctest
import importlib
import itertools
import pkgutil
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import polars as pl
import pyarrow
import pytest
import torch
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, Rectangle
from matplotlib.text import Text
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture as Theirs

from mixtura import GaussianMixture
from mixtura.apps import plot
from mixtura.apps.distinct import separation
from mixtura.apps.plot.canvas import noted
from mixtura.apps.plot.marginal import grid, marginal
from mixtura.apps.plot.matrix import broken
from mixtura.covariance import STRUCTURES

X = np.concatenate([np.random.default_rng(0).normal(c, 1, (60, 3)) for c in (0, 6, 12)])
MODEL = GaussianMixture(3, init_params="kmeans", random_state=0).fit(X)
LINE = GaussianMixture(3, init_params="kmeans", random_state=0).fit(X[:, :1])


def many(components, features=2, seed=1):
    """A mixture of many components with rows of it."""
    draw = np.random.default_rng(seed)
    model = GaussianMixture.from_parameters(
        np.full(components, 1 / components),
        draw.uniform(0, 30, (components, features)),
        draw.uniform(0.2, 1.5, (components, features)),
        "diag",
    )
    return model.sample(20 * components, random_state=0)[0], model


def clouds(ax):
    return [c for c in ax.collections if isinstance(c, PathCollection)]


def texts(ax):
    legend = ax.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


def numbers(ax):
    return [text.get_text() for text in ax.texts if text.get_text().isdigit()]


# ---- the palette


def test_many_components_look_different():
    looks = [plot.look(k) for k in range(56)]
    assert len({(seen.colour, seen.marker) for seen in looks}) == 56
    assert len({(seen.colour, seen.dashes) for seen in looks}) == 56
    for one, two in itertools.pairwise(looks):
        assert one.colour != two.colour
        assert one.marker != two.marker
        assert one.dashes != two.dashes
    assert plot.look(-1).colour == plot.NOISE


VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
"""How linear RGB is seen, at full severity: Machado, Oliveira & Fernandes (2009), IEEE TVCG 15, table 1."""


def lab(rgb):
    """CIE L*a*b* of linear RGB (sRGB primaries, white D65)."""
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = to_xyz @ np.clip(rgb, 0, 1) / np.array([0.95047, 1, 1.08883])
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", sorted(VISION))
def test_colours_are_told_apart_by_all_eyes(vision):
    rgb = np.array([to_rgb(colour) for colour in plot.COLOURS])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = [lab(VISION[vision] @ colour) for colour in linear]
    # About 2.3 is just noticeable side by side; five times that tells small symbols apart.
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 12
    # And none is lost on white paper (L* = 100).
    assert max(colour[0] for colour in seen) < 80


def test_a_component_looks_the_same_everywhere():
    rows, model = many(12)
    cloud = plot.clusters(rows, model)
    bars = plot.histogram(rows, model)
    matrix = plot.pairs(rows, model)
    for k in range(12):
        seen = plot.look(k)
        assert to_hex(clouds(cloud)[k].get_facecolor()[0]).upper() == seen.colour
        assert to_hex(clouds(matrix[1, 0])[k].get_facecolor()[0]).upper() == seen.colour
        fill = bars.collections[k]
        assert to_hex(fill.get_facecolor()[0]).upper() == seen.colour
        dashes = bars.lines[k]._unscaled_dash_pattern[1]
        assert tuple(dashes or ()) == seen.dashes == tuple(cloud.patches[2 * k]._unscaled_dash_pattern[1] or ())


# ---- scatter and clusters


def test_points_axes_and_title():
    ax = plot.scatter(X, features=(0, 2), title="before", names=["p", "q", "r"])
    (cloud,) = clouds(ax)
    np.testing.assert_allclose(cloud.get_offsets(), X[:, [0, 2]])
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("p", "r", "before")
    assert ax.get_legend() is None
    assert plot.scatter(X, size=7).collections[0].get_sizes().tolist() == [7]


def contained(ax, xy):
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    return left <= xy[:, 0].min() and xy[:, 0].max() <= right and low <= xy[:, 1].min() and xy[:, 1].max() <= high


def test_limits_contain_data_and_ellipses():
    for ax in (plot.clusters(X, MODEL), plot.density(X, MODEL), plot.uncertainty(X, MODEL), plot.pairs(X, MODEL)[1, 0]):
        assert contained(ax, X[:, :2])
        for patch in ax.patches:
            assert contained(ax, patch.get_patch_transform().transform(patch.get_path().vertices))


def test_colours_follow_the_prediction():
    ax = plot.clusters(X, MODEL)
    labels = MODEL.predict(X)
    for k, cloud in enumerate(clouds(ax)):
        np.testing.assert_allclose(cloud.get_offsets(), X[labels == k][:, :2])
        assert to_hex(cloud.get_facecolor()[0]).upper() == plot.COLOURS[k]
    assert texts(ax) == numbers(ax) == ["0", "1", "2"]
    assert noted(ax) == "ellipses at 1 and 2 sd"


@pytest.mark.parametrize("name", sorted(STRUCTURES))
def test_ellipses_of_every_structure(name):
    features = (2, 0)
    model = GaussianMixture(3, covariance_type=name, init_params="kmeans", random_state=0).fit(X)
    dense = np.broadcast_to(model.mixture_.covariance.dense()[0].numpy(), (3, 3, 3))
    ax = plot.clusters(X, model, features=features)
    patches = [p for p in ax.patches if isinstance(p, Ellipse)]
    assert len(patches) == 6
    for k in range(3):
        inverse = np.linalg.inv(dense[k][np.ix_(features, features)])
        for patch, deviations in zip(patches[2 * k : 2 * k + 2], (1, 2), strict=True):
            curve = patch.get_patch_transform().transform(patch.get_path().vertices)
            # Vertices of the Bezier curve that lie on it: every third one.
            away = curve[::3] - model.means_[k][list(features)]
            np.testing.assert_allclose(np.einsum("ni,ij,nj->n", away, inverse, away), deviations**2, rtol=1e-3)


def test_known_labels_and_noise():
    labels = MODEL.predict(X)
    labels[:5] = -1
    ax = plot.clusters(X, MODEL, labels=labels, called={0: "young", 1: "old"})
    assert texts(ax) == ["noise", "young", "old", "2"]
    assert len(clouds(ax)[0].get_offsets()) == 5
    for wrong in (np.full(len(X), 3), np.repeat(["a", "b", "c"], 60)):
        with pytest.raises(ValueError, match=r"expected integers from −1 \(noise\) to 2"):
            plot.clusters(X, MODEL, labels=wrong)


def test_dropped_components_are_left_out():
    model = GaussianMixture.from_parameters([0.5, 0.0, 0.5], [[0, 0], [99, 99], [9, 9]], [1.0, 1.0, 1.0], "spherical")
    rows = model.sample(50, random_state=0)[0]
    ax = plot.clusters(rows, model)
    assert numbers(ax) == texts(ax) == ["0", "2"]
    assert len(ax.patches) == 4
    assert ax.get_xlim()[1] < 30
    assert [line.get_label() for line in plot.histogram(rows, model).lines] == ["0", "2", "sum"]
    assert numbers(plot.density(rows, model)) == ["0", "2"]
    assert plot.pairs(rows, model).shape == (2, 2)


@pytest.mark.parametrize("components", [1, 50])
def test_one_component_and_many(components):
    rows, model = many(components)
    ax = plot.clusters(rows, model)
    assert len(ax.patches) == 2 * components
    assert len(texts(ax)) == (0 if components == 1 else components)
    for other in (plot.density(rows, model), plot.uncertainty(rows, model)):
        assert sorted(map(int, numbers(other))) == list(range(components))
    assert len(plot.histogram(rows, model).lines) == components + (components > 1)


def test_keys_stand_beside_the_axes():
    rows, model = many(30)
    ax = plot.clusters(rows, model)
    ax.figure.canvas.draw()
    assert ax.get_legend().get_window_extent().x0 >= ax.get_window_extent().x1
    assert ax.get_legend().get_window_extent().x1 <= ax.figure.bbox.x1
    # Without a layout there is no room beside them: a short key goes inside.
    bare = Figure().subplots()
    plot.clusters(X, MODEL, bare)
    bare.figure.canvas.draw()
    assert bare.get_legend().get_window_extent().x1 <= bare.get_window_extent().x1


def test_labels_of_other_kinds():
    words = np.repeat(["b", "a", "c"], 60)
    whole = np.repeat([1, 0, 2], 60)
    for labels in (words, words.astype(object), list(words), pd.Series(words), pd.Categorical(words), pl.Series(words)):
        assert texts(plot.scatter(X, labels)) == ["a", "b", "c"]
    for labels in (whole, whole.astype(float), torch.from_numpy(whole), list(whole), whole.astype(np.uint8)):
        ax = plot.scatter(X, labels)
        assert texts(ax) == ["0", "1", "2"]
        np.testing.assert_allclose(clouds(ax)[0].get_offsets(), X[60:120, :2])
    assert texts(plot.scatter(X, whole > 0)) == ["False", "True"]
    assert texts(plot.scatter(X, np.where(words == "b", None, words))) == ["missing", "a", "c"]
    ax = plot.scatter(X, np.repeat([-1, 0, 1], 60), called=["first", "second"])
    assert texts(ax) == ["noise", "first", "second"]


def test_many_rows_are_sampled_and_it_is_said():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    ax = plot.clusters(X, MODEL, most=50, title="after")
    assert sum(len(cloud.get_offsets()) for cloud in clouds(ax)) == 50
    assert ax.get_title() == "after"
    assert "50 of 180 rows shown" in noted(ax)
    again = plot.clusters(X, MODEL, most=50)
    np.testing.assert_array_equal(clouds(ax)[0].get_offsets(), clouds(again)[0].get_offsets())
    for other in (plot.scatter(X, most=50), plot.density(X, MODEL, most=50), plot.uncertainty(X, MODEL, most=50)):
        assert "50 of 180 rows shown" in noted(other)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def tables():
    names = ["p", "q", "r"]
    yield pd.DataFrame(X, columns=names)
    yield pl.DataFrame(X, schema=names)
    yield pyarrow.table({name: X[:, j] for j, name in enumerate(names)})


@pytest.mark.parametrize("table", list(tables()), ids=["pandas", "polars", "pyarrow"])
@pytest.mark.parametrize("most", [50, 1000])
def test_tables(table, most):
    model = GaussianMixture(3, init_params="kmeans", random_state=0).fit(table)
    for picture in (plot.clusters, plot.density, plot.uncertainty):
        ax = picture(table, model, features=("r", 0), most=most)
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("r", "p")
    assert plot.histogram(table, model, feature="q").get_xlabel() == "q"
    assert plot.pairs(table, model, features=["r", "p"], most=most)[1, 0].get_ylabel() == "p"


def test_columns_that_are_not_drawn_need_not_be_numbers():
    frame = pd.DataFrame({"p": X[:, 0], "strain": "a", "q": X[:, 1]})
    assert plot.scatter(frame, features=("p", "q")).get_ylabel() == "q"
    with pytest.raises(ValueError, match="feature 'strain' is not numeric"):
        plot.scatter(frame)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_tensors(dtype, device):
    tensor = torch.from_numpy(X).to(device, dtype).requires_grad_()
    model = GaussianMixture(3, init_params="kmeans", random_state=0).fit(tensor.detach())
    for most in (50, 1000):
        ax = plot.clusters(tensor, model, most=most)
        assert ax.get_xlabel() == "x0"
    assert len(plot.histogram(tensor, model).lines) == 4
    assert len(plot.uncertainty(tensor.detach(), model).patches) == 6


def test_lists_and_the_model_names_what_rows_do_not():
    frame = pd.DataFrame(X, columns=["p", "q", "r"])
    model = GaussianMixture(3, init_params="kmeans", random_state=0).fit(frame)
    assert plot.scatter(X.tolist()).get_xlabel() == "x0"
    assert plot.density(None, model).get_xlabel() == "p"
    assert plot.histogram(X, model).get_xlabel() == "p"


def test_rows_with_gaps_are_counted():
    rows = X.copy()
    rows[:4, 0] = np.nan
    ax = plot.scatter(rows)
    assert len(clouds(ax)[0].get_offsets()) == 176
    assert noted(ax) == "4 rows with missing or infinite values left out"
    assert noted(plot.histogram(rows)) == noted(ax)


def test_axes_can_be_given():
    for picture in (plot.clusters, plot.density, plot.uncertainty, plot.histogram):
        ax = plot.new_axes()
        assert picture(X, MODEL, ax) is ax
    ax = plot.new_axes()
    assert plot.scatter(X, ax=ax) is plot.starts(MODEL, ax) is ax
    axes = plot.new_axes(3, 3)
    assert plot.pairs(X, MODEL, axes)[2, 1] is axes[2, 1]
    with pytest.raises(ValueError, match=r"ax has shape \(2,\), expected \(3, 3\)"):
        plot.pairs(X, MODEL, plot.new_axes(2))


# ---- density


def test_lines_hold_their_mass():
    rows, model = many(5, 3, seed=4)
    ax = plot.density(rows[:100], model, features=(2, 1), levels=(0.3, 0.9))
    flat = marginal(model, [2, 1])
    drawn = model.sample(40_000, random_state=1)[0][:, [2, 1]]
    height = flat.log_density(drawn)
    shades, lines = (c for c in ax.collections if hasattr(c, "levels"))
    # Of 40,000 draws a share has a standard error of at most 0.0025.
    shares = [(height >= level).mean() for level in lines.levels]
    np.testing.assert_allclose(shares, [0.9, 0.3], atol=0.01)
    assert shades.levels[-1] >= height.max()
    for path, level in zip(lines.get_paths(), lines.levels, strict=True):
        # Linear interpolation in a grid of 160 steps.
        np.testing.assert_allclose(flat.log_density(path.vertices), level, atol=0.1)
        assert contained(ax, path.vertices)


def test_level_of_one_gaussian():
    model = GaussianMixture.from_parameters([1.0], [[3.0, -1.0]], [[[2.0, 0.5], [0.5, 1.0]]])
    flat = marginal(model, [0, 1])
    masses = np.array([0.1, 0.5, 0.95])
    # log p at the ellipse that holds a mass m: log p(μ) + log(1 − m). Nodes are 1/20,000 of the mass apart.
    np.testing.assert_allclose(flat.level(masses)[0], flat.log_density(flat.mean)[0] + np.log1p(-masses), atol=2e-3)


def test_marginals_are_exact():
    for name in sorted(STRUCTURES):
        model = GaussianMixture(3, covariance_type=name, init_params="kmeans", random_state=0).fit(X)
        np.testing.assert_allclose(marginal(model, range(3)).log_density(X), model.score_samples(X), atol=1e-8)
        # The marginal in x₀ is the integral of the plane over x₁; equal steps are exact to rounding for a Gaussian.
        up = np.linspace(-15, 30, 3001)
        plane = np.exp(marginal(model, [0, 1]).log_density(np.stack([np.full_like(up, 5.0), up], 1)))
        line = np.exp(marginal(model, [0]).log_density(np.array([[5.0]])))[0]
        assert plane.sum() * (up[1] - up[0]) == pytest.approx(line, rel=1e-9)


def test_density_alone_and_its_bar():
    figure = plot.density(None, MODEL).figure
    assert [ax.get_ylabel() for ax in figure.axes] == ["x1", "log density (nats)"]
    assert {t.get_text() for t in figure.axes[1].texts} == {"50 %", "80 %", "95 %"}
    assert len(plot.density(None, MODEL, colorbar=False).figure.axes) == 1
    for levels in ([], [0.0], [0.5, 1.0]):
        with pytest.raises(ValueError, match="expected probabilities between 0 and 1"):
            plot.density(X, MODEL, levels=levels)


def test_narrow_components_are_not_missed():
    model = GaussianMixture.from_parameters([0.5, 0.5], [[0.0, 0], [100, 100]], [1.0, 1e-6], "spherical")
    ax = plot.density(None, model, levels=[0.5])
    (lines,) = (c for c in ax.collections if hasattr(c, "levels") and len(c.levels) == 1)
    (path,) = lines.get_paths()
    assert np.abs(path.vertices - 100).max() < 0.01
    x = grid(0, 10, np.array([5.0]), np.array([1e-3]), 20)
    assert (np.abs(x - 5) < 1e-3).sum() >= 5
    assert (np.diff(x) > 0).all()


# ---- uncertainty


def test_classes_of_uncertainty():
    rows = np.concatenate([X, X + 3])
    ax = plot.uncertainty(rows, MODEL)
    doubt = MODEL.uncertainty(rows)
    low, high = np.quantile(doubt, (0.75, 0.95))
    bold = [c for c in clouds(ax) if c.get_alpha() == 1]
    drawn = np.concatenate([c.get_offsets() for c in bold])
    expected = rows[doubt > high][:, :2]
    np.testing.assert_allclose(np.sort(drawn, 0), np.sort(expected, 0))
    assert sum(len(c.get_offsets()) for c in clouds(ax)) == len(rows)
    sizes = {c.get_alpha(): c.get_sizes()[0] for c in clouds(ax)}
    assert sizes[0.3] < sizes[0.75] < sizes[1.0]
    counts = [int(text.split("(")[1].rstrip(")")) for text in texts(ax)]
    assert counts == [(doubt <= low).sum(), ((doubt > low) & (doubt <= high)).sum(), (doubt > high).sum()]
    assert "75 and 95 % quantiles" in noted(ax)
    with pytest.raises(ValueError, match="expected two increasing numbers"):
        plot.uncertainty(X, MODEL, quantiles=(0.9, 0.5))


def test_certain_rows():
    assert texts(plot.uncertainty(*many(1))) == ["up to 0 (20)"]


# ---- histogram


def bars(ax):
    return [p for p in ax.patches if isinstance(p, Rectangle)]


def area(ax):
    return sum(bar.get_width() * bar.get_height() for bar in bars(ax))


@pytest.mark.parametrize("bins", ["auto", 7, np.array([-9.0, 0, 1, 5, 30])])
def test_area_is_one(bins):
    weight = np.random.default_rng(0).uniform(0, 2, len(X))
    assert area(plot.histogram(X, bins=bins)) == pytest.approx(1, abs=1e-12)
    ax = plot.histogram(X, bins=bins, sample_weight=weight)
    assert area(ax) == pytest.approx(1, abs=1e-12)
    first, last = bars(ax)[0], bars(ax)[-1]
    assert ax.get_xlim()[0] <= first.get_x() <= X[:, 0].min()
    assert ax.get_xlim()[1] >= last.get_x() + last.get_width() >= X[:, 0].max()


def test_curves_are_the_density():
    ax = plot.histogram(X[:, 0], LINE)
    *each, total = ax.lines
    x = total.get_xdata()
    density = np.exp(LINE.score_samples(x[:, None]))
    np.testing.assert_allclose(total.get_ydata(), density, rtol=1e-9, atol=1e-15)
    posterior = LINE.predict_proba(x[:, None])
    for k, line in enumerate(each):
        np.testing.assert_allclose(line.get_ydata(), density * posterior[:, k], rtol=1e-9, atol=1e-15)
    assert texts(ax) == ["0", "1", "2", "sum"]
    assert ax.get_ylim()[1] > max(density.max(), max(bar.get_height() for bar in bars(ax)))


def test_weights_count_rows():
    twice = plot.histogram(np.concatenate([X, X[:60]]), bins=9)
    weighed = plot.histogram(X, bins=9, sample_weight=np.repeat([2, 1, 1], 60))
    np.testing.assert_allclose([b.get_height() for b in bars(twice)], [b.get_height() for b in bars(weighed)])
    kept = plot.histogram(X, sample_weight=np.repeat([1, 0, 0], 60))
    assert kept.get_xlim()[1] < X[60:, 0].max()
    # Weights that sum to 1 do not coarsen the bars.
    assert len(bars(plot.histogram(X, sample_weight=np.full(180, 1 / 180)))) == len(bars(plot.histogram(X)))


def test_a_spike_leaves_the_axes_but_not_the_bars():
    spike = GaussianMixture.from_parameters([0.5, 0.5], [[0.0], [5.0]], [1.0, 1e-12], "spherical")
    ax = plot.histogram(X[:, 0], spike)
    tallest = max(bar.get_height() for bar in bars(ax))
    assert tallest < ax.get_ylim()[1] < 4 * tallest


@pytest.mark.parametrize("values", [[3.0, 3.0, 3.0], [5], [1e9, 1e9], np.arange(4)])
def test_few_values(values):
    assert area(plot.histogram(values)) == pytest.approx(1, abs=1e-9)


def test_series_bring_their_name():
    assert plot.histogram(pd.Series(X[:, 0], name="length")).get_xlabel() == "length"
    assert plot.histogram(pl.Series("length", X[:, 0])).get_xlabel() == "length"
    assert plot.histogram(torch.from_numpy(X[:, 0])).get_xlabel() == "x0"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"bins": 0}, "bins is 0, expected 'auto', a number of at least 1"),
        ({"bins": "many"}, "bins is 'many'"),
        ({"bins": [0, 1]}, "increasing edges that hold all values"),
        ({"sample_weight": [1, 2]}, "sample_weight"),
        ({"feature": 3}, "features names 3, expected indices from 0 to 2"),
    ],
)
def test_unusable_histograms(arguments, said):
    with pytest.raises(ValueError, match=said):
        plot.histogram(X, **arguments)
    with pytest.raises(ValueError, match="no finite value"):
        plot.histogram([np.nan, np.inf])


# ---- pairs


def test_pairs_are_laid_out():
    axes = plot.pairs(X, MODEL, names=["p", "q", "r"], title="all")
    assert axes.shape == (3, 3)
    for i, j in np.ndindex(3, 3):
        ax = axes[i, j]
        if j > i:
            assert not ax.axison
        elif i == j:
            assert area(ax) == pytest.approx(1, abs=1e-12)
            assert len(ax.lines) == 4
            assert ax.get_xlim() == axes[2, j].get_xlim()
        else:
            assert len(ax.patches) == 6
            np.testing.assert_allclose(
                np.sort(np.concatenate([c.get_offsets() for c in clouds(ax)]), 0), np.sort(X[:, [j, i]], 0)
            )
    assert [axes[2, j].get_xlabel() for j in range(3)] == ["p", "q", "r"]
    assert [axes[i, 0].get_ylabel() for i in range(3)] == ["", "q", "r"]
    assert axes[0, 0].figure.get_suptitle() == "all"
    assert texts(axes[0, 2]) == ["0", "1", "2"]


def test_of_many_features_the_telling_ones_are_drawn():
    draw = np.random.default_rng(0)
    wide = np.concatenate([draw.normal(size=(180, 2)), X, draw.normal(size=(180, 5))], 1)
    model = GaussianMixture(3, covariance_type="diag", init_params="kmeans", random_state=0).fit(wide)
    axes = plot.pairs(wide, model, most_features=3)
    assert [axes[2, j].get_xlabel() for j in range(3)] == ["x2", "x3", "x4"]
    assert "3 of 10 features: those in which the components differ most" in noted(axes[0, 2]).replace("\n", " ")
    assert separation(model)[2] > 0.9
    blind = plot.pairs(wide, labels=np.repeat(["a", "b", "c"], 60))
    assert blind.shape == (6, 6)
    assert "6 of 10 features: the first" in noted(blind[0, 5])
    assert texts(blind[0, 5]) == ["a", "b", "c"]
    with pytest.raises(ValueError, match="expected two or more"):
        plot.pairs(X, features=[1])


def test_long_names_are_broken():
    assert broken("od280/od315_of_diluted_wines").splitlines() == ["od280/od315_of_", "diluted_wines"]
    assert broken("short") == "short"
    assert broken("averyveryverylongname") == "averyveryverylongname"


# ---- starts


def test_a_line_for_every_start():
    model = GaussianMixture(3, n_init=4, init_params="random_from_data", random_state=0).fit(X)
    ax = plot.starts(model, title="starts")
    for at, start in enumerate(model.starts_):
        (line,) = (line for line in ax.lines if line.get_gid() == f"start {at}")
        np.testing.assert_array_equal(line.get_ydata(), start["lower_bounds"])
        np.testing.assert_array_equal(line.get_xdata(), np.arange(1, start["n_iter"] + 1))
        assert contained(ax, line.get_xydata())
    best = max(s["loglik"] for s in model.starts_)
    near = sum(best - s["loglik"] <= 0.05 for s in model.starts_)
    assert noted(ax).startswith(f"{near} of 4 starts run to the end reached the best")
    assert sum(line.get_marker() == "*" for line in ax.lines) == 1


def start(kind, status, loglik, bounds, stages):
    keys = ("kind", "status", "loglik", "n_iter", "lower_bounds", "stages")
    return dict(zip(keys, (kind, status, loglik, len(bounds), bounds, stages), strict=True))


class Raced(GaussianMixture):
    """A fit whose starts are known."""

    def __init__(self, told):
        super().__init__()
        self.mixture_, self.starts_ = MODEL.mixture_, told


TOLD = [
    start("kmeans", "dropped", np.nan, [-5.0, -4.0], [(50, 2)]),
    start("kmeans", "converged", -300.0, [-5.0, -4.0, -3.5, -3.0, -3.0], [(50, 2), (180, 1), (180, 2)]),
    start("whitened", "degenerate", -200.0, [-4.0, -2.0], [(180, 2)]),
    start("whitened", "max_iter", -310.0, [-4.5, -3.1], [(180, 2)]),
    start("random", "dropped", np.nan, [], []),
]


def test_a_race_is_told():
    ax = plot.starts(Raced(TOLD))
    drawn = [line.get_gid() for line in ax.lines]
    # The second has passes on a sample and then on all rows.
    assert [drawn.count(f"start {i}") for i in range(5)] == [1, 2, 1, 1, 0]
    (star,) = (line for line in ax.lines if line.get_marker() == "*")
    assert star.get_gid() == "start 1 end"
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (5, -3)
    sample, whole = (line for line in ax.lines if line.get_gid() == "start 1")
    assert sample.get_linewidth() < whole.get_linewidth()
    np.testing.assert_array_equal(whole.get_xdata(), [3, 4, 5])
    assert noted(ax) == "1 of 3 starts run to the end reached the best, −300.00 nats; 1 of 5 starts had no pass"
    assert {"the winner", "kmeans (2)", "whitened (2)", "random (1)", "dropped (2)", "on a sample"} <= set(texts(ax))
    first, other = (next(line for line in ax.lines if line.get_gid() == f"start {i}") for i in (0, 3))
    assert first._unscaled_dash_pattern != other._unscaled_dash_pattern


def test_moves_begin_where_their_parent_stood():
    race = [start("kmeans", "dropped", np.nan, [-5.0, -4.0, -3.0], [(180, 3)]) | {"parent": None, "begins": 0}]
    moves = [
        start("move", "dropped", np.nan, [-3.5, -2.9], [(180, 2)]) | {"parent": 0, "begins": 3},
        start("move", "dropped", np.nan, [-3.6], [(180, 1)]) | {"parent": 0, "begins": 3},
        start("move", "converged", -300.0, [-2.8, -2.5], [(180, 2)]) | {"parent": 1, "begins": 5},
    ]
    ax = plot.starts(Raced(race + moves))
    lines = {line.get_gid(): line for line in ax.lines}
    np.testing.assert_array_equal(lines["start 1"].get_xdata(), [4, 5])
    np.testing.assert_array_equal(lines["start 3"].get_xdata(), [6, 7])
    assert lines["start 3 end"].get_xdata()[0] == 7
    thick = {at for at in range(4) if lines[f"start {at}"].get_linewidth() > 2}
    assert thick == {0, 1, 3}, "the winner's line goes back to the start that raced"
    assert noted(ax).startswith("local search: 2 of 3 moves led to the best; best: −300.00 nats")


def test_every_start_unsound_and_none_run():
    assert "best: −200.00 nats" in noted(plot.starts(Raced([TOLD[2]])))
    assert noted(plot.starts(Raced([TOLD[4]]))) == "1 of 1 starts had no pass"
    with pytest.raises(ValueError, match="made from parameters"):
        plot.starts(many(2)[1])


# ---- criteria


def table():
    return {
        "covariance_type": ["VVV", "VVV", "VVV", "EII", "EII", "EII"],
        "n_components": [3, 1, 2, 1, 2, 3],
        "bic": [-500.0, 30.0, 20.0, 40.0, 21.5, np.nan],
        "status": ["degenerate", "converged", "converged", "converged", "max_iter", "converged"],
    }


@pytest.mark.parametrize("kind", [dict, pd.DataFrame, pl.DataFrame])
def test_criteria(kind):
    ax = plot.criteria(kind(table()), title="choice")
    assert ax.get_ylabel() == "BIC (lower is better)"
    curves = {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}
    np.testing.assert_array_equal(curves["VVV"].get_xydata(), [[1, 30], [2, 20], [3, np.nan]])
    np.testing.assert_array_equal(curves["EII"].get_xydata(), [[1, 40], [2, 21.5], [3, np.nan]])
    marks = {line.get_gid(): line.get_xydata().tolist() for line in ax.lines if line.get_gid() in ("best", "near")}
    assert marks == {"best": [[2, 20]], "near": [[2, 21.5]]}
    crosses = [line for line in ax.lines if line.get_gid() == "unsound"]
    assert [len(line.get_xdata()) for line in crosses] == [1, 1]
    assert len({float(line.get_xdata()[0]) for line in crosses}) == 2
    assert noted(ax) == "best: VVV with 2 components, BIC 20.0"
    assert texts(ax) == ["VVV", "EII", "the best", "within 2 of it", "not sound"]
    assert ax.get_ylim()[0] > -400


def test_of_many_structures_those_near_the_best_have_names():
    codes = [entry.code for entry in STRUCTURES.values()]
    k = np.tile([1, 2, 3], 14)
    # The fifth is best, the ninth 1.5 above it, the second 8; all others are far behind.
    offset = np.full(14, 60.0)
    offset[[4, 8, 1]] = 0, 1.5, 8
    value = (1000 - 300 * (k > 1) + 5 * (k == 3)) + np.repeat(offset + np.arange(14) / 100, 3)
    many = {"covariance_type": np.repeat(codes, 3), "n_components": k, "bic": value, "status": ["converged"] * 42}
    ax = plot.criteria(many)
    assert texts(ax) == [codes[4], codes[8], codes[1], "11 others", "the best", "within 2 of it"]
    grey = [line for line in ax.lines if line.get_gid() == "other"]
    assert {line.get_label() for line in grey} == {f"_{code}" for at, code in enumerate(codes) if at not in (4, 8, 1)}
    low, high = ax.get_ylim()
    above = int((value > high).sum())
    assert low < value.min()
    assert 14 <= above <= 21, "models of one component are far above, and at least half is shown"
    assert noted(ax).endswith(f"{above} of 42 models lie above")
    unsound = plot.criteria({**many, "status": ["degenerate"] * 41 + ["converged"]})
    assert texts(unsound)[0] == codes[13]
    assert plot.criteria({**many, "status": ["failed"] * 42}).get_ylabel() == "BIC (lower is better)"


def test_a_ratio_has_no_models_within_reach():
    ratio = {**table(), "nec": [0.1, 1.0, 0.05, 1.0, 0.06, np.nan]}
    ax = plot.criteria(ratio, criterion="nec")
    assert not [line for line in ax.lines if line.get_gid() == "near"], "2 is no distance where all is below 1"
    assert noted(ax) == "best: VVV with 2 components, NEC 0.05"


def test_criteria_of_nothing_sound_and_of_bad_tables():
    nothing = {**table(), "status": ["failed"] * 6}
    assert noted(plot.criteria(nothing)) == "no model is sound"
    with pytest.raises(ValueError, match="table has no column 'aic', expected one: its columns are covariance_type"):
        plot.criteria(table(), criterion="aic")
    with pytest.raises(ValueError, match="table has no column 'aic'"):
        plot.criteria(pl.DataFrame(table()), criterion="aic")
    with pytest.raises(ValueError, match=r"have \[6, 6, 2, 6\] rows"):
        plot.criteria({**table(), "bic": [1.0, 2.0]})


def test_a_search_brings_its_table_and_its_best():
    class Search:
        table_ = table()
        best_estimator_ = MODEL

    assert "best: VVV" in noted(plot.criteria(Search()))
    assert len(plot.clusters(X, Search()).patches) == 6


# ---- what is refused, and what is left alone


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"features": (0, 3)}, "features names 3, expected indices from 0 to 2"),
        ({"features": ("p", "z")}, "features names 'z', but no feature"),
        ({"features": (0, 1, 2)}, "expected 2 indices or names"),
        ({"features": "pq"}, "expected 2 indices or names"),
        ({"labels": [0, 1]}, "labels has 2 entries, expected 180"),
        ({"names": ["a"]}, "names has 1 entries, expected 3"),
        ({"most": 0}, "most is 0, expected at least 1"),
        ({"labels": np.repeat([0, 1, 2], 60), "called": ["a"]}, "called has 1 names, but there is a component 1"),
    ],
)
def test_unusable_arguments(arguments, said):
    with pytest.raises(ValueError, match=said):
        plot.scatter(X, **{"names": ["p", "q", "r"], **arguments})


def test_unusable_rows():
    for picture in (plot.scatter, plot.pairs):
        with pytest.raises(ValueError, match="histogram"):
            picture(X[:, :1])
    with pytest.raises(ValueError, match="histogram"):
        plot.clusters(X[:, :1], LINE)
    with pytest.raises(ValueError, match=r"X has shape \(0, 2\)"):
        plot.scatter(np.empty((0, 2)))
    with pytest.raises(ValueError, match="X is no table"):
        plot.scatter([[1, 2], [3]])
    with pytest.raises(ValueError, match="X has 2 features, expected the 3"):
        plot.clusters(X[:, :2], MODEL)


@pytest.mark.parametrize("picture", [plot.clusters, plot.density, plot.uncertainty, plot.histogram, plot.pairs])
def test_unusable_models(picture):
    with pytest.raises(NotFittedError):
        picture(X, GaussianMixture(3))
    with pytest.raises(TypeError, match="from_parameters"):
        picture(X, Theirs(1).fit(X))
    with pytest.raises(TypeError, match="model is a int"):
        picture(X, 3)


def test_without_matplotlib(monkeypatch):
    for name in ("matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, name, None)
    calls = [
        lambda: plot.scatter(X),
        lambda: plot.clusters(X, MODEL),
        lambda: plot.density(X, MODEL),
        lambda: plot.uncertainty(X, MODEL),
        lambda: plot.histogram(X, MODEL),
        lambda: plot.pairs(X, MODEL),
        lambda: plot.starts(MODEL),
        lambda: plot.criteria(table()),
    ]
    for call in calls:
        with pytest.raises(ModuleNotFoundError, match=r'pip install "mixtura\[plot\]"'):
            call()


def test_names_are_no_mathematics():
    """Names come from files: a dollar is a dollar, on the axes, in keys and in notes."""
    names = ["$x", "a_$b$", r"$\frac{$"]
    pictures = [
        plot.scatter(X, ["$a$"] * len(X), names=names),
        plot.clusters(X, MODEL, names=names, called=["$x^2$", "$", r"$\nothing$"]),
        plot.pairs(X, MODEL, names=names, called=["$x^2$", "$", r"$\nothing$"]),
        plot.histogram(X, MODEL, feature=2, names=names),
    ]
    for axes in pictures:
        plot.credit(axes, r"$\unknown$")
        figure = (axes.flat[0] if isinstance(axes, np.ndarray) else axes).figure
        figure.canvas.draw()
        named = [text for text in figure.findobj(Text) if "$" in text.get_text()]
        assert len(named) >= 2
        assert not any(text.get_parse_math() for text in named)


def test_nothing_global_changes(tmp_path):
    before = dict(mpl.rcParams)
    plot.clusters(X, MODEL).figure.savefig(tmp_path / "p.png")
    plot.density(X, MODEL).figure.savefig(tmp_path / "p.pdf")
    assert dict(mpl.rcParams) == before
    program = (
        "import sys, numpy as np; from mixtura import GaussianMixture, plot\n"
        "assert 'matplotlib' not in sys.modules\n"
        "x = np.arange(12.0).reshape(6, 2) ** 2\n"
        "gm = GaussianMixture.from_parameters([1.0], [[30.0, 40.0]], [900.0], 'spherical')\n"
        "state, torch = np.random.get_state()[1].tolist(), sys.modules['torch']\n"
        "theirs = torch.get_rng_state()\n"
        "plot.scatter(x), plot.clusters(x, gm), plot.density(x, gm), plot.uncertainty(x, gm), plot.histogram(x, gm)\n"
        "plot.pairs(x, gm)[0, 0].figure.canvas.draw()\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "assert np.random.get_state()[1].tolist() == state and torch.equal(theirs, torch.get_rng_state())"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(plot.__path__)])
def test_examples_run(name):
    found = doctest.testmod(importlib.import_module(f"mixtura.apps.plot.{name}"))
    assert found.failed == 0


def test_every_public_function_has_an_example():
    for name in plot.__all__:
        value = getattr(plot, name)
        if callable(value) and not isinstance(value, type):
            assert ">>>" in value.__doc__, name
