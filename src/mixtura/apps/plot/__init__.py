"""Pictures of mixtures with matplotlib: ``ax`` in, axes out, and a component looks the same in all of them."""

from mixtura.apps.plot.bars import histogram
from mixtura.apps.plot.canvas import credit, new_axes
from mixtura.apps.plot.choice import criteria
from mixtura.apps.plot.combined import merging
from mixtura.apps.plot.contours import density
from mixtura.apps.plot.doubt import uncertainty
from mixtura.apps.plot.matrix import pairs
from mixtura.apps.plot.palette import COLOURS, DASHES, MARKERS, NOISE, Look, look
from mixtura.apps.plot.points import clusters, scatter
from mixtura.apps.plot.progress import starts

__all__ = [
    "COLOURS",
    "DASHES",
    "MARKERS",
    "NOISE",
    "Look",
    "clusters",
    "credit",
    "criteria",
    "density",
    "histogram",
    "look",
    "merging",
    "new_axes",
    "pairs",
    "scatter",
    "starts",
    "uncertainty",
]
