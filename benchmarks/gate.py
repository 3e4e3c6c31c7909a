"""No speed without a green gate: results are checked first, then timed.

python benchmarks/gate.py                    the quick benchmarks
python benchmarks/gate.py plan cells ...     those named, with no arguments of their own
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
QUICK = ("tokenization", "startup")
GATE = ("tests/test_tiny.py", "tests/parity", "tests/gradient")


def main() -> None:
    names = sys.argv[1:] or list(QUICK)
    known = sorted(path.stem for path in HERE.glob("*.py") if path.stem not in ("gate", "machine"))
    unknown = [name for name in names if name not in known]
    if unknown:
        sys.exit(f"no benchmark {', '.join(unknown)}; expected some of {', '.join(known)}")
    marks = "not slow" if "gpu" in names else "not slow and not gpu"
    tests = [sys.executable, "-m", "pytest", "-q", "-m", marks, *GATE]
    if subprocess.run(tests, cwd=HERE.parent, check=False).returncode:
        sys.exit("the gate is red: no timing of wrong results")
    for name in names:
        subprocess.run([sys.executable, str(HERE / f"{name}.py")], cwd=HERE.parent, check=True)


if __name__ == "__main__":
    main()
