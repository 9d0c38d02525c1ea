"""Parameters: what a notebook declares, what is taken, what is refused."""

import nbformat
import pytest
from projects import PARAMETERS, write_notebook

from numpro.parameters import Parameter, check_parameters, parse_pairs, read_parameters, read_recipe


@pytest.fixture
def known(tmp_path):
    return read_parameters(nbformat.read(write_notebook(tmp_path / "n.ipynb"), as_version=4))


def test_names_types_and_defaults_are_read(known):
    assert list(known) == [line.split(":")[0] for line in PARAMETERS.splitlines()]
    assert known["fps"] == Parameter("fps", "float", 1.0)
    assert known["positions"].default == ["center"]
    assert known["adapter"] == Parameter("adapter", "str | None", None)


def test_a_comment_may_hold_anything(tmp_path):
    cell = 'style: str = "a=b # c"  # größer = better: x = 1'
    book = nbformat.read(write_notebook(tmp_path / "n.ipynb", parameters=cell), as_version=4)
    assert read_parameters(book)["style"].default == "a=b # c"


@pytest.mark.parametrize(
    "cell",
    [
        pytest.param("fps = 1.0", id="no type"),
        pytest.param("half: int = 8 // 2", id="derived value"),
        pytest.param("import numpro", id="an import"),
        pytest.param("fps: int", id="no value"),
        pytest.param("fps: int = 'one'", id="default of another type"),
        pytest.param("fps: number = 1", id="unknown type"),
    ],
)
def test_a_parameters_cell_holds_declared_literals_only(tmp_path, cell):
    book = nbformat.read(write_notebook(tmp_path / "n.ipynb", parameters=cell), as_version=4)
    with pytest.raises(ValueError, match="parameters cell|declared type|type must be"):
        read_parameters(book)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        pytest.param("video", "007", "007", id="digits stay text"),
        pytest.param("video", "true", "true", id="a word stays text"),
        pytest.param("fps", "2", 2.0, id="an integer is a float"),
        pytest.param("fps", "12e4", 120000.0, id="exponent"),
        pytest.param("seed", "-1", -1, id="negative"),
        pytest.param("positions", '["center", "top_left"]', ["center", "top_left"], id="JSON list"),
        pytest.param("positions", "center, top_left", ["center", "top_left"], id="comma list"),
        pytest.param("positions", "", [], id="empty list"),
        pytest.param("adapter", "None", None, id="None where it is allowed"),
        pytest.param("adapter", "none", "none", id="a word like None"),
        pytest.param("video", "None", "None", id="None where it is not"),
    ],
)
def test_text_is_read_by_the_declared_type(known, name, text, value):
    parsed = parse_pairs([(name, text)], known)[name]
    assert (parsed, type(parsed)) == (value, type(value))


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        pytest.param("seed", "1.5", "seed must be int; got '1.5'", id="fraction for an int"),
        pytest.param("fps", "fast", "fps must be float; got 'fast'", id="word for a float"),
        pytest.param("fps", "nan", "fps must be float; got 'nan'", id="not a number"),
        pytest.param("fsp", "1", "unknown parameter fsp; did you mean fps?", id="a slip"),
        pytest.param("zzz", "1", "unknown parameter zzz; known: fps, limit", id="nothing near"),
        pytest.param("positions", "[1]", "positions must be list", id="list of another type"),
        pytest.param("positions", "[1", "positions must be list", id="broken JSON"),
    ],
)
def test_text_of_another_type_is_refused(known, name, text, says):
    with pytest.raises(ValueError) as error:
        parse_pairs([(name, text)], known)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("text", "value"), [("yes", True), ("TRUE", True), ("0", False), ("no", False)]
)
def test_booleans_are_read(text, value):
    assert Parameter("numbers", "bool", True).parse(text) is value


def test_a_boolean_is_no_number_and_the_other_way_round():
    assert not Parameter("seed", "int", 0).accepts(True)
    assert not Parameter("fps", "float", 0.0).accepts(True)
    assert not Parameter("numbers", "bool", True).accepts(1)
    with pytest.raises(ValueError, match="numbers must be bool; got 'maybe'"):
        Parameter("numbers", "bool", True).parse("maybe")


def test_all_faults_are_told_at_once(known):
    with pytest.raises(ValueError) as error:
        check_parameters({"fsp": 1, "seed": "x", "limit": 2}, known)
    assert "fsp" in str(error.value) and "seed must be int; got 'x'" in str(error.value)
    assert "limit" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        pytest.param("video: 1:30", "video", id="base 60"),
        pytest.param("video: yes", "video", id="yes is a boolean"),
        pytest.param("fps: 1e5", "fps", id="exponent without a point is text"),
    ],
)
def test_what_yaml_misreads_is_explained(tmp_path, known, text, name):
    recipe = tmp_path / "r.yaml"
    recipe.write_text(text)
    with pytest.raises(ValueError, match=rf"{name} must be .*YAML 1\.1"):
        check_parameters(read_recipe(recipe), known, yaml=True)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("- fps", "must hold 'name: value' lines", id="a list"),
        pytest.param("fps", "must hold 'name: value' lines", id="a word"),
        pytest.param("on: 1", "a name must be text; got True", id="a name YAML misreads"),
        pytest.param("fps: [1", "is not YAML", id="broken"),
        pytest.param("\x00", "is not YAML", id="binary"),
        pytest.param("day: 2024-13-45", "is not YAML: month must be", id="date"),
        pytest.param("a: " + "[" * 9000, "is not YAML: maximum recursion", id="deep"),
    ],
)
def test_a_recipe_is_a_flat_mapping(tmp_path, text, says):
    recipe = tmp_path / "r.yaml"
    recipe.write_text(text)
    with pytest.raises(ValueError, match=says):
        read_recipe(recipe)


def test_an_empty_recipe_changes_nothing(tmp_path):
    (tmp_path / "r.yaml").write_text("# nothing\n")
    assert read_recipe(tmp_path / "r.yaml") == {}


def test_a_missing_recipe_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no recipe .*r\.yaml"):
        read_recipe(tmp_path / "r.yaml")
