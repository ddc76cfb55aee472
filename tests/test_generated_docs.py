"""The generated parts of the documentation say what the code says."""

from pathlib import Path

import pytest

from tools import write_docs


def test_the_documentation_is_up_to_date() -> None:
    assert write_docs.stale(write_docs.ROOT) == [], "run .venv/bin/python tools/write_docs.py"


def test_check_names_what_is_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_docs, "ROOT", tmp_path)
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{write_docs.START}\nold\n{write_docs.END}\nafter\n")
    monkeypatch.setattr("sys.argv", ["write_docs.py", "--check"])
    with pytest.raises(SystemExit, match=r"stale: docs/states\.md, .*README\.md; run "):
        write_docs.main()

    write_docs.write(tmp_path)
    write_docs.main()
    text = readme.read_text()
    assert "docs/diagrams/request.svg" in text
    assert (text[:7], text[-7:]) == ("before\n", "\nafter\n")

    (tmp_path / "docs/parameters.md").write_text("another")
    with pytest.raises(SystemExit, match=r"^stale: docs/parameters\.md; run "):
        write_docs.main()


def test_a_readme_without_a_place_for_the_diagram_is_refused(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("no markers")
    with pytest.raises(SystemExit, match=r"README\.md: expected <!-- diagram:start -->"):
        write_docs.stale(tmp_path)
