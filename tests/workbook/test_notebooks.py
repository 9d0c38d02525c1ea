"""The structure that every notebook keeps; nbval runs them and compares what they print."""

import ast
import re
from html import unescape
from pathlib import Path
from statistics import median, quantiles
from types import SimpleNamespace

import nbformat
import pytest
from projects import MACHINE_PATHS, write_notebook

from numpro.parameters import check_parameters, read_parameters, read_recipe
from numpro.workbook.notebooks import execute
from numpro.workbook.runs import find_notebooks, known_parameters

ROOT = Path(__file__).resolve().parents[2]
NAMES = (
    "00_start_here",
    "01_prepare_data",
    "02_design_the_numbers",
    "03_fine_tune_with_lora",
    "04_find_the_moment",
    "05_measure",
    "A1_pretrain_the_tiny_models",
)
BOOKS = [ROOT / "notebooks" / f"{name}.ipynb" for name in NAMES]
KILOBYTES, LINES, PARAMETERS, IGNORED = 400, 16, 21, 4


def cells(path, kind="code"):
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == kind]


def tags(cell):
    return cell.metadata.get("tags", [])


def lines(cell):
    return [line for line in cell.source.splitlines() if line.strip()]


def test_the_notebooks_are_these_in_this_order():
    assert [path.stem for path in find_notebooks(ROOT / "notebooks")] == list(NAMES)


def test_their_parameters_have_one_type_each():
    known_parameters([path for path in BOOKS if path.is_file()])


def test_the_recipes_fit_the_notebooks():
    recipes = sorted((ROOT / "papermill_runs" / "recipes").glob("*.yaml"))
    assert recipes
    known = known_parameters(find_notebooks(ROOT / "notebooks"))
    for recipe in recipes:
        check_parameters(read_recipe(recipe), known, yaml=True)


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
class TestNotebook:
    def test_format(self, path):
        book = nbformat.read(path, as_version=4)
        nbformat.validate(book)
        assert (book.nbformat, book.nbformat_minor) == (4, 5)
        assert book.metadata.kernelspec.name == "python3"
        assert book.metadata.kernelspec.language == "python"
        assert "papermill" not in book.metadata
        assert path.stat().st_size <= KILOBYTES * 1024

    def test_the_title_is_a_question(self, path):
        title = nbformat.read(path, as_version=4).cells[0]
        assert title.cell_type == "markdown"
        assert re.match(r"# .*\?$", title.source.splitlines()[0])

    def test_parameters_are_the_second_cell_and_literals(self, path):
        book = nbformat.read(path, as_version=4)
        at = [i for i, cell in enumerate(book.cells) if "parameters" in tags(cell)]
        assert at == [1]
        parameters = read_parameters(book, path.stem)
        assert parameters["run_dir"].default == "papermill_runs/interactive"
        assert all(parameter.help for parameter in parameters.values())

    def test_outputs_are_those_of_one_run_from_top_to_bottom(self, path):
        code = [cell for cell in cells(path) if cell.source.strip()]
        assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
        kinds = {output.output_type for cell in code for output in cell.outputs}
        assert "error" not in kinds
        streams = [o for c in code for o in c.outputs if o.output_type == "stream"]
        assert {stream.name for stream in streams} <= {"stdout"}

    def test_code_is_plain_and_short(self, path):
        code = cells(path)
        for cell in code:
            most = PARAMETERS if "parameters" in tags(cell) else LINES
            assert len(lines(cell)) <= most, cell.source
            assert not re.search(r"^\s*[!%]", cell.source, re.MULTILINE), cell.source
            assert not re.search(r";\s*$", cell.source, re.MULTILINE), cell.source
            assert not {"nbval-skip", "raises-exception"} & set(tags(cell)), cell.source
            assert "NBVAL_SKIP" not in cell.source
        sizes = [len(lines(cell)) for cell in code]
        assert median(sizes) <= 4 and quantiles(sizes, n=10)[-1] <= 12, sizes
        assert sum("NBVAL_IGNORE_OUTPUT" in c.source or "nbval-ignore-output" in tags(c)
                   for c in code) <= IGNORED  # fmt: skip

    def test_functions_are_written_only_to_rebuild_an_idea(self, path):
        for cell in cells(path):
            tree = ast.parse(cell.source)
            made = [
                node
                for node in ast.walk(tree)
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            ]
            if "rebuild" not in tags(cell):
                assert not made, cell.source
                continue
            last = tree.body[-1]
            called = ast.unparse(last)
            assert isinstance(last, ast.Assert) or "assert_" in called, cell.source
            assert "numpro" in cell.source or "package" in called, cell.source

    def test_no_path_of_a_machine(self, path):
        text = path.read_text(encoding="utf-8")
        for cell in nbformat.read(path, as_version=4).cells:
            assert not MACHINE_PATHS.search(cell.source), cell.source
            for output in cell.get("outputs", []):
                shown = output.get("data", {"text/plain": output.get("text", "")})
                for kind, content in shown.items():
                    if not kind.startswith("image/"):
                        assert not MACHINE_PATHS.search(str(content)), content
        assert str(ROOT) not in text

    def test_links_lead_somewhere(self, path):
        for cell in cells(path, "markdown"):
            for target in re.findall(r"\]\(([^)#\s]+)", cell.source):
                if not re.match(r"https?:|mailto:|attachment:|data:", target):
                    assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_two_things_to_try_have_folded_solutions_that_run(path):
    solved = [cell for cell in cells(path) if "solution" in tags(cell)]
    assert len(solved) == 2
    assert all(cell.metadata["jupyter"]["source_hidden"] for cell in solved)
    tasks = [c for c in cells(path, "markdown") if re.match(r"## Two things|2\. ", c.source)]
    assert len(tasks) == 2


