"""Exercises: answers are told right from wrong, and copies for students lack the solutions."""

import re

import nbformat
from click.testing import CliRunner

from numpro.cli import main
from numpro.workbook import Check


def test_a_check_tells_right_from_wrong_and_what_was_not_tried(capsys):
    check = Check(lambda mine: abs(mine[0] - 4) < 0.1, "look at the first")
    answers = [..., (4.05, 1), (5, 1), "four", None, {}]
    assert [check(mine) for mine in answers] == [None, True, False, False, False, False]
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("not tried yet") and printed[1] == "right"
    assert printed[2:] == ["not yet: look at the first"] * 4


def test_student_copies_keep_exercises_and_checks_and_lack_solutions(tmp_path):
    folder = tmp_path / "course"
    done = CliRunner().invoke(main, ["student", str(folder)])
    assert done.exit_code == 0, done.output
    books = sorted(folder.glob("*.ipynb"))
    assert "00_start_here.ipynb" in {path.name for path in books} and len(books) >= 9
    for path in books:
        book = nbformat.read(path, as_version=4)
        nbformat.validate(book)
        tags = [tag for cell in book.cells for tag in cell.metadata.get("tags", [])]
        assert "solution" not in tags
        assert tags.count("try") == tags.count("check-answer") >= 2
        assert not any("assert check(mine)" in cell.source for cell in book.cells)
        links = [t for c in book.cells for t in re.findall(r"\]\((\.\./\S+?)\)", c.source)]
        assert links == [], "links lead to the project from any folder"
    again = CliRunner().invoke(main, ["student", str(folder)])
    assert again.exit_code != 0 and "is there already; name another folder" in again.output
