"""Drop-in: the function that spatial tools copy around to call R's mclust, without R."""

from collections.abc import Iterable
from numbers import Integral
from typing import Any

from mixtura.covariance import STRUCTURES, structure
from mixtura.estimator import GaussianMixture
from mixtura.scanpy.cells import select
from mixtura.scanpy.results import check_target
from mixtura.scanpy.tl import called, written
from mixtura.select import MixtureSearch


def mclust_R(  # noqa: N802
    adata: Any,
    num_cluster: Any,
    modelNames: Any = "EEE",
    used_obsm: str = "emb_pca",
    random_seed: Any = 2020,
    *,
    use_rep: str | None = None,
    n_dims: int | None = None,
    key_added: str = "mclust",
    effort: str = "standard",
    device: Any = None,
    copy: bool = False,
    **params: Any,
) -> Any:
    """Label cells as R's ``Mclust`` would, with no R: takes the place of the function of this name in spatial tools.

    Calls with the same positional arguments go on working. Nothing global is seeded: NumPy's and PyTorch's random
    states stay as they are, and the same ``random_seed`` gives the same labels. Labels are those of the likeliest
    mixture that is found, which may be likelier than the one that R's ``Mclust`` stops at; cluster 1 has most cells.

    Args:
        adata: N cells with an embedding.
        num_cluster: number of clusters G, or several, of which BIC takes the best.
        modelNames: one of mclust's fourteen names (``"EII"``, ``"VII"``, ``"EEI"``, ``"VEI"``, ``"EVI"``, ``"VVI"``,
            ``"EEE"``, ``"VEE"``, ``"EVE"``, ``"VVE"``, ``"EEV"``, ``"VEV"``, ``"EVV"``, ``"VVV"``; of one column
            ``"E"`` and ``"V"``), several, or None for all: BIC takes the best.
        used_obsm: key of the embedding in ``adata.obsm``, (N, D).
        random_seed: seed of all draws.
        use_rep: another name of ``used_obsm``.
        n_dims: use the first so many columns of it; None is all.
        key_added: what the results are called.
        effort: how hard to look for the optimum, as in :class:`mixtura.GaussianMixture`.
        device: where to compute, as there.
        copy: return a copy, and leave ``adata`` as it is.
        **params: further parameters of :class:`mixtura.GaussianMixture`.

    Returns:
        ``adata``, or the copy: ``obs["mclust"]`` are categories 1 … G, which are integers, and beside them is what
        :func:`mixtura.scanpy.tl.gaussian_mixture` writes. Column g − 1 of ``obsm["mclust_posterior"]`` is cluster g.

    Raises:
        ValueError: a parameter or the cells cannot be used.

    Examples:
        >>> import anndata, numpy as np
        >>> from mixtura.scanpy import mclust_R
        >>> draw = np.random.default_rng(0)
        >>> cells = anndata.AnnData(obsm={"emb_pca": draw.normal(size=(60, 2)) + 9 * (np.arange(60)[:, None] < 20)})
        >>> mclust_R(cells, 2).obs["mclust"].value_counts().to_dict()
        {1: 40, 2: 20}
    """
    check_target(adata, key_added, copy=copy)
    use_rep = used_obsm if use_rep is None else use_rep
    names = model_names(modelNames)
    cells = select(adata, use_rep, n_dims)
    chosen: dict[str, Any] = {"effort": effort, **params}
    single = isinstance(num_cluster, Integral) and len(names) == 1
    if single:
        model = GaussianMixture(
            int(num_cluster), covariance_type=names[0], random_state=random_seed, device=device, **chosen
        )
        model.fit(cells.source)
    else:
        template = GaussianMixture(device=device, **chosen)
        found = MixtureSearch(num_cluster, names or "all", estimator=template, random_state=random_seed)
        model = found.fit(cells.source).best_estimator_
    asked = {"num_cluster": num_cluster, "modelNames": "all" if modelNames is None else modelNames}
    told = called(use_rep=use_rep, n_dims=n_dims, random_seed=random_seed, **asked, **chosen)
    labels = range(1, model.n_components + 1)
    copied = written(adata, key_added, model, cells, told, names=labels, copy=copy)
    return copied if copy else adata


def model_names(given: Any) -> list[str]:
    """mclust's names of structures; none for None, which is all of them.

    Raises:
        ValueError: one is no name of mclust's; the message lists those there are.
    """
    if given is None:
        return []
    names = [given] if isinstance(given, str) or not isinstance(given, Iterable) else list(given)
    known = [*(entry.code for entry in STRUCTURES.values()), "E", "V"]
    wrong = [name for name in names if name not in known]
    if wrong or not names:
        raise ValueError(
            f"modelNames={given!r} is no model of mclust's: use {', '.join(known)}, several of them, or None for all"
        )
    return [structure(name).name for name in names]
