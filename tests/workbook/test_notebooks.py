"""The structure that every notebook keeps; nbval runs them and compares what they print."""

import ast
import re
from collections import Counter
from html import unescape
from itertools import pairwise
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
    "06_controls",
    "07_compare",
    "A1_pretrain_the_tiny_models",
    "A2_look_inside",
    "A3_reward",
)
BOOKS = [ROOT / "notebooks" / f"{name}.ipynb" for name in NAMES]
KILOBYTES, CELLS, LINES, PARAMETERS, IGNORED = 400, 40, 16, 21, 4
MEDIAN = 7  # lines of a cell; few cells and short ones do not go together


def cells(path, kind="code"):
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == kind]


def tags(cell):
    return cell.metadata.get("tags", [])


def lines(cell):
    """The lines of code, without the sentence that is written below a picture."""
    return [x for x in cell.source.splitlines() if x.strip() and not re.match(r" *saw \+?= ", x)]


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


def test_the_first_six_are_read_in_an_hour():
    openings = (nbformat.read(path, as_version=4).cells[0].source for path in BOOKS[:6])
    minutes = [int(re.search(r"Reading: (\d+) minutes", text)[1]) for text in openings]
    assert BOOKS[5].stem == "05_measure" and sum(minutes) <= 60, minutes


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
        assert len(book.cells) <= CELLS

    def test_the_title_is_a_question(self, path):
        title = nbformat.read(path, as_version=4).cells[0]
        assert title.cell_type == "markdown"
        assert re.match(r"# .*\?$", title.source.splitlines()[0])

    def test_the_opening_tells_a_reader_what_to_expect(self, path):
        title, *points = nbformat.read(path, as_version=4).cells[0].source.split("\n- ")
        found = dict(re.match(r"\*\*(.+?)\.?\*\* (.+)", point).groups() for point in points)
        assert list(found) == ["You will be able to", "Know first", "Time", "Hardware", "Writes"]
        assert len(re.findall(r"\]\(\S+\)", found["Know first"])) >= 2 and "\n" in title
        assert re.search(r"Reading: \d+ minutes\. Running: ", found["Time"])

    def test_the_reading_time_is_that_of_its_words_pictures_and_code(self, path):
        book = nbformat.read(path, as_version=4).cells
        (end,) = [n for n, cell in enumerate(book) if cell.source.startswith("## Exercises")]
        code = [cell for cell in book[:end] if cell.cell_type == "code"]
        prose = [cell.source for cell in book[:end] if cell.cell_type == "markdown"]
        shown = [out.get("data", {}) for cell in code for out in cell.outputs]
        prose += [re.sub(r"^\|.*", "", out.get("text/markdown", ""), flags=re.M) for out in shown]
        words = sum(len(re.sub(r"\]\(\S*\)", "]", text).split()) for text in prose)
        # a minute is 200 words, one and a half pictures or 40 lines of code
        minutes = words / 200 + sum("image/png" in out for out in shown) / 1.5
        minutes += sum(len(lines(cell)) for cell in code) / 40
        stated = int(re.search(r"Reading: (\d+) minutes", book[0].source)[1])
        assert abs(stated - minutes) <= 1.5, f"{minutes:.1f} minutes"

    def test_parameters_are_the_second_cell_and_literals(self, path):
        book = nbformat.read(path, as_version=4)
        at = [i for i, cell in enumerate(book.cells) if "parameters" in tags(cell)]
        assert at == [1]
        parameters = read_parameters(book, path.stem)
        assert parameters["run_dir"].default == "papermill_runs/interactive"
        lines = book.cells[1].source.splitlines()
        ends = [lines[node.end_lineno - 1] for node in ast.parse(book.cells[1].source).body]
        assert all(re.search(r"  # \S", line) for line in ends), "a parameter says what it is for"

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
        assert median(sizes) <= MEDIAN and quantiles(sizes, n=10)[-1] <= 12, sizes
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
def test_an_exercise_has_an_empty_cell_a_check_and_a_folded_solution_that_passes_it(path):
    found = nbformat.read(path, as_version=4).cells
    (start,) = [n for n, cell in enumerate(found) if cell.source.startswith("## Exercises")]
    parts = found[start:]
    assert len(parts) >= 8 and len(parts) % 4 == 0
    kinds = [["try"], ["check-answer"], ["solution"]]
    for n in range(0, len(parts), 4):
        task, *code = parts[n : n + 4]
        assert re.search(rf"^### {n // 4 + 1}\. .+$", task.source, re.MULTILINE)
        facts = re.search(
            r"^\*(Easy|Medium|Hard), \d+ minutes\. (.*?)\*", task.source, re.MULTILINE
        )
        assert "Predict first" in facts[2]
        assert [tags(cell) for cell in code] == kinds
        assert re.match(r"mine = \.\.\.  # .", code[0].source), "only a comment says what is wanted"
        assert re.search(r"^check = Check\(", code[1].source, re.MULTILINE)
        assert code[1].source.rstrip().endswith("check(mine)")
        assert re.search(r"^mine = |^    mine = ", code[2].source, re.MULTILINE)
        assert re.search(r"^assert check\(mine\)$", code[2].source, re.MULTILINE)
        assert code[2].metadata["jupyter"]["source_hidden"]
        assert "not tried yet" in "".join(out.get("text", "") for out in code[1].outputs)
        assert re.search(r"^right$", "".join(o.get("text", "") for o in code[2].outputs), re.M)
    texts = " ".join(cell.source for cell in parts if cell.cell_type == "markdown")
    assert "A mistake that people really make: " in texts


