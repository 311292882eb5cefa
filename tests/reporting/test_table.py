"""Tables as text."""

from qunlearn.reporting.table import markdown_table, text_table


def test_text_table_is_aligned_with_a_line_for_every_model(evaluation):
    lines = text_table(evaluation).splitlines()
    heading, rule, *body = lines[: 2 + len(evaluation["summary"])]

    assert [line.split()[0] for line in body] == [row["method"] for row in evaluation["summary"]]
    assert set(rule) == {"-"}
    starts = {line.index("±") for line in body}
    assert len(starts) == 1  # the first column's numbers stand below each other
    assert heading.split() == ["method", "FA", "RA", "TA", "MIA", "Gap", "Ratio", "Verdict", "Cost", "Flips"]


def test_text_table_fits_a_wide_terminal_and_has_no_trailing_spaces(evaluation):
    lines = text_table(evaluation).splitlines()

    assert max(map(len, lines[:10])) <= 150
    assert all(line == line.rstrip() for line in lines)


def test_tables_say_seeds_and_noise_floor(evaluation, one_seed):
    floor = f"{evaluation['context']['noise_floor']:.2f}"

    assert f"Noise floor between retrained models: {floor} points" in text_table(evaluation)
    assert "3 seeds (0, 1, 2)" in markdown_table(evaluation)
    assert "1 seed (1)" in text_table(one_seed)


def test_markdown_table_has_equal_columns_and_bold_best_values(evaluation):
    rows = [line for line in markdown_table(evaluation).splitlines() if line.startswith("|")]
    oeu = next(row for row in rows if "`oeu`" in row)

    assert len({row.count("|") for row in rows}) == 1
    assert oeu.count("**") >= 4
    assert not any("**" in row for row in rows if "`original`" in row or "`retrain`" in row)


def test_an_oracle_is_marked_and_explained(evaluation, one_seed):
    text, markdown = text_table(evaluation), markdown_table(evaluation)

    assert any(line.startswith("random_label ORACLE ") for line in text.splitlines())
    assert "| `random_label` **ORACLE** |" in markdown
    assert all("settings chosen with the retrained model" in table for table in (text, markdown))


def test_without_an_oracle_none_is_explained(evaluation):
    methods = {name: {**entry, "selected_by": "given"} for name, entry in evaluation["context"]["methods"].items()}
    summary = [{**row, "selected_by": None} for row in evaluation["summary"]]
    changed = {**evaluation, "summary": summary, "context": {**evaluation["context"], "methods": methods}}

    assert "ORACLE" not in text_table(changed)
    assert "ORACLE" not in markdown_table(changed)


def test_a_float_network_has_no_column_of_codes(float_network):
    assert "Flips" not in text_table(float_network)
    assert "Flips" not in markdown_table(float_network)
