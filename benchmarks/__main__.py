"""`python -m benchmarks [NAME|all]`: run one benchmark or all of them, each in its own process."""

import pkgutil
import subprocess
import sys

import benchmarks

NOT_A_BENCHMARK = {
    "accuracy",
    "growth",
    "hello",
    "http_load",
    "litserve_app",
    "peers",
    "polled_jobs",
    "served_model",
    "step_profile",
    "study",
    "harness",
    "full_size",
    "method_plots",
    "torchvision_step",
    "__main__",
}


def main() -> int:
    names = sorted(m.name for m in pkgutil.iter_modules(benchmarks.__path__) if m.name not in NOT_A_BENCHMARK)
    wanted = sys.argv[1] if len(sys.argv) > 1 else "all"
    if wanted != "all" and wanted not in names:
        print(f"There is no benchmark {wanted!r}; there are: {', '.join(names)}", file=sys.stderr)
        return 2
    chosen = names if wanted == "all" else [wanted]
    return max(
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode
        for name in chosen
    )


if __name__ == "__main__":
    sys.exit(main())
