"""What every structure supports: asked of each one, and told in the table of docs/structures.md.

``PYTHONPATH=tests python -m contract.test_support`` writes the table.
"""

import warnings
from pathlib import Path

import numpy as np
import oracle
import pytest
import torch
from cases import clusters, punched

import mixtura
from mixtura import GaussianMixture
from mixtura.covariance import STRUCTURES
from mixtura.data import Array
from mixtura.native import runs
from mixtura.native.library import library

PAGE = Path(__file__).parents[2] / "docs" / "structures.md"
BEGIN, END = "<!-- support -->\n", "<!-- /support -->"
X, _ = clusters(np.random.default_rng(1), 120, 3, 2)


def fitted(name, x=X, **given):
    weight = given.pop("sample_weight", None)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        model = GaussianMixture(3, covariance_type=name, init_params="kmeans", random_state=0, **given)
        return model.fit(x, sample_weight=weight)


def weights(name):
    """A row of weight two is a row that is there twice."""
    twice = fitted(name, np.concatenate([X, X[:40]]))
    weighed = fitted(name, X, sample_weight=1.0 + (np.arange(len(X)) < 40))
    return abs(weighed.loglik_ - twice.loglik_) < 1e-4


def gaps(name):
    """Missing values are integrated out."""
    model = fitted(name, punched(X, 0.1, 1), missing="em")
    return bool(np.isfinite(model.loglik_)) and model.status_ == "converged"


def float32(name):
    """Single precision in, single precision out."""
    model = fitted(name, X.astype(np.float32))
    return model.means_.dtype == np.float32 and abs(model.loglik_ - fitted(name).loglik_) < 0.05


def sources(name):
    """Rows that come in blocks."""
    return abs(fitted(name, Array(X)).loglik_ - fitted(name).loglik_) < 1e-3


def many(name):
    """Many small fits at once."""
    found = mixtura.fit_many([X, X[::2]], 3, name, random_state=0)
    return found.loglik_.shape == (2,) and bool((found.status_ == "converged").all())


def saved(name, folder):
    """Saved, loaded, the same."""
    model = fitted(name)
    model.save(folder / f"{name}.safetensors")
    again = mixtura.load(folder / f"{name}.safetensors")
    return np.array_equal(again.score_samples(X), model.score_samples(X))


def follows(name):
    """The widest of three kinds of maps after which the fit is the same, moved: what a structure is equivariant to."""
    rng = np.random.default_rng(2)
    sigma = np.stack([a @ a.T for a in rng.normal(size=(3, 3, 3))])
    n = np.array([20.0, 30.0, 50.0])
    unit = STRUCTURES[name].unit(1, 3, 3)

    def found(matrices):
        return unit.nearest(torch.tensor(n)[None], torch.tensor(matrices)[None], mixtura.covariance.Floor()).dense()[0]

    def kept(a):
        moved, want = found(a @ sigma @ a.T), torch.tensor(a) @ found(sigma) @ torch.tensor(a).mT
        return bool(torch.allclose(moved, want.expand_as(moved), rtol=0, atol=1e-4 * float(want.abs().max())))

    columns, turn = np.diag([1.0, 3.0, 0.2]), np.linalg.qr(rng.normal(size=(3, 3)))[0]
    return "every affine map" if kept(columns @ turn) else "units" if kept(columns) else "turns" if kept(turn) else ""


def compiled(name):
    """Runs of few rows are compiled from start to end."""
    model = fitted(name).mixture_
    return runs.known(model, torch.float64, torch.device("cpu"))


WORDS = {True: "yes", False: "no"}


def line(name, folder):
    """What one structure supports, in the columns of HEAD."""
    entry = STRUCTURES[name]
    asked = [weights(name), gaps(name), float32(name), sources(name), many(name), saved(name, folder), compiled(name)]
    count = oracle.COUNT[name](3, 4)
    assert entry.unit(1, 3, 4).n_parameters() == count
    shown = "×".join(map(str, entry.published_shape(3, 4))) or "a number"
    own = "" if entry.name == entry.code else entry.name
    return [entry.code, own, str(count), shown, follows(name), *(WORDS[each] for each in asked)]


HEAD = [
    *("code", "name", "parameters, K=3, D=4", "`covariances_`, K=3, D=4", "follows"),
    *("weights", "missing values", "float32", "sources", "`fit_many`", "saved", "compiled runs"),
]


def told():
    """The lines of the table in the page, by their codes."""
    text = PAGE.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0]
    lines = [[cell.strip() for cell in row.strip("| ").split("|")] for row in text.strip().splitlines()]
    assert lines[0] == HEAD
    return {cells[0]: cells for cells in lines[2:]}


def test_the_table_has_every_structure():
    assert list(told()) == [entry.code for entry in STRUCTURES.values()]


@pytest.mark.skipif(library().handle is None, reason=f"SKIPPED: the table is of a build with {library()}")
@pytest.mark.parametrize("name", list(STRUCTURES))
def test_every_structure_supports_what_the_table_says(name, tmp_path):
    assert line(name, tmp_path) == told()[STRUCTURES[name].code]
    assert "no" not in line(name, tmp_path)


def main():
    """Write the table."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        rows = [HEAD, ["---"] * len(HEAD), *(line(name, Path(folder)) for name in STRUCTURES)]
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    PAGE.write_text(before + BEGIN + table + END + rest.split(END)[1], encoding="utf-8")


if __name__ == "__main__":
    main()
