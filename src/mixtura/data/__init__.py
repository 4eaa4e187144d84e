"""Places that rows come from, one file each."""

from mixtura.data.array import Array
from mixtura.data.base import About, Block, Source

__all__ = ["About", "Array", "Block", "Source"]
