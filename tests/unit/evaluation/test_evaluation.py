import json

import pytest
from typer.testing import CliRunner

from tintype.cli import app
from tintype.errors import SettingsError, TintypeError, TrainingError
from tintype.evaluation import Effort, Evaluation, examine
from tintype.evaluation.figures import Figure, Report
from tintype.evaluation.groups import SEEN, scenes_of_group
from tintype.evaluation.page import add_to_card, markdown, write_page

REPORT = Report(
    "tiny <&>",
    (
        Figure("Autoencoder", "PSNR, flat", 26.91, (26.5, 27.3), {"bicubic": 23.5}, "dB", 128),
        Figure("Fidelity", "setting | new", 0.875, (0.8, 0.92), {"chance": 1 / 6}, "%", 256, "91% of drawn"),
    ),
    ("CLIP: not measurable",),
    {"size": 64, "steps": 20, "guidance_scale": 4.0},
)


def test_markdown_has_a_row_for_every_figure():
    text = markdown(REPORT)
    assert "| PSNR, flat | 26.9 dB | 26.5 dB to 27.3 dB | bicubic 23.5 dB | 128 |  |" in text
    assert "| setting \\| new | 87.5 % | 80.0 % to 92.0 % | chance 16.7 % | 256 | 91% of drawn |" in text
    assert "- CLIP: not measurable" in text


def test_a_page_says_the_same(tmp_path):
    write_page(REPORT, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "tiny &lt;&amp;&gt;" in text
    assert "<td>87.5 %</td>" in text
    assert text.count("<svg") == 1
    with pytest.raises(SettingsError, match=r"\.html or \.md"):
        write_page(REPORT, tmp_path / "page.pdf")


def test_the_section_of_a_card_is_replaced(tmp_path):
    card = tmp_path / "README.md"
    card.write_text("# A model\n\nWords.\n\n## Licence\n\nFree.\n")
    add_to_card(REPORT, card)
    once = card.read_text()
    assert once.startswith("# A model\n\nWords.\n\n## Licence\n\nFree.\n\n## Evaluation\n")
    card.write_text(once + "\n## More\n\nLast.\n")
    add_to_card(REPORT, card)
    assert card.read_text() == once + "\n## More\n\nLast.\n"


def test_a_report_is_there_at_the_end_only(examined, tmp_path):
    evaluation = Evaluation(examined, tmp_path, Effort.of(4))
    next(iter(evaluation))
    with pytest.raises(TintypeError, match="not been run to its end"):
        _ = evaluation.report
    with pytest.raises(SettingsError, match="at least 4"):
        Effort.of(3)


def test_the_command_measures_all_parts(run, tmp_path):
    pages = ["--json", str(tmp_path / "all.json"), "-o", str(tmp_path / "page.html"), "--keep", str(tmp_path / "kept")]
    result = CliRunner().invoke(app, ["evaluate", str(run), "--pictures", "4", *pages], catch_exceptions=False)
    assert result.exit_code == 0
    found = json.loads((tmp_path / "all.json").read_text())
    assert {figure["part"] for figure in found["figures"]} == {
        "Autoencoder",
        "CLIP",
        "Denoiser",
        "Fidelity",
        "Likeness",
    }
    assert found["not_measured"] == []
    assert "in the features of CLIP" in result.stdout
    assert "retrieval at 1 among 16" in (tmp_path / "page.html").read_text()
    assert len(list((tmp_path / "kept").glob("*/00000.safetensors"))) == 3


def test_a_model_without_its_run_has_no_image_tower(run):
    assert examine(run).towers is not None
    alone = examine(run / "model")
    assert alone.towers is None
    assert alone.curriculum is not None
    assert alone.folder == run / "model"


def test_anybodys_pictures_are_no_curriculum(run, tmp_path):
    for path in (run / "model").iterdir():
        (tmp_path / path.name).symlink_to(path)
    recipe = json.loads((run / "model" / "recipe.json").read_text()) | {"data": "photographs"}
    (tmp_path / "recipe.json").unlink()
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    alone = examine(tmp_path)
    assert alone.curriculum is None
    assert scenes_of_group(alone, SEEN, 4) == []


def test_a_run_without_a_model_says_what_to_do(tmp_path):
    (tmp_path / "clip").mkdir()
    with pytest.raises(TrainingError, match="tintype train model"):
        examine(tmp_path)
