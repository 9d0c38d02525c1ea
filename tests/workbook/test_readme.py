"""README.md and the pages it leads to: generated parts are fresh, links and commands are real."""

import json
import re
import shlex
from pathlib import Path

import click
import nbformat
import pytest
from click.testing import CliRunner
from projects import MACHINE_PATHS, write_notebook
from score_rows import RESULTS, ROWS

from numpro.cli import main
from numpro.workbook.opening import load_script
from numpro.workbook.runs import DEFAULT_RUN, find_notebooks, known_parameters

ROOT = Path(__file__).resolve().parents[2]
readme = load_script("docs/tables.py")
PAGES = (
    *sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/*.md")),
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "data/README.md", "benchmarks/README.md"),
)
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in PAGES}
RUN = RESULTS | {"status": "complete", "run": "flipbook"}
RUN |= {"versions": {"numpro": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0"}}


def shell_lines(text):
    """Return the `numpro` commands of a file: lines of sh blocks and inline code."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    lines += re.findall(r"`(numpro [^`]+)`", text)
    return [line for line in lines if line.startswith("numpro ") and "COMMAND" not in line]


COMMANDS = sorted({line for text in TEXTS.values() for line in shell_lines(text)})


def test_no_generated_part_is_stale():
    assert list(readme.stale_files()) == [], "run: numpro readme"


@pytest.mark.parametrize("name", PAGES)
def test_every_relative_link_leads_somewhere(name):
    links = re.findall(r"\]\(([^)\s]+)\)", TEXTS[name])
    here = [link for link in links if not link.startswith(("http://", "https://"))]
    folder = (ROOT / name).parent
    files = {link.partition("#")[0] for link in here}
    assert [link for link in files if not (folder / link).exists()] == []


@pytest.mark.parametrize("name", PAGES)
def test_no_path_of_a_machine(name):
    examples = re.compile("/path/to/|/tmp/opencv")
    assert not MACHINE_PATHS.search(examples.sub("", TEXTS[name]))


def test_files_named_in_code_exist():
    text = "\n".join(TEXTS.values())
    named = set(re.findall(r"papermill_runs/recipes/\w+\.yaml", text))
    assert named and all((ROOT / name).is_file() for name in named), named
    targets = set(re.findall(r"^make (\w+)|`make (\w+)", text, re.MULTILINE))
    assert len(targets) > 3
    for target in map("".join, targets):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target


def test_the_front_pages_are_short_and_lead_to_every_other_page():
    assert len(TEXTS["README.md"].encode()) <= 12_288
    assert len(TEXTS["CONTRIBUTING.md"].encode()) <= 12_000
    links = re.findall(r"\]\(([^)\s]+)\)", TEXTS["README.md"])
    assert [name for name in PAGES if name not in (*links, "README.md")] == []


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_shown_is_accepted(line):
    words = shlex.split(line, comments=True)[1:]
    command, path = main, ["numpro"]
    while isinstance(command, click.Group):
        if command is not main and not words:  # only named
            return
        path.append(words.pop(0))
        assert path[-1] in command.commands, line
        command = command.commands[path[-1]]
    if not words:  # only named
        return
    context = command.make_context(" ".join(path), words)
    if pairs := context.params.get("pairs"):
        assert {name for name, _ in pairs} <= set(known_parameters(find_notebooks()))


def test_the_embedded_film_and_query_shown_exist():
    from numpro.flipbook.films import annotation_rows
    from numpro.flipbook.world import make_film

    rows = {json.dumps(row) for row in annotation_rows(make_film("test", 0))}
    (shown,) = re.findall(r'^ *(\{"qid": "test_0000.*\})$', TEXTS["data/README.md"], re.MULTILINE)
    assert shown in rows
    queries = {q for text in TEXTS.values() for q in re.findall(r'test_0000\.mp4 "([^"]+)"', text)}
    assert queries == {json.loads(shown)["query"]}


class TestParts:
    @pytest.fixture
    def files(self, project):
        """A project with the pages (their parts emptied), a notebook and a stored run."""
        for name, text in TEXTS.items():
            (project / name).parent.mkdir(exist_ok=True)
            emptied = readme._PART.sub(lambda found: f"{found[1]}\n{found[4]}", text)
            (project / name).write_text(emptied)
        path = write_notebook(project / "notebooks" / "01_a.ipynb")
        book = nbformat.read(path, as_version=4)
        book.cells[0].source = "# Where | whence does it come?\n\n**Goal.** Sampling.\nMore."
        nbformat.write(book, path)
        self.store(project, RUN)
        return project

    @staticmethod
    def store(project, results, name="flipbook"):
        path = project / "papermill_runs" / name / "results.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(results))

    def test_write_then_nothing_is_stale(self, files):
        assert list(readme.stale_files()) == list(readme.FILES)
        assert readme.write_files() == list(readme.FILES)
        assert not readme.stale_files() and readme.write_files() == []
        text = (files / "README.md").read_text()
        assert "| [01_a](notebooks/01_a.ipynb) | Where \\| whence does it come? |" in text
        row = "| model | fine-tuned | overlay-index | 1 | 70.0\u00a0[64.0,\u00a075.5] |"
        in_full = (files / "docs" / "results.md").read_text()
        assert text.count(row) == 1 and row in in_full
        assert "](papermill_runs/flipbook/" in text and "](../papermill_runs/flipbook/" in in_full
        assert "No run `flipbook_full` is stored yet." in in_full

    def test_a_changed_table_is_stale(self, files):
        readme.write_files()
        path = files / "README.md"
        path.write_text(path.read_text().replace("does it come? |", "other |"))
        assert list(readme.stale_files()) == ["README.md"]
        (files / "data" / "README.md").write_text("<!-- generated: flipbook -->\n")
        with pytest.raises(ValueError, match="and have an end; got flipbook"):
            readme.stale_files()

    def test_a_run_of_ones_own_makes_nothing_stale_but_a_reference_run_does(self, files):
        readme.write_files()
        self.store(files, RUN | {"seconds": 600.0}, DEFAULT_RUN)
        assert not readme.stale_files()
        self.store(files, RUN | {"seconds": 600.0})
        assert list(readme.stale_files()) == ["README.md", "docs/results.md"]

    def test_an_unfinished_run_is_not_shown(self, files):
        self.store(files, RUN | {"status": "unfinished"})
        readme.write_files()
        assert "No run `flipbook` is stored yet." in (files / "README.md").read_text()

    def test_a_part_is_replaced_and_an_unknown_one_refused(self):
        text = "before\n<!-- generated: a -->\nold\n<!-- end: a -->\nafter\n"
        assert readme.fill(text, {"a": "new"}) == text.replace("old", "new")
        with pytest.raises(ValueError, match="must be one of a and have an end; got b"):
            readme.fill("<!-- generated: b -->\n<!-- end: b -->", {"a": ""})

    def test_the_command(self, files, monkeypatch):
        monkeypatch.chdir(files)
        check = CliRunner().invoke(main, ["readme", "--check"])
        assert check.exit_code == 1 and check.stdout == ""
        assert check.stderr == f"Error: {' and '.join(readme.FILES)}: stale; run numpro readme\n"
        wrote = CliRunner().invoke(main, ["readme", "--json"])
        assert json.loads(wrote.stdout) == {"changed": list(readme.FILES)}
        assert CliRunner().invoke(main, ["readme", "--check"]).stdout == "nothing is stale\n"
        (files / "README.md").unlink()
        gone = CliRunner().invoke(main, ["readme"])
        assert gone.exit_code == 1 and "README.md" in gone.stderr
        assert gone.stderr.count("\n") == 1

    def test_loaded_rows_are_marked(self, files):
        row = ROWS[1] | {"loaded_from": "papermill_runs/flipbook_full", "note": "300 steps"}
        self.store(files, RUN | {"scores": [row]})
        assert (
            "| model | base<br><sub>loaded from papermill_runs/flipbook_full</sub>"
            "<br><sub>300 steps</sub> | none |"
        ) in readme.parts()["results-flipbook"]


def test_the_expected_scores_are_the_papers():
    rows = readme.parts()["expected"].splitlines()
    assert "| LongVA-7B-DPO | NumPro-FT |" in rows[-2] + rows[-1]
    (row,) = [row for row in rows if "NumPro-FT" in row]
    assert "41.4 / 63.8 / 42.0 / 20.6" in row and "25.0 / 37.2" in row
    assert len(rows) == 2 + 2 + 4
