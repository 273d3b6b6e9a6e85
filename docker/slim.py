"""Takes out of the API's environment what serving never loads, and compiles what it does load.

Run by the environment's own Python while the image is built. Whatever has gone, every import of the service
must still work: the last step makes them, which also leaves the bytecode of just these modules.
"""

import importlib
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

PACKAGES = Path(sysconfig.get_paths()["purelib"])

UNUSED = (
    "*/tests",
    "*/*/tests",
    "numpy/f2py",
    "numpy/_core/include",
    "numpy/_core/lib",
    # The Python module has the runtime within itself; these are for C programs and for making models.
    "onnxruntime/capi/libonnxruntime.so.*",
    "onnxruntime/quantization",
    "onnxruntime/tools",
    "onnxruntime/transformers",
    "onnxruntime/datasets",
    # Only its script is served, to browsers.
    "plotly/[!p]*",
    "_plotly_utils",
    "jupyterlab_plotly",
    "narwhals",
)
# Of the hundreds of services that botocore describes: the object store, and the ways to its keys.
AMAZON = {"s3", "sts", "sso", "sso-oidc", "signin"}
# What the service imports, by the way that it is found when it runs.
LOADED = (
    *("alembic.command", "celery", "cv2", "fastapi", "httpcore", "httptools", "httpx"),
    *(
        "kombu.transport.redis",
        "jinja2",
        "limits.storage",
        "msgspec",
        "numpy",
        "onnxruntime",
        "orjson",
        "PIL.ImageDraw",
    ),
    *("psycopg", "pydantic_settings", "python_multipart", "rich.console", "simplejpeg", "sqlalchemy.orm"),
    *("sqlalchemy.dialects.postgresql.psycopg", "typer", "ulid", "uvicorn.main", "uvloop", "websockets"),
)


def main() -> int:
    before = size()
    unused = [path for pattern in UNUSED for path in PACKAGES.glob(pattern)]
    unused += [path for path in PACKAGES.glob("botocore/data/*/") if path.name not in AMAZON]
    unused += Path(sys.prefix).glob("share/jupyter")  # plotly's, once more its script
    for path in unused:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)  # within another that has gone already
        else:
            path.unlink()
    # Debugging symbols. Libraries in *.libs have been relocated, which strip is known to undo.
    compiled = [
        path for path in PACKAGES.rglob("*.so") if not path.relative_to(PACKAGES).parts[0].endswith(".libs")
    ]
    subprocess.run(["/usr/bin/strip", "--strip-debug", *compiled], check=True)
    slim = size()
    sys.dont_write_bytecode = False
    for module in LOADED:
        importlib.import_module(module)
    sys.stdout.write(
        f"{before / 1e6:.0f} MB, {slim / 1e6:.0f} without the unused, {size() / 1e6:.0f} compiled\n"
    )
    return 0


def size() -> int:
    """Bytes of all files."""
    return sum(path.stat().st_size for path in PACKAGES.rglob("*") if path.is_file())


if __name__ == "__main__":
    sys.exit(main())
