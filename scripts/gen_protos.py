"""Generates controlplane/api from protos/ with grpcio-tools; `--check` fails when what is committed differs."""

import argparse
import filecmp
import re
import shutil
import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
OUTPUT = ROOT / "controlplane" / "api"
PACKAGE = "controlplane.api"


def generate(output: Path) -> None:
    """Writes modules, stubs and gRPC code for every .proto file to `output` and moves their imports into the package.

    Raises:
        SystemExit: protoc refused a file; its message is on standard error.
    """
    sources = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    services = [source for source in sources if "service " in (PROTOS / source).read_text()]
    include = str(resources.files("grpc_tools") / "_proto")
    base = ["protoc", f"-I{PROTOS}", f"-I{include}"]
    for arguments in (
        [f"--python_out={output}", f"--pyi_out={output}", *sources],
        [f"--grpc_python_out={output}", *services],
    ):
        if protoc.main([*base, *arguments]) != 0:
            sys.exit("protoc failed; see above")
    for path in [*output.rglob("*.py"), *output.rglob("*.pyi")]:
        text = path.read_text()
        path.write_text(re.sub(r"^from certplane\.", f"from {PACKAGE}.certplane.", text, flags=re.MULTILINE))
    for folder in [output, *(path for path in output.rglob("*") if path.is_dir())]:
        (folder / "__init__.py").write_text('"""Generated from protos/ by scripts/gen_protos.py; do not edit."""\n')


def files(folder: Path) -> set[Path]:
    """Returns the generated files below `folder`, as relative paths."""
    return {path.relative_to(folder) for path in folder.rglob("*.py*") if "__pycache__" not in path.parts}


def main() -> None:
    """Generates, or with `--check` compares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as name:
        fresh = Path(name)
        generate(fresh)
        if check:
            _, mismatch, errors = filecmp.cmpfiles(fresh, OUTPUT, [str(p) for p in files(fresh)], shallow=False)
            drift = sorted({*mismatch, *errors, *(str(p) for p in files(fresh) ^ files(OUTPUT))})
            if drift:
                sys.exit(f"controlplane/api differs from protos/: {', '.join(drift)}. Run `make protos` and commit.")
            return
        shutil.rmtree(OUTPUT, ignore_errors=True)
        shutil.copytree(fresh, OUTPUT)
        OUTPUT.chmod(0o755)


if __name__ == "__main__":
    main()
