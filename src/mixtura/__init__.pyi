from mixtura import scanpy as scanpy
from mixtura.apps import plot as plot
from mixtura.apps.store import load as load
from mixtura.data.scan import scan as scan
from mixtura.estimator import DegenerateWarning as DegenerateWarning
from mixtura.estimator import GaussianMixture as GaussianMixture
from mixtura.fits import Fits as Fits
from mixtura.many import fit_many as fit_many
from mixtura.mixture import Mixture as Mixture
from mixtura.select import MixtureSearch as MixtureSearch

__version__: str
