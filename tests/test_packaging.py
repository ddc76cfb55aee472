"""What the project pins, and that none of its files says where packages are downloaded from."""

from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE_FOLDERS = (".ci", "benchmarks", "docs", "requirements", "signalbox", "tests", "tools")
# Put together here so that this file does not name them itself.
REGISTRY_HOSTS = [".".join(host) for host in (("pypi", "org"), ("pythonhosted", "org"))]
REGISTRY_HOSTS += [".".join(host) for host in (("npmjs", "org"), ("npmjs", "com"))]


def text_files() -> Iterator[Path]:
    """The project's files, without what was installed or generated."""
    for folder in (ROOT, *(ROOT / name for name in SOURCE_FOLDERS)):
        pattern = "*" if folder == ROOT else "**/*"
        for path in folder.glob(pattern):
            generated = {"node_modules", "__pycache__"} & set(path.parts)
            if path.is_file() and not generated:
                yield path


def test_no_file_names_a_package_registry() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {host}"
        for path in text_files()
        for host in REGISTRY_HOSTS
        if host.encode() in path.read_bytes()
    ]
    assert found == []


def test_pins_record_hashes_and_no_place() -> None:
    pins = sorted((ROOT / "requirements").glob("*.txt"))
    assert [pin.name for pin in pins] == ["bootstrap.txt", "dev.txt", "runtime.txt"]
    for pin in pins:
        text = pin.read_text(encoding="utf-8")
        assert "--hash=sha256:" in text
        assert "://" not in text
    lock = (ROOT / "tests/node/package-lock.json").read_text(encoding="utf-8")
    assert '"integrity"' in lock
    assert "://" not in lock
    assert '"resolved"' not in lock
