"""Results: labels, doubts and posteriors of cells, written into an AnnData all together or not at all."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from mixtura.apps.annotate import (
    POSTERIOR_BYTES,
    category_names,
    check_key,
    colours,
    rebuilt,
    record,
)
from mixtura.apps.labels import ROWS, scores
from mixtura.estimator import GaussianMixture
from mixtura.scanpy.cells import Cells, check_annotated
from mixtura.sourced import Watched, check_source

LOG = logging.getLogger("mixtura")


@dataclass
class Labels:
    """What a mixture says of n cells.

    Attributes:
        label: (n,) the component, −1 for noise.
        uncertainty: (n,) 1 − the largest posterior.
        posterior: (n, K) float32; None where it would take too much.
        log_best: Σ w log max p(k | x).
        shares: (B, K) of the components in each batch; None without batches.
    """

    label: np.ndarray
    uncertainty: np.ndarray
    posterior: np.ndarray | None
    log_best: float
    shares: np.ndarray | None

    def reorder(self, order: np.ndarray) -> None:
        """Let component ``order[k]`` be k."""
        if (order == np.arange(len(order))).all():
            return
        rank = np.argsort(order)
        self.label = np.where(self.label < 0, self.label, rank[self.label])
        if self.posterior is not None:
            for start in range(0, len(self.posterior), ROWS):
                part = self.posterior[start : start + ROWS]
                part[:] = part[:, order]
        if self.shares is not None:
            self.shares = self.shares[:, order]


def labelled(model: Any, cells: Cells) -> Labels:
    """What a model says of cells, block by block: only what is returned is held.

    Raises:
        ValueError: the rows are not of the columns that the model was fitted on, or a value is not finite.
    """
    source, gaps = cells.source, model._takes_gaps
    check_source(model, source, reset=False, fitting=False, sample_weight=None, gaps=gaps)
    rows, components = source.shape[0], model.n_components
    assert rows is not None
    kept = 4 * cells.total * components <= POSTERIOR_BYTES
    if not kept:
        LOG.warning("the posteriors of %d cells take more than 1 GiB and are not kept in obsm", cells.total)
    label = np.empty(rows, dtype=np.int32)
    uncertainty: np.ndarray | None = None
    posterior = np.empty((rows, components), dtype=np.float32) if kept else None
    log_best, sums = 0.0, None if cells.batches is None else np.zeros((len(cells.batches.names), components))
    for block in Watched(source, gaps).blocks(ROWS):
        said = scores(model, block.x).every()
        here = slice(block.start, block.start + len(block.x))
        label[here] = said.label.numpy()
        if uncertainty is None:
            uncertainty = np.empty(rows, dtype=said.log_best.numpy().dtype)
        uncertainty[here] = (0.0 - said.log_best.expm1()).numpy()
        if posterior is not None:
            posterior[here] = said.posterior.T.numpy()
        best = said.log_best.double()
        log_best += float(
            best.sum() if block.weight is None else best[block.weight > 0] @ block.weight[block.weight > 0]
        )
        if sums is not None and cells.batches is not None:
            np.add.at(sums, cells.batches.codes[here], said.posterior.T.numpy())
    assert uncertainty is not None
    return Labels(label, uncertainty, posterior, log_best, None if sums is None else sums / sums.sum(1, keepdims=True))


def by_size(model: Any, found: Labels) -> None:
    """Number the components of a fit by how many cells they have, ties by weight: the largest is 0."""
    count = np.bincount(found.label[found.label >= 0], minlength=model.n_components)
    order = np.lexsort((-model.weights_.astype(np.float64), -count))
    model._reorder(order)
    found.reorder(order)


class Entry(NamedTuple):
    """Something to be written.

    Attributes:
        part: ``obs``, ``obsm`` or ``uns``.
        key: there.
        value: None takes away what an earlier call left.
    """

    part: str
    key: str
    value: Any


def entries(
    key: str, cells: Cells, found: Labels, components: int, told: dict[str, Any], names: Sequence[Any] | None = None
) -> list[Entry]:
    """All that is written of a fit or of labels.

    Args:
        key: their own.
        cells: which they are of.
        found: the labels.
        components: K.
        told: for uns.
        names: (K,) categories; None calls them ``"0"``, ``"1"``, ….
    """
    import pandas as pd

    noise = bool((found.label < 0).any())
    categories = category_names(components, noise) if names is None else list(names)
    codes = cells.spread(np.where(found.label < 0, components, found.label), -1)
    # Texts as objects, since anndata before 0.13 cannot write pandas' own.
    index = pd.Index(categories, dtype=object if names is None else None)
    posterior = None if found.posterior is None else cells.spread(found.posterior, np.nan)
    return [
        Entry("obs", key, pd.Categorical.from_codes(codes, categories=index)),
        Entry("obs", f"{key}_uncertainty", cells.spread(found.uncertainty, np.nan)),
        Entry("obsm", f"{key}_posterior", posterior),
        Entry("uns", key, told),
        Entry("uns", f"{key}_colors", colours([str(c) for c in category_names(components, noise)])),
    ]


def check_target(adata: Any, key: str, *, copy: bool) -> None:
    """Complain before the work of what could not be written after it.

    Raises:
        ValueError: the key has no meaning for h5ad, or the AnnData cannot be changed or copied.
        TypeError: it is no AnnData.
    """
    check_annotated(adata)
    check_key(key)
    backed = bool(getattr(adata, "isbacked", False))
    if backed and getattr(adata, "is_view", False):
        raise ValueError(
            "adata is a view of an AnnData in a file, which cannot be written to: use adata.to_memory(), or mask_obs "
            "on the whole of it"
        )
    if backed and copy:
        raise ValueError(
            "copy=True of an AnnData in a file would read all of it: use adata.to_memory(), or copy=False, which "
            "leaves the file as it is"
        )


def put(adata: Any, wanted: Sequence[Entry], *, copy: bool) -> Any:
    """Write entries, all or none.

    Args:
        adata: where; a view becomes an AnnData of its own, as anndata has it.
        wanted: what.
        copy: write into a copy.

    Returns:
        The copy, else None.
    """
    target = adata.copy() if copy else adata
    before = [Entry(part, key, getattr(target, part).get(key)) for part, key, _ in wanted]
    try:
        for entry in wanted:
            write(target, entry)
    except BaseException:
        for entry in before:
            write(target, entry)
        raise
    return target if copy else None


def write(adata: Any, entry: Entry) -> None:
    """Set or take away one entry."""
    part, key, value = entry
    if value is not None:
        getattr(adata, part)[key] = value
    elif key in getattr(adata, part):
        del getattr(adata, part)[key]


def told_of(model: Any, cells: Cells, found: Labels, params: dict[str, Any], *, fitted: bool = True) -> dict[str, Any]:
    """The record of a fit for uns.

    Args:
        model: the mixture.
        cells: the rows.
        found: what it says of them.
        params: the call.
        fitted: it was fitted to these cells, and not to others.
    """
    about = cells.source.about
    batches = None
    if cells.batches is not None and found.shares is not None:
        batches = {"names": cells.batches.names, "shares": found.shares}
    return record(
        model,
        params,
        log_best=found.log_best if fitted else math.nan,
        matrix=str(about.matrix),
        columns=about.names or (),
        batches=batches,
    )


def told_under(adata: Any, key: str, argument: str = "key") -> Any:
    """What uns has under a key.

    Raises:
        ValueError: there is nothing.
    """
    check_annotated(adata)
    if key not in adata.uns:
        raise ValueError(f"{argument}={key!r} is not in uns: fit with tl.gaussian_mixture(adata, key_added={key!r})")
    return adata.uns[key]


def model(adata: Any, key: str = "gmm") -> GaussianMixture:
    """The fitted mixture that an AnnData keeps, as an estimator.

    Args:
        adata: an AnnData in which ``tl.gaussian_mixture``, ``tl.search`` or ``mclust_R`` has written, or that was read
            from a file with such results.
        key: their key.

    Returns:
        The estimator: ``predict``, ``score_samples``, ``sample`` and ``save`` are its.

    Raises:
        ValueError: there is no mixture under that key.

    Examples:
        >>> import anndata, numpy as np
        >>> import mixtura.scanpy as mx
        >>> draw = np.random.default_rng(0)
        >>> cells = anndata.AnnData(obsm={"X_pca": draw.normal(size=(60, 2)) + 9 * (np.arange(60)[:, None] < 20)})
        >>> mx.tl.gaussian_mixture(cells, 2, covariance_type="tied")
        >>> mx.model(cells).predict([[0.0, 0.0], [9.0, 9.0]])
        array([0, 1])
    """
    return rebuilt(told_under(adata, key), f"uns[{key!r}]")
