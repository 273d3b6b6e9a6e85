"""hypothesis on every parser: only what it declares comes out. A parser that is not listed fails a test."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.hostile.parsers import OWN, PARSERS, Parser, forget_files

ROOT = Path(__file__).parents[2]
ROOMS = ("api", "detector", "store", "worker", "harmonicdet")
# Calls that make values of bytes or words, by the last two parts of their names.
READERS = {
    "COCO.loadRes",
    "Image.open",
    "InferenceSession",
    "MultipartParser",
    "base64.b64decode",
    "binascii.unhexlify",
    "decode_jpeg",
    "decoder.decode",
    "DefusedXMLParser",
    "email.message_from_bytes",
    "ipaddress.ip_address",
    "json.Decoder",
    "json.decode",
    "json.load",
    "json.loads",
    "load_file",
    "model_validate_json",
    "np.load",
    "np.frombuffer",
    "orjson.loads",
    "parse_options_header",
    "pickle.load",
    "pickle.loads",
    "plistlib.loads",
    "safe_open",
    "struct.unpack",
    "struct.unpack_from",
    "tarfile.open",
    "tomllib.loads",
    "torch.load",
    "urlsplit",
    "validate_json",
    "validate_python",
    "yaml.load",
    "yaml.safe_load",
    "zipfile.ZipFile",
}
# What has broken parsers before.
PIECES = (
    b"\0",
    b"\xff",
    b"\xed\xa0\x80",  # a lone surrogate
    "\u0663".encode(),  # a digit that is not ASCII
    "\u202e".encode(),
    b"null",
    b"NaN",
    b"1e999",
    b"-1",
    b"9" * 5000,
    b"[" * 5000,
    b'{"a":' * 3000,
    b"- " * 3000,
    b'"\\ud800"',
)


@pytest.fixture(scope="module", autouse=True)
def _tidy() -> Iterator[None]:
    yield
    forget_files()


def mutated(seeds: tuple[bytes, ...]) -> st.SearchStrategy[bytes]:
    """Any bytes, and the seeds with pieces cut out, repeated and put in."""
    pieces = st.one_of(
        st.binary(max_size=12),
        st.sampled_from(PIECES),
    )

    @st.composite
    def changed(draw: st.DrawFn) -> bytes:
        data = draw(st.sampled_from(seeds))
        for _ in range(draw(st.integers(0, 3))):
            start = draw(st.integers(0, len(data)))
            end = draw(st.integers(start, min(len(data), start + 40)))
            data = data[:start] + draw(pieces) + data[end:]
        return data

    return st.one_of(changed(), st.binary(max_size=64))


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_only_what_is_declared_comes_out(parser: Parser) -> None:
    for data in (*parser.seeds, *PIECES, *(piece + parser.seeds[0] for piece in PIECES)):
        parser.run(data)

    @settings(max_examples=parser.examples)
    @given(mutated(parser.seeds))
    def play(data: bytes) -> None:
        parser.run(data)

    play()


def test_every_parser_is_listed() -> None:
    """Whatever module calls a reader goes through one of PARSERS, or reads what the service wrote itself."""
    found = {path for room in ROOMS for path in _reading(room)}
    known = {path for parser in PARSERS for path in parser.reads} | OWN.keys()
    assert found - known == set(), "list its parser in tests/hostile/parsers.py"


def _reading(room: str) -> Iterator[str]:
    for path in (ROOT / room).rglob("*.py"):
        tree = ast.parse(path.read_text())
        called = {_name(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        if any(name in READERS or name.rpartition(".")[2] in READERS for name in called):
            yield str(path.relative_to(ROOT))


def _name(function: ast.expr) -> str:
    """`json.loads` of `json.loads`, `json.decode` of `msgspec.json.decode`."""
    if isinstance(function, ast.Attribute):
        return f"{_name(function.value).rpartition('.')[2]}.{function.attr}"
    return function.id if isinstance(function, ast.Name) else ""
