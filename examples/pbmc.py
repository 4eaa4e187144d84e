"""Blood cells in an AnnData: choose, fit, merge and draw, beside the labels of their source and other clusterings.

python examples/pbmc.py [PICTURE]
"""

import sys
import warnings
from pathlib import Path

import anndata
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture

import mixtura.scanpy as mx
from mixtura import plot

DATA = Path(__file__).parent / "data" / "pbmc.h5ad"
CREDIT = "Data: 10x Genomics, CC BY 4.0; scanpy, BSD-3-Clause."
TRUTH = "bulk_labels"
DIMS, SEEDS = 10, 5


def leiden(cells: anndata.AnnData) -> list[str] | None:
    """Labels of scanpy's Leiden on the same columns; None, with a word on it, where it is not installed."""
    try:
        import igraph  # noqa: F401
        import scanpy as sc
    except ImportError as missing:
        print(f"Leiden: SKIPPED, {missing.name} is not installed.")
        return None
    other = cells.copy()
    sc.pp.neighbors(other, n_pcs=DIMS, use_rep="X_pca")
    sc.tl.leiden(other, flavor="igraph", n_iterations=2, directed=False)
    return list(other.obs["leiden"])


def main(picture: Path) -> None:
    """Fit the mixture of mclust_R's default, and say how well every clustering agrees with the labels."""
    cells = anndata.read_h5ad(DATA)
    truth = cells.obs[TRUTH]
    count = truth.nunique()
    x = cells.obsm["X_pca"][:, :DIMS]

    def agreement(labels: object) -> float:
        return float(adjusted_rand_score(truth, labels))

    print(f"{cells.n_obs} cells, the first {DIMS} of {cells.obsm['X_pca'].shape[1]} columns, {count} types of cells.")
    mx.tl.search(
        cells, range(2, 11), n_dims=DIMS, covariance_types=("tied", "full", "diag"), effort="quick", key_added="chosen"
    )
    chosen = cells.uns["chosen"]["model"]
    print(f"BIC takes {chosen['n_components']} components, {chosen['covariance_type']}.")
    mx.tl.merge(cells, key="chosen")
    print(f"Merged by entropy they make {cells.uns['chosen_merged']['n_clusters']} clusters.")

    mx.tl.search(
        cells,
        range(2, 11),
        n_dims=DIMS,
        covariance_types="full",
        criterion="stability",
        effort="quick",
        key_added="stable",
    )
    print(f"Refits agree best with their neighbours at {cells.uns['stable']['model']['n_components']} components.")

    mx.mclust_R(cells, count, "EEE", use_rep="X_pca", n_dims=DIMS, key_added="EEE")
    print(f"Adjusted Rand index beside {TRUTH}:")
    print(f"  mclust_R, EEE, {count} clusters    {agreement(cells.obs['EEE']):.2f}")
    theirs = [GaussianMixture(count, covariance_type="tied", random_state=seed).fit(x) for seed in range(SEEDS)]
    found = [agreement(model.predict(x)) for model in theirs]
    print(f"  scikit-learn, tied, {count}        {min(found):.2f} to {max(found):.2f} with {SEEDS} seeds")
    print(f"  BIC's choice                 {agreement(cells.obs['chosen']):.2f}")
    print(f"  its merged clusters          {agreement(cells.obs['chosen_merged']):.2f}")
    louvain = cells.obs["louvain"]
    print(f"  Louvain, kept in the file    {agreement(louvain):.2f} with {louvain.nunique()} clusters")
    if (graph := leiden(cells)) is not None:
        print(f"  Leiden, scanpy's defaults    {agreement(graph):.2f} with {len(set(graph))} clusters")
    ours, best = cells.uns["EEE"]["criteria"]["loglik"], max(model.score(x) for model in theirs) * len(x)
    print(f"Log likelihood: mclust_R {ours:.1f}, the best of scikit-learn's {best:.1f}.")

    left, middle, right = plot.new_axes(columns=3, width=5.4, height=4.4)
    groups = truth.cat.codes.to_numpy()
    named = {"names": ["umap 1", "umap 2"], "called": list(truth.cat.categories)}
    plot.scatter(cells.obsm["X_umap"], groups, left, title=TRUTH, **named)
    mx.pl.embedding(cells, "umap", "EEE", ax=(middle, right), title=f"mclust_R, {count} clusters")
    plot.credit(left, CREDIT)
    left.figure.savefig(picture, dpi=80, metadata={"Software": None}, pil_kwargs={"optimize": True})
    curve = mx.pl.criteria(cells, key="stable")
    plot.credit(curve, CREDIT)
    second = picture.with_stem(f"{picture.stem}-stability")
    curve.figure.savefig(second, dpi=80, metadata={"Software": None}, pil_kwargs={"optimize": True})
    print(f"The pictures are {picture} and {second}. {CREDIT}")


if __name__ == "__main__":
    with warnings.catch_warnings():
        # scikit-learn's defaults stop before they have converged, and say so.
        warnings.simplefilter("ignore")
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("pbmc.png"))
