import ast

from tests.conftest import ROOT

BINARY_UNLESS_TOLD = {"os", "gzip", "Pixels"}  # their open() has no text, or only on demand
ROOMS = [path.parent for path in sorted(ROOT.glob("*/__init__.py")) if path.parent.name != "tests"] + [ROOT / "benchmarks"]
FILES = [*ROOT.glob("*.py"), *(path for room in ROOMS for path in room.rglob("*.py"))]


def _leaves_the_encoding_to_the_locale(call: ast.Call) -> bool:
    """Return True for a call that reads or writes text without saying in which encoding."""
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    constants = [value.value for value in [*call.args, *given.values()] if isinstance(value, ast.Constant)]
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    owner = getattr(getattr(call.func, "value", None), "id", "")
    if name in ("run", "Popen", "check_output"):
        return ("text" in given or "universal_newlines" in given) and "encoding" not in given
    if name in ("open", "fdopen"):
        binary = any(isinstance(value, str) and "b" in value and set(value) <= set("rwxab+") for value in constants)
        return "encoding" not in given and not binary and owner not in BINARY_UNLESS_TOLD
    return name in ("read_text", "write_text") and "encoding" not in given and owner != "job"  # a job's own are UTF-8


def test_every_file_is_read_and_written_as_utf_8():
    """Ruff's PLW1514 says so where it knows that a path is a path; here the name of the method is enough."""
    assert len(FILES) > 80
    calls = ((path, node) for path in FILES for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.Call))
    assert not [f"{path}:{call.lineno}" for path, call in calls if _leaves_the_encoding_to_the_locale(call)]
