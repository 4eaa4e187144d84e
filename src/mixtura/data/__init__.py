"""Places that rows come from, one file each."""

from mixtura.data.array import Array
from mixtura.data.base import Block, Source

__all__ = ["Array", "Block", "Source"]
