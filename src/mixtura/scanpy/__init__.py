"""Mixtures of the cells of an AnnData, in the manner of scanpy: ``tl`` fits and labels, ``pl`` draws.

Needs anndata (``pip install "mixtura[bio]"``); scanpy itself is not needed, and draws what is written here.
"""

from mixtura.scanpy import pl, tl
from mixtura.scanpy.dropin import mclust_R
from mixtura.scanpy.results import model

__all__ = ["mclust_R", "model", "pl", "tl"]
