"""Pictures: what is on the axes, and that nothing global is touched."""

import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.patches import Ellipse

from mixtura import GaussianMixture
from mixtura.apps import plot
from mixtura.covariance import STRUCTURES

X = np.concatenate([np.random.default_rng(0).normal(c, 1, (60, 3)) for c in (0, 6, 12)])


def clouds(ax):
    return [c for c in ax.collections if isinstance(c, PathCollection)]


def test_points_axes_and_title():
    ax = plot.scatter(X, features=(0, 2), title="before", names=["p", "q", "r"])
    (cloud,) = clouds(ax)
    np.testing.assert_allclose(cloud.get_offsets(), X[:, [0, 2]])
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("p", "r", "before")
    assert cloud.get_sizes().tolist() == [30]
    assert ax.get_legend() is None


def test_limits_contain_data_and_ellipses():
    model = GaussianMixture(3, random_state=0).fit(X)
    ax = plot.scatter(X, model=model)
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    assert left < X[:, 0].min() < X[:, 0].max() < right
    assert low < X[:, 1].min() < X[:, 1].max() < high
    for patch in ax.patches:
        curve = patch.get_patch_transform().transform(patch.get_path().vertices)
        assert left <= curve[:, 0].min() < curve[:, 0].max() <= right
        assert low <= curve[:, 1].min() < curve[:, 1].max() <= high


def test_colours_follow_the_prediction():
    model = GaussianMixture(3, random_state=0).fit(X)
    ax = plot.scatter(X, model=model)
    labels = model.predict(X)
    for k, cloud in enumerate(clouds(ax)[:3]):
        np.testing.assert_allclose(cloud.get_offsets(), X[labels == k][:, :2])
        assert to_hex(cloud.get_facecolor()[0]).upper() == plot.COLOURS[k]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["component 0", "component 1", "component 2"]


@pytest.mark.parametrize("name", sorted(STRUCTURES))
def test_ellipses_of_every_structure(name):
    features = (2, 0)
    model = GaussianMixture(3, covariance_type=name, random_state=0).fit(X)
    dense = np.broadcast_to(model.mixture_.covariance.dense()[0].numpy(), (3, 3, 3))
    ax = plot.scatter(X, model=model, features=features)
    patches = [p for p in ax.patches if isinstance(p, Ellipse)]
    assert len(patches) == 6
    for k in range(3):
        inverse = np.linalg.inv(dense[k][np.ix_(features, features)])
        for patch, deviations in zip(patches[2 * k : 2 * k + 2], (1, 2), strict=True):
            curve = patch.get_patch_transform().transform(patch.get_path().vertices)
            # Vertices of the Bezier curve that lie on it: every third one.
            away = curve[::3] - model.means_[k][list(features)]
            np.testing.assert_allclose(np.einsum("ni,ij,nj->n", away, inverse, away), deviations**2, rtol=1e-3)


def test_many_components_look_different():
    looks = [plot.look(k) for k in range(49)]
    assert len(set(looks)) == 49
    assert plot.look(-1).colour == plot.NOISE
    ax = plot.scatter(X, np.arange(len(X)) % 12)
    shapes = {cloud.get_paths()[0].vertices.shape for cloud in clouds(ax)}
    assert len(clouds(ax)) == 12
    assert len(shapes) > 1


def test_labels_of_other_kinds():
    ax = plot.scatter(X, np.repeat(["b", "a", "c"], 60))
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["a", "b", "c"]
    ax = plot.scatter(X, np.repeat([-1, 0, 1], 60), called=["first", "second"])
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["noise", "first", "second"]


def test_many_rows_are_sampled_and_it_is_said():
    model = GaussianMixture(3, random_state=0).fit(X)
    ax = plot.scatter(X, model=model, most=50, title="after")
    assert sum(len(cloud.get_offsets()) for cloud in clouds(ax)[:-1]) == 50
    assert ax.get_title() == "after\n50 of 180 rows shown"
    again = plot.scatter(X, model=model, most=50)
    np.testing.assert_array_equal(clouds(ax)[0].get_offsets(), clouds(again)[0].get_offsets())


def test_frames_and_tensors():
    frame = pd.DataFrame(X, columns=["p", "q", "r"])
    model = GaussianMixture(3, random_state=0).fit(frame)
    assert plot.scatter(frame, model=model, most=50).get_xlabel() == "p"
    tensor = torch.from_numpy(X)
    ax = plot.scatter(tensor, model=GaussianMixture(3, random_state=0).fit(tensor), most=50)
    assert ax.get_xlabel() == "x0"


def test_axes_can_be_given():
    ax = plot.new_axes()
    assert plot.scatter(X, ax=ax) is ax


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"features": (0, 3)}, "features names 3, expected indices from 0 to 2"),
        ({"labels": [0, 1]}, "labels has 2 entries, expected 180"),
        ({"names": ["a"]}, "names has 1 entries, expected 3"),
    ],
)
def test_unusable_arguments(arguments, said):
    with pytest.raises(ValueError, match=said):
        plot.scatter(X, **arguments)


def test_one_feature_is_refused():
    with pytest.raises(ValueError, match="histogram"):
        plot.scatter(X[:, :1])


def test_without_matplotlib(monkeypatch):
    for name in ("matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "mixtura\[plot\]"'):
        plot.scatter(X)


def test_nothing_global_changes(tmp_path):
    before = dict(mpl.rcParams)
    model = GaussianMixture(3, random_state=0).fit(X)
    plot.scatter(X, model=model).figure.savefig(tmp_path / "p.png")
    assert dict(mpl.rcParams) == before
    program = (
        "import sys, numpy as np; from mixtura.apps import plot\n"
        "assert 'matplotlib' not in sys.modules\n"
        "plot.scatter(np.eye(2))\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
