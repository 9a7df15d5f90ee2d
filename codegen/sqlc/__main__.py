"""Reads a GenerateRequest, writes a GenerateResponse, both in JSON (`process`, `format: json` of sqlc.yaml)."""

import base64
import json
import sys

from codegen.sqlc.errors import GenerationError
from codegen.sqlc.generator import generate
from codegen.sqlc.request import GenerateRequest

METHOD = "/plugin.CodegenService/Generate"


def main() -> None:
    if sys.argv[1:] != [METHOD]:
        sys.exit(f"this is a plugin of sqlc: it expects the argument {METHOD}")
    try:
        files = generate(GenerateRequest.from_json(json.load(sys.stdin.buffer)))
    except GenerationError as error:
        sys.exit(str(error))
    encoded = [{"name": name, "contents": base64.b64encode(text.encode()).decode()} for name, text in files.items()]
    json.dump({"files": encoded}, sys.stdout)


if __name__ == "__main__":
    main()
