"""Layout: what the compiled library is told, field by field as its C sources declare it."""

import ctypes
from ctypes import Structure, c_double, c_int32, c_int64, c_void_p


class PassJob(Structure):
    """One pass: ``job`` in job.h."""

    _fields_ = (
        *((name, c_void_p) for name in ("x", "weight", "theta", "work", "loglik", "sums")),
        *((name, c_int64) for name in ("rows", "stride", "room", "apart")),
        *(
            (name, c_int32)
            for name in (
                *("features", "components", "restarts", "kind", "quadratics", "count"),
                *("block", "panel", "batch", "parts", "single", "ticket"),
            )
        ),
    )


class Field(Structure):
    """Rows of a run: ``field`` in run.c."""

    _fields_ = (
        *((name, c_void_p) for name in ("x", "weight", "total", "least")),
        *((name, c_int64) for name in ("rows", "stride")),
    )


class RunsJob(Structure):
    """Runs: ``runs`` in run.c."""

    _fields_ = (
        *((name, c_void_p) for name in ("fields", "which", "state", "bounds", "passes", "ended", "work")),
        *((name, c_double) for name in ("per_row", "tolerance", "added", "epsilon")),
        *((name, c_int64) for name in ("size", "room", "trace", "spare", "area")),
        *(
            (name, c_int32)
            for name in (
                *("restarts", "features", "components", "form", "shared", "volumes", "shapes", "turns"),
                *("kind", "quadratics", "count"),
                *("block", "panel", "single", "squarem", "begin", "gain", "until", "most", "parts", "ticket", "areas"),
                *("strips", "threads"),
            )
        ),
    )


class Begin(Structure):
    """Starts of groups: ``starts`` in groups.h."""

    _fields_ = (
        *((name, c_void_p) for name in ("runs", "uniforms", "white", "work")),
        ("room", c_int64),
        *((name, c_int32) for name in ("trials", "rounds", "parts", "ticket", "areas")),
    )


COMMON = ("restarts", "parts", "ticket", "areas")


class Means(Structure):
    """k-means: ``means`` in starts.c."""

    _fields_ = (
        *((name, c_void_p) for name in ("x", "weight", "u", "centres", "least", "labels", "columns", "work")),
        *((name, c_int64) for name in ("rows", "stride", "room")),
        *((name, c_int32) for name in ("features", "components", "trials", "rounds", *COMMON)),
    )


class Merging(Structure):
    """Agglomeration: ``merging`` in starts.c."""

    _fields_ = (
        *((name, c_void_p) for name in ("n", "mean", "scatter", "found", "work")),
        *((name, c_double) for name in ("prior",)),
        *((name, c_int64) for name in ("room",)),
        *((name, c_int32) for name in ("groups", "components", "features", *COMMON)),
    )


class Shaping(Structure):
    """M-steps by volume, shape and orientation: ``shaping`` in eigen.h."""

    _fields_ = (
        *((name, c_void_p) for name in ("n", "least", "second", "volume", "shape", "axes", "doubtful", "work")),
        ("room", c_int64),
        *(
            (name, c_int32)
            for name in (
                *("restarts", "features", "components", "volumes", "shapes", "turns", "warm"),
                *("parts", "ticket", "areas"),
            )
        ),
    )


SIZES = {
    "layout": tuple(ctypes.sizeof(each) for each in (PassJob, Field, RunsJob, Begin)),
    "layout_starts": tuple(ctypes.sizeof(each) for each in (Means, Merging)),
    "layout_eigen": (ctypes.sizeof(Shaping),),
}
"""Bytes of each, by the function that says what the library has: one compiled from other sources has others."""