def pictures(cell):
    return [out for out in cell.outputs if "image/png" in out.get("data", {})]


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_pictures_are_many_and_have_words_for_who_cannot_see_them(path):
    shown = [c for c in cells(path) if "parameters" not in tags(c)]
    widget = "application/vnd.jupyter.widget-view+json"
    visual = [
        c for c in shown if pictures(c) or any(widget in o.get("data", {}) for o in c.outputs)
    ]
    assert len(visual) >= len(shown) / 3
    for cell in shown:
        for out in pictures(cell):
            assert len(out.metadata["image/png"]["alt"]) > 20, cell.source


def test_the_page_for_screen_readers_hands_the_words_on():
    from nbconvert import HTMLExporter

    assert "--template classic" in (ROOT / "docs" / "troubleshooting.md").read_text()
    path = ROOT / "notebooks" / "05_measure.ipynb"
    page, _ = HTMLExporter(template_name="classic").from_filename(path)
    words = [out.metadata["image/png"]["alt"] for c in cells(path) for out in pictures(c)]
    assert words and words == list(map(unescape, re.findall(r'(?<= alt=")[^"]+', page)))


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_what_was_seen_is_written_by_the_run(path):
    found = nbformat.read(path, as_version=4).cells
    (start,) = [n for n, cell in enumerate(found) if cell.source.startswith("## What we saw")]
    (end,) = [n for n, cell in enumerate(found) if cell.source.startswith("## Two things")]
    outputs = [out for cell in found[start:end] for out in cell.get("outputs", [])]
    assert [len(out["data"]["text/markdown"]) > 60 for out in outputs] == [True]


ANSWERS = ["<script>alert(1)</script>", "[a](javascript:alert(1))", "**1** `2` _3_ # 4\n\n- 5",
           "![](http://127.0.0.1/x.png)", r"$\href{javascript:alert(1)}{a}$", "&lt;b&gt; | x",
           "</code><img src=x onerror=alert(1)>"]  # fmt: skip


@pytest.mark.parametrize("number", ["00", "04"])
@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_is_text_in_an_exported_page(number, answer):
    from bs4 import BeautifulSoup
    from nbconvert import HTMLExporter

    book = nbformat.read(next((ROOT / "notebooks").glob(f"{number}_*.ipynb")), as_version=4)
    (cell,) = [c for c in book.cells if c.cell_type == "code" and "plain_text(" in c.source]
    row = {"response": answer, "reason": None, "pred": []}
    found = {"answers": {"base": SimpleNamespace(text=answer)}, "truth": None}
    exec(cell.source, found := found | {"first": {"base": [row]}})
    output = nbformat.v4.new_output("display_data", {"text/markdown": "\n".join(found["lines"])})
    page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=[output])])
    html, _ = HTMLExporter().from_notebook_node(page)
    shown = BeautifulSoup(html, "html.parser").find("div", class_="jp-RenderedMarkdown")
    assert shown.find("code").get_text() == " ".join(answer.split())
    assert {tag.name for tag in shown.find_all(True)} <= {"ul", "li", "p", "strong", "code"}


REBUILT = {
    "00_start_here": ("number_by_hand", "span_by_hand"),
    "03_fine_tune_with_lora": ("by_hand",),
    "05_measure": ("iou_by_hand", "ap_by_hand"),
}


@pytest.mark.parametrize("name", REBUILT)
def test_each_idea_is_first_built_by_hand(name):
    rebuilt = [
        c.source for c in cells(ROOT / "notebooks" / f"{name}.ipynb") if "rebuild" in tags(c)
    ]
    assert all(any(idea in source for source in rebuilt) for idea in REBUILT[name])


def test_a_kernel_does_not_spin_while_it_waits(project, monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    source = "import os\nassert os.environ['OMP_WAIT_POLICY'] == 'PASSIVE'"
    book = write_notebook(project / "notebooks" / "00_one.ipynb", source)
    execute(book, project / "out.ipynb", {}, "one")
