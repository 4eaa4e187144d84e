"""Write pbmc.h5ad: the cells of scanpy's pbmc68k_reduced with their embeddings and labels, and without their genes.

python make_pbmc.py SOURCE
"""

import sys
from pathlib import Path

import anndata
import pandas as pd

LABELS = ("bulk_labels", "louvain")
EMBEDDINGS = ("X_pca", "X_umap")


def main(source: Path) -> None:
    """Keep what the example needs."""
    whole = anndata.read_h5ad(source)
    obs = pd.DataFrame(index=pd.Index(list(whole.obs_names), dtype=object))
    for name in LABELS:
        column = whole.obs[name]
        names = pd.Index(list(column.cat.categories), dtype=object)
        obs[name] = pd.Categorical.from_codes(column.cat.codes, categories=names)
    kept = anndata.AnnData(obs=obs, obsm={name: whole.obsm[name].astype("float32") for name in EMBEDDINGS})
    kept.write_h5ad(Path(__file__).with_name("pbmc.h5ad"), compression="gzip")
    print(kept)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