SAW = "**What you see.**"


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_every_picture_is_followed_by_what_one_sees(path):
    for cell in cells(path):
        for call in (n for n in ast.walk(ast.parse(cell.source)) if isinstance(n, ast.Call)):
            name = ast.unparse(call.func)
            if name in ("run.show", "plots.show"):
                most = 4 if name == "run.show" else 3
                assert len(call.args) == most, f"no sentence below: {ast.unparse(call)}"
        kinds = [out.get("data", {}) for out in cell.outputs]
        for picture, below in pairwise([*kinds, {}]):
            if "image/png" in picture:
                text = below.get("text/markdown", "")
                assert text.startswith(SAW) and 30 < len(text) < 500, cell.source
                assert not re.search(r"\bnan\b|None", text), text


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_sentences_below_pictures_say_what_the_stored_run_says(path):
    stored = ROOT / "papermill_runs" / "flipbook" / path.name
    texts = [[out["data"]["text/markdown"] for cell in cells(book) for out in cell.outputs
              if out.get("data", {}).get("text/markdown", "").startswith(SAW)]
             for book in (path, stored)]  # fmt: skip
    assert texts[0] and texts[0] == texts[1], "save the notebooks, or make the stored run, again"


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_every_table_is_followed_by_what_one_sees(path):
    for cell in cells(path):
        for out in cell.outputs:
            text = out.get("data", {}).get("text/markdown", "")
            if "|---|" in text:
                assert re.search(r"What you see|^- ", text.rpartition("|\n")[2], re.MULTILINE), text


def pictures(cell):
    return [out for out in cell.outputs if "image/png" in out.get("data", {})]


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_pictures_are_many_and_have_words_for_who_cannot_see_them(path):
    shown = [c for c in cells(path) if not {"parameters", "try", "check-answer"} & set(tags(c))]
    kinds = {"image/png", "text/markdown", "application/vnd.jupyter.widget-view+json"}
    visual = [c for c in shown if any(kinds & set(o.get("data", {})) for o in c.outputs)]
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
    (end,) = [n for n, cell in enumerate(found) if cell.source.startswith("## Exercises")]
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
    found |= {"first": {"base": [row]}, "Counter": Counter, "gains": {}}
    exec(cell.source, found)
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
    "A2_look_inside": ("by_hand",),
    "A3_reward": ("by_hand",),
}


def test_every_word_of_the_glossary_is_linked_where_it_first_comes_up():
    glossary = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    words = re.findall(r'<a id="(\w+)"></a>\*\*(.+?)\*\*', glossary)
    wanted = "frame span base adapter IoU label ceiling mIoU saliency overlay interval LoRA arm "
    wanted += "time-encoding floor R@0.5 mAP,-HIT@1 control"
    assert [word.replace(" ", "-") for _, word in words] == wanted.split()
    linked = [place for path in BOOKS for cell in cells(path, "markdown")
              for place in re.findall(r"glossary\.md#(\w+)", cell.source)]  # fmt: skip
    assert list(dict.fromkeys(linked)) == [place for place, _ in words], "not in the order met"


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
