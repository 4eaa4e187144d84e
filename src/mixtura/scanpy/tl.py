"""Tools: mixtures fitted to the cells of an AnnData, chosen, merged, and used to label other cells."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mixtura.apps.annotate import category_names, colours, plain, rebuilt
from mixtura.apps.store import load
from mixtura.estimator import GaussianMixture
from mixtura.fitted import FittedMixture
from mixtura.merging import Merged
from mixtura.merging import merge as merge_components
from mixtura.scanpy.cells import Cells, select
from mixtura.scanpy.results import (
    Labels,
    by_size,
    check_target,
    entries,
    labelled,
    put,
    told_of,
    told_under,
)
from mixtura.select import MixtureSearch

ARRAY = "an array"
"""Stands for one in a record."""

GIVEN = ("weights_init", "means_init", "precisions_init")
"""Parameters that say which component is which."""


def gaussian_mixture(
    adata: Any,
    n_components: int,
    use_rep: str = "X_pca",
    n_dims: int | None = None,
    key_added: str = "gmm",
    *,
    layer: str | None = None,
    mask_obs: Any = None,
    batch_key: str | None = None,
    sample_weight: Any = None,
    covariance_type: str = "full",
    effort: str = "standard",
    random_state: Any = 0,
    missing: str = "error",
    device: Any = None,
    progress: Any = False,
    copy: bool = False,
    **params: Any,
) -> Any:
    """Fit a mixture of Gaussians to cells, and label them.

    Everything is computed before anything is written: after an error or an interrupt the AnnData is as it was.

    Args:
        adata: N cells, in memory or backed by a file; the file itself is never changed. A view becomes an AnnData of
            its own when it is written to, as anndata has it.
        n_components: number of components K.
        use_rep: the rows: a key of ``adata.obsm``, (N, D), or ``"X"`` for ``adata.X``. Sparse rows are made dense a few
            thousand at a time.
        n_dims: use the first so many columns; None is all.
        key_added: what the results are called.
        layer: fit ``adata.layers[layer]`` in place of ``use_rep``.
        mask_obs: (N,) truth values, or the name of such a column of obs: other cells are neither fitted nor labelled.
        batch_key: a column of obs: every batch counts as much as every other one, whatever its number of cells. Cells
            get weights for it that sum to N. It is one mixture for all batches, and takes no difference between them
            away: do that in the embedding. Criteria are of the weighted likelihood; ``uns[key]["batches"]`` holds each
            component's share of each batch.
        sample_weight: (N,) weights of cells, or the name of a column of obs.
        covariance_type: the structure, as in :class:`mixtura.GaussianMixture`.
        effort: how hard to look for the optimum, as there.
        random_state: seed of all draws; the same seed gives the same labels.
        missing: ``"em"`` takes NaN for missing entries.
        device: where to compute, as there.
        progress: say how far it has come, as there.
        copy: return a copy with the results, and leave ``adata`` as it is.
        **params: further parameters of :class:`mixtura.GaussianMixture`, such as ``reg_covar`` or ``means_init``.

    Returns:
        None, or the copy. Written are ``obs[key]``, categories ``"0"``, ``"1"``, … by decreasing number of cells (in
        the order of ``means_init`` and its like where these are given), ``"noise"`` where a cell is of none;
        ``obs[key + "_uncertainty"]``, 1 − the largest posterior; ``obsm[key + "_posterior"]``, (N, K) in float32,
        unless that takes more than 1 GiB; ``uns[key]``: the call, the parameters, BIC, AIC and ICL (lower is better),
        status and seed; ``uns[key + "_colors"]``. :func:`mixtura.scanpy.model` makes the estimator of it again.

    Raises:
        ValueError: a parameter or the cells cannot be used.
        TypeError: ``adata`` is no AnnData.

    Examples:
        >>> import anndata, numpy as np
        >>> import mixtura.scanpy as mx
        >>> draw = np.random.default_rng(0)
        >>> cells = anndata.AnnData(obsm={"X_pca": draw.normal(size=(60, 2)) + 9 * (np.arange(60)[:, None] < 20)})
        >>> mx.tl.gaussian_mixture(cells, 2, covariance_type="tied")
        >>> cells.obs["gmm"].value_counts().to_dict()
        {'0': 40, '1': 20}
        >>> cells.obsm["gmm_posterior"].shape, sorted(cells.uns["gmm"]["criteria"])
        ((60, 2), ['aic', 'bic', 'icl', 'loglik', 'n', 'n_parameters'])
    """
    check_target(adata, key_added, copy=copy)
    place = {"use_rep": use_rep, "n_dims": n_dims, "layer": layer, "mask_obs": mask_obs, "batch_key": batch_key}
    place["sample_weight"] = sample_weight
    cells = select(adata, **place)
    chosen = {"covariance_type": covariance_type, "effort": effort, "missing": missing, **params}
    estimator = GaussianMixture(n_components, random_state=random_state, device=device, progress=progress, **chosen)
    estimator.fit(cells.source)
    told = called(n_components=n_components, random_state=random_state, **place, **chosen)
    return written(adata, key_added, estimator, cells, told, kept=any(name in params for name in GIVEN), copy=copy)


def search(
    adata: Any,
    n_components: Any = (1, 2, 3, 4, 5, 6, 7, 8, 9),
    use_rep: str = "X_pca",
    n_dims: int | None = None,
    key_added: str = "gmm",
    *,
    layer: str | None = None,
    mask_obs: Any = None,
    batch_key: str | None = None,
    sample_weight: Any = None,
    covariance_types: Any = "auto",
    criterion: str = "bic",
    effort: str = "standard",
    random_state: Any = 0,
    missing: str = "error",
    device: Any = None,
    progress: Any = False,
    copy: bool = False,
    **params: Any,
) -> Any:
    """Fit mixtures of several sizes and structures to cells, and label them by the best.

    What is written is that of :func:`gaussian_mixture`, and ``uns[key]["selection"]``: ``criterion``, ``table`` (a dict
    of columns, one entry a model) and ``best``, a row of it. Models lend each other starts, so that a range of sizes
    takes less than as many fits.

    Args:
        adata: as in :func:`gaussian_mixture`.
        n_components: numbers of components to try, or one.
        use_rep: as there.
        n_dims: as there.
        key_added: as there.
        layer: as there.
        mask_obs: as there.
        batch_key: as there.
        sample_weight: as there.
        covariance_types: structures to try, as in :class:`mixtura.MixtureSearch`.
        criterion: what chooses, as there.
        effort: as in :func:`gaussian_mixture`.
        random_state: as there.
        missing: as there.
        device: as there.
        progress: as there.
        copy: as there.
        **params: further parameters of :class:`mixtura.GaussianMixture`, for every fit.

    Returns:
        None, or the copy.

    Raises:
        ValueError: a parameter or the cells cannot be used, or no mixture could be fitted.
        TypeError: ``adata`` is no AnnData.

    Examples:
        >>> import anndata, numpy as np
        >>> import mixtura.scanpy as mx
        >>> draw = np.random.default_rng(1)
        >>> cells = anndata.AnnData(obsm={"X_pca": draw.normal(size=(90, 2)) + 9 * (np.arange(90)[:, None] < 30)})
        >>> mx.tl.search(cells, range(1, 4), covariance_types="tied_spherical")
        >>> cells.uns["gmm"]["selection"]["table"]["n_components"]
        array([1, 2, 3])
        >>> list(cells.obs["gmm"].cat.categories)
        ['0', '1']
    """
    check_target(adata, key_added, copy=copy)
    place = {"use_rep": use_rep, "n_dims": n_dims, "layer": layer, "mask_obs": mask_obs, "batch_key": batch_key}
    place["sample_weight"] = sample_weight
    cells = select(adata, **place)
    chosen = {"effort": effort, "missing": missing, **params}
    template = GaussianMixture(device=device, **chosen)
    found = MixtureSearch(
        n_components, covariance_types, criterion, estimator=template, random_state=random_state, progress=progress
    )
    found.fit(cells.source)
    best = found.best_estimator_
    tried = {"n_components": n_components, "covariance_types": covariance_types, "criterion": criterion}
    told = called(random_state=random_state, **place, **tried, **chosen)
    said = [finding.message for finding in found.diagnose()]
    return written(adata, key_added, best, cells, told, copy=copy, findings=np.array(said, dtype=object))


def called(**given: Any) -> dict[str, Any]:
    """How a fit was called, in plain types: what is not None."""
    if given.get("layer") is not None:
        given.pop("use_rep", None)
    # Arrays are too large to keep, but whoever repeats the call should know that there were some.
    for name in ("mask_obs", "sample_weight"):
        if given.get(name) is not None and not isinstance(given[name], str):
            given[name] = ARRAY
    return dict(plain(given))


def written(
    adata: Any,
    key: str,
    estimator: Any,
    cells: Cells,
    params: dict[str, Any],
    *,
    copy: bool,
    kept: bool = False,
    names: Sequence[Any] | None = None,
    **more: Any,
) -> Any:
    """Label the cells that were fitted, and write everything."""
    found = labelled(estimator, cells)
    if not kept:
        by_size(estimator, found)
    told = {**told_of(estimator, cells, found, params), **more}
    return put(adata, entries(key, cells, found, estimator.n_components, told, names), copy=copy)


def predict(
    adata: Any,
    model: Any,
    use_rep: str | None = None,
    n_dims: int | None = None,
    key_added: str = "gmm",
    *,
    key: str = "gmm",
    layer: str | None = None,
    device: Any = None,
    copy: bool = False,
) -> Any:
    """Label cells by a mixture that was fitted to others.

    The columns have to mean the same: those of one PCA, or of one integrated embedding. Genes are found by their names.

    Args:
        adata: N cells to label.
        model: a fitted estimator; the path of a saved one; an AnnData that was fitted, or its ``uns[key]``; or a key of
            ``adata.uns``.
        use_rep: the rows, as in :func:`gaussian_mixture`; None is what the model was fitted to, else ``"X_pca"``.
        n_dims: use the first so many columns; None is as many as the fit used, where that is known.
        key_added: what the results are called.
        key: of the results in the AnnData that ``model`` is.
        layer: label ``adata.layers[layer]`` in place of ``use_rep``.
        device: where to compute.
        copy: return a copy with the results, and leave ``adata`` as it is.

    Returns:
        None, or the copy. Written is what :func:`gaussian_mixture` writes, in the order of the model's components, with
        the colours of the AnnData that was fitted; ``uns[key]`` holds the model again.

    Raises:
        ValueError: the model or the cells cannot be used.
        TypeError: ``model`` is none.

    Examples:
        >>> import anndata, numpy as np
        >>> import mixtura.scanpy as mx
        >>> draw = np.random.default_rng(0)
        >>> cells = anndata.AnnData(obsm={"X_pca": draw.normal(size=(60, 2)) + 9 * (np.arange(60)[:, None] < 20)})
        >>> mx.tl.gaussian_mixture(cells, 2, covariance_type="tied")
        >>> more = anndata.AnnData(obsm={"X_pca": np.array([[0.0, 0.0], [9.0, 9.0], [8.0, 9.0]])})
        >>> mx.tl.predict(more, cells)
        >>> list(more.obs["gmm"])
        ['0', '1', '1']
    """
    check_target(adata, key_added, copy=copy)
    estimator, painted = _estimator(adata, model, key, device)
    known = getattr(estimator, "source_", None) or {}
    part, _, name = str(known.get("matrix") or "").partition("/")
    if use_rep is None and layer is None:
        layer = name if part == "layers" else None
        use_rep = {"obsm": name, "X": "X"}.get(part)
    named = getattr(estimator, "feature_names_in_", None)
    columns = None
    if n_dims is None and named is not None and (layer is not None or has_names(adata, use_rep)):
        columns = [str(column) for column in named]
    elif n_dims is None and known:
        n_dims = len(known["columns"])
    cells = select(adata, use_rep, n_dims, layer, columns=columns)
    _check_width(cells, estimator)
    found = labelled(estimator, cells)
    told = told_of(estimator, cells, found, called(use_rep=use_rep, layer=layer, n_dims=n_dims), fitted=False)
    wanted = entries(key_added, cells, found, estimator.n_components, told)
    if painted is not None and len(painted) == len(wanted[-1].value):
        wanted[-1] = wanted[-1]._replace(value=list(painted))
    return put(adata, wanted, copy=copy)


def has_names(adata: Any, use_rep: str | None) -> bool:
    """The columns of a matrix have names of their own: those of genes, or of a data frame."""
    return use_rep == "X" or (use_rep in adata.obsm and hasattr(adata.obsm[use_rep], "iloc"))


def _estimator(adata: Any, model: Any, key: str, device: Any) -> tuple[Any, Any]:
    """A fitted estimator, and the colours of its components where they are known."""
    painted = None
    if isinstance(model, FittedMixture):
        found = getattr(model, "best_estimator_", model)
        found = load_again(found, device)
    elif isinstance(model, str) and model in adata.uns:
        found, painted = rebuilt(adata.uns[model], f"uns[{model!r}]"), adata.uns.get(f"{model}_colors")
    elif isinstance(model, str | os.PathLike):
        if not Path(model).exists():
            raise ValueError(
                f"model={str(model)!r} is neither in uns nor a file: give a fitted estimator, the path of a saved one, "
                "or an AnnData that was fitted"
            )
        found = load(model, device=device)
    elif isinstance(model, Mapping):
        found = rebuilt(model, "model")
    elif hasattr(model, "uns"):
        found, painted = rebuilt(told_under(model, key), f"uns[{key!r}] of model"), model.uns.get(f"{key}_colors")
    else:
        raise TypeError(
            f"model is a {type(model).__name__}, expected a fitted estimator, the path of a saved one, or an AnnData "
            "that was fitted"
        )
    if device is not None and found is not model:
        found.device = device
    return found, painted


def load_again(model: Any, device: Any) -> Any:
    """The estimator itself, or a copy of it that computes elsewhere.

    Raises:
        NotFittedError: it is not fitted.
    """
    from copy import copy

    from sklearn.utils.validation import check_is_fitted

    check_is_fitted(model)
    if device is None:
        return model
    found = copy(model)
    found.device = device
    return found


def _check_width(cells: Cells, estimator: Any) -> None:
    """Complain of cells that have more or fewer columns than those that were fitted.

    Raises:
        ValueError: they have.
    """
    about, (_, width) = cells.source.about, cells.source.shape
    wanted = estimator.n_features_in_
    if width != wanted:
        hint = f"n_dims={wanted} takes the first" if width > wanted else "name another matrix with use_rep="
        raise ValueError(f"{about.matrix} has {width} columns, the model was fitted to {wanted}: {hint}")


def merge(
    adata: Any,
    n_clusters: int | None = None,
    key: str = "gmm",
    key_added: str | None = None,
    *,
    sample_weight: Any = None,
    copy: bool = False,
) -> Any:
    """Merge components that overlap into clusters by entropy, as :func:`mixtura.merge` does, and label cells by these.

    Args:
        adata: an AnnData that was fitted: the rows are read from where they were then.
        n_clusters: how many clusters; None is where the entropy bends.
        key: of the fit.
        key_added: what the results are called; None is ``key + "_merged"``.
        sample_weight: weights of cells, where the fit had some in an array; those of a column of obs are found again.
        copy: return a copy with the results, and leave ``adata`` as it is.

    Returns:
        None, or the copy. Written are ``obs[key_added]``, the cluster of each cell, the largest by its weight first;
        its uncertainty and ``obsm`` as in :func:`gaussian_mixture`; a cluster has the colour of its largest component;
        ``uns[key_added]``: ``n_clusters``, ``components`` (the cluster of each component), ``levels`` (the same with 1,
        2, … K clusters, one row each) and ``entropy`` of each number of clusters, in nats, and its ``bend``.

    Raises:
        ValueError: there is no fit under that key, or the cells cannot be used.

    Examples:
        >>> import anndata, numpy as np
        >>> import mixtura.scanpy as mx
        >>> x = np.concatenate([np.random.default_rng(0).normal(m, 1, (50, 1)) for m in (0, 1.5, 20)])
        >>> cells = anndata.AnnData(obsm={"X_pca": x})
        >>> mx.tl.gaussian_mixture(cells, 3, covariance_type="tied", means_init=[[0.0], [1.5], [20.0]])
        >>> mx.tl.merge(cells, 2)
        >>> cells.obs["gmm_merged"].value_counts().to_dict(), cells.uns["gmm_merged"]["components"].tolist()
        ({'0': 100, '1': 50}, [0, 0, 1])
    """
    key_added = f"{key}_merged" if key_added is None else key_added
    check_target(adata, key_added, copy=copy)
    told = told_under(adata, key)
    estimator = rebuilt(told, f"uns[{key!r}]")
    cells = _same_cells(adata, told, key, estimator, sample_weight)
    merged = merge_components(estimator, cells.source)
    components = merged.components(n_clusters)
    count = int(components.max()) + 1
    found = _clustered(labelled(estimator, cells), merged, components, cells)
    levels = np.array([merged.components(c + 1) for c in range(estimator.n_components)])
    told = {"n_clusters": count, "components": components, "levels": levels, "entropy": merged.entropy_}
    told["bend"] = merged.n_clusters_
    wanted = entries(key_added, cells, found, count, {"params": called(key=key, n_clusters=n_clusters), **told})
    painted = adata.uns.get(f"{key}_colors")
    if painted is None or len(painted) < len(components):
        painted = colours(category_names(len(components)))
    largest = [int(np.argmax(np.where(components == c, estimator.weights_, -1))) for c in range(count)]
    wanted[-1] = wanted[-1]._replace(value=[str(painted[k]) for k in largest])
    return put(adata, wanted, copy=copy)


def _same_cells(adata: Any, told: Any, key: str, estimator: Any, sample_weight: Any) -> Cells:
    """The rows of a fit, found again.

    Raises:
        ValueError: they had weights that were not kept, or are no longer there.
    """
    params = told["params"]
    given = sample_weight if sample_weight is not None else params.get("sample_weight")
    if sample_weight is None and str(given) == ARRAY:
        raise ValueError(
            f"sample_weight is needed: uns[{key!r}] was fitted with an array of weights, which is not kept"
        )
    if key not in adata.obs:
        raise ValueError(f"key={key!r} is not in obs: fit with tl.gaussian_mixture(adata, key_added={key!r})")
    part, _, name = str(told["matrix"]).partition("/")
    use = np.asarray(adata.obs[key].notna())
    return select(
        adata,
        name if part == "obsm" else "X",
        estimator.n_features_in_,
        name if part == "layers" else None,
        None if use.all() else use,
        params.get("batch_key"),
        given,
    )


def _clustered(found: Labels, merged: Merged, components: np.ndarray, cells: Cells) -> Labels:
    """Labels of clusters: posteriors are sums of their components'."""
    count = int(components.max()) + 1
    into = np.eye(count, dtype=np.float32)[components]
    if found.posterior is None:
        parts = [merged.predict_proba(block.x.numpy(), count) for block in cells.source.blocks(65536)]
        each = np.concatenate(parts).astype(np.float32)
    else:
        each = found.posterior @ into
    # Sums in single precision may pass 1 in their last digit.
    doubt = np.clip(1 - each.max(1), 0, None).astype(found.uncertainty.dtype)
    kept = each if found.posterior is not None else None
    shares = None if found.shares is None else found.shares @ into
    return Labels(each.argmax(1).astype(np.int32), doubt, kept, 0.0, shares)


__all__ = ["gaussian_mixture", "merge", "predict", "search"]
