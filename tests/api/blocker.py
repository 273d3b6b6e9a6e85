"""Makes torch and what comes with it unimportable, as on a machine that has only the API's packages."""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

BLOCKED = ("torch", "torchvision", "pycocotools", "safetensors")


class _Blocker(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"{fullname} is blocked in this test run", name=fullname)
        return None


def block() -> None:
    """From now on; what was imported before is an error."""
    early = [name for name in BLOCKED if name in sys.modules]
    if early:
        raise RuntimeError(f"{early} were imported before they could be blocked")
    sys.meta_path.insert(0, _Blocker())
