"""Installs the protos that are not ours into third_party/ (`make setup`).

- google/api comes with the googleapis-common-protos package;
- buf/validate comes with the Go module of protovalidate, and is compiled for
  Python here: no package on PyPI has it for google.protobuf.
"""

import hashlib
import json
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

PROTOVALIDATE = "github.com/bufbuild/protovalidate@v1.2.2"
VALIDATE_PROTO = "buf/validate/validate.proto"
VALIDATE_SHA256 = "a1dc1163ebac930b3b070655b91f2bc78df8b4aea940021661fe5ec7904a7b88"
GOOGLE_PROTOS = ("google/api/annotations.proto", "google/api/http.proto")

THIRD_PARTY = Path(__file__).parent.parent / "third_party"


def install_google(protos: Path) -> None:
    for name in GOOGLE_PROTOS:
        source = resources.files("google.api") / Path(name).name
        target = protos / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(source.read_text())


def install_validate(protos: Path, python: Path, go: str) -> None:
    download = subprocess.run([go, "mod", "download", "-json", PROTOVALIDATE], capture_output=True, check=False)
    if download.returncode != 0:
        sys.exit(f"cannot download {PROTOVALIDATE}: {download.stderr.decode().strip()}")
    source = Path(json.loads(download.stdout)["Dir"]) / "proto" / "protovalidate" / VALIDATE_PROTO
    content = source.read_bytes()
    if hashlib.sha256(content).hexdigest() != VALIDATE_SHA256:
        sys.exit(f"{VALIDATE_PROTO} of {PROTOVALIDATE} is not the file that was pinned")
    target = protos / VALIDATE_PROTO
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)

    python.mkdir(parents=True, exist_ok=True)
    mypy_plugin = Path(sys.executable).with_name("protoc-gen-mypy")
    status = protoc.main(
        [
            "protoc",
            f"--proto_path={protos}",
            f"--proto_path={resources.files('grpc_tools') / '_proto'}",
            f"--plugin=protoc-gen-mypy={mypy_plugin}",
            f"--python_out={python}",
            f"--mypy_out=quiet:{python}",
            VALIDATE_PROTO,
        ]
    )
    if status != 0:
        sys.exit(f"protoc could not compile {VALIDATE_PROTO}")


def main() -> None:
    go = shutil.which(sys.argv[1])
    if go is None:
        sys.exit(f"{sys.argv[1]}: not found")
    fresh = THIRD_PARTY.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    install_google(fresh / "proto")
    install_validate(fresh / "proto", fresh / "python", go)
    THIRD_PARTY.mkdir(exist_ok=True)
    for folder in fresh.iterdir():
        shutil.rmtree(THIRD_PARTY / folder.name, ignore_errors=True)
        folder.rename(THIRD_PARTY / folder.name)
    fresh.rmdir()


if __name__ == "__main__":
    main()
