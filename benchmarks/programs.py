"""Which programs there are, and which of them are here."""

from elsewhere import Mclust
from peers import Mixtura, Program, ScikitLearn, Unavailable
from tables import say
from torch_peers import Pomegranate, Tgmm, Torchgmm

PROGRAMS: dict[str, type[Program]] = {
    program.name: program for program in (Mixtura, ScikitLearn, Tgmm, Torchgmm, Pomegranate, Mclust)
}


def present() -> tuple[dict[str, str], dict[str, str]]:
    """Versions of the programs that are here, and why the others are not. All are imported by this."""
    versions, absent = {}, {}
    for name, program in PROGRAMS.items():
        try:
            versions[name] = program().version()
        except Unavailable as reason:
            absent[name] = str(reason)
            say(f"{name}: SKIPPED, {reason}")
    return versions, absent
