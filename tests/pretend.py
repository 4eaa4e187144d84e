"""A device that is not there: its tensors live on the CPU, but nothing mixes with them, and reading them is noted.

``pytest --device lazy`` runs the suite on it: a tensor of the CPU where one of the device belongs is an error, as it is
on a GPU, and so are ``numpy()`` and the compiled library. It is no faster than the CPU and computes the same numbers.
"""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

NAME = "lazy"
"""A type of device that torch knows and that needs nothing to be installed."""

WAITS = {
    *("_local_scalar_dense", "nonzero", "equal", "masked_select", "bincount", "_unique2", "unique_dim"),
    # Their errors are read on the host.
    *("_linalg_eigh", "linalg_cholesky", "cholesky_inverse", "linalg_inv", "_linalg_solve_ex", "_linalg_svd"),
}
"""Operations after which the host waits for a GPU, by their names in torch."""

FREE = {"_to_copy", "copy_", "set_", "detach"}
"""Operations that may see two devices."""


class There(torch.Tensor):
    """A tensor of the device; ``here`` holds its numbers."""

    @staticmethod
    def __new__(cls, here):
        size, kept = here.size(), {"strides": here.stride(), "storage_offset": here.storage_offset()}
        made = torch.Tensor._make_wrapper_subclass(cls, size, **kept, dtype=here.dtype, device=torch.device(NAME, 0))
        made.here = here
        return made

    def __repr__(self):
        return f"There({self.here})"

    def tolist(self):
        return self.cpu().tolist()

    def new_tensor(self, data):
        return torch.tensor(data, dtype=self.dtype).to(self.device)

    def numpy(self):
        raise TypeError(f"can't convert {NAME} device type tensor to numpy. Use Tensor.cpu()")

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise RuntimeError(f"{func} outside of Pretend")


class Pretend(TorchDispatchMode):
    """While it lasts there is such a device.

    Attributes:
        waits: the operations so far for which the host had to wait, by name.
    """

    def __init__(self):
        super().__init__()
        self.waits = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs, name = dict(kwargs or {}), func.overloadpacket.__name__
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        far = [t for t in tensors if isinstance(t, There)]
        near = [t for t in tensors if not isinstance(t, There)]
        there = bool(far)
        if kwargs.get("device") is not None:
            there = torch.device(kwargs["device"]).type == NAME
            kwargs["device"] = torch.device("cpu")
        if far:
            self._check(name, args, near)
        self._note(name, args, kwargs, there, far, near)
        known = {id(t.here): t for t in far}
        args, kwargs = tree_map(lambda t: t.here if isinstance(t, There) else t, (args, kwargs))
        if kwargs.get("pin_memory"):
            kwargs["pin_memory"] = False
        found = func(*args, **kwargs)
        if not there:
            # What comes back from the device shares no memory with it.
            return found.clone() if name == "_to_copy" and far and found is args[0] else found
        return tree_map(lambda t: known.get(id(t), There(t)) if isinstance(t, torch.Tensor) else t, found)

    def _check(self, name, args, near):
        allowed = {id(i) for i in args[1]} if name.startswith("index") and isinstance(args[1], list | tuple) else set()
        if name.startswith("index") and not isinstance(args[0], There):
            allowed = set()
        mixed = [t for t in near if t.ndim and id(t) not in allowed]
        if mixed and name not in FREE:
            raise RuntimeError(f"{name}: expected all tensors to be on the same device, found {NAME} and cpu")

    def _note(self, name, args, kwargs, there, far, near):
        """What the host waits for: what is read, and every copy that is not told to be ``non_blocking``."""
        between = far and near if name == "copy_" else bool(far) != there
        blocking = not (kwargs.get("non_blocking") or (name == "copy_" and len(args) > 2 and args[2]))
        copied = name in ("_to_copy", "copy_") and between and blocking
        masks = name.startswith("index") and any(
            isinstance(t, There) and t.dtype in (torch.bool, torch.uint8) for t in tree_leaves(args[1:2])
        )
        # Their scalars are copied by a way that waits.
        scalars = name == "where" and far and near
        if copied or masks or scalars or (far and name in WAITS):
            self.waits.append(name)
