from pathlib import Path

import pytest

from alkaflow.errors import BadInputError
from alkaflow.settings import load_settings


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings()
    assert settings.data_dir == Path.home() / ".local" / "share" / "alkaflow"
    assert settings.mongodb_uri is None


def test_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("threads: 3\ndatabase: from_file\n", encoding="utf-8")
    monkeypatch.setenv("ALKAFLOW_CONFIG_FILE", str(file))
    monkeypatch.setenv("ALKAFLOW_THREADS", "5")
    settings = load_settings()
    assert (settings.threads, settings.database) == (5, "from_file")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("thread: 3\n", "did you mean 'threads'"),
        ("threads: many\n", "setting 'threads'"),
        ("- a\n", "expected 'key: value'"),
        ("threads: 0\n", "0 cannot be used; give a whole number"),
    ],
)
def test_bad_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, message: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(content, encoding="utf-8")
    monkeypatch.setenv("ALKAFLOW_CONFIG_FILE", str(file))
    with pytest.raises(BadInputError, match=message):
        load_settings()


def test_bad_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALKAFLOW_THREAD", "3")
    with pytest.raises(BadInputError, match="did you mean 'ALKAFLOW_THREADS'"):
        load_settings()
    monkeypatch.delenv("ALKAFLOW_THREAD")
    monkeypatch.setenv("ALKAFLOW_CONFIG_FILE", "/nowhere/at/all.yaml")
    with pytest.raises(BadInputError, match="does not exist"):
        load_settings()


def test_a_password_that_others_can_read_is_refused_and_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("mongodb_uri: mongodb://user:canary@localhost/\n", encoding="utf-8")
    monkeypatch.setenv("ALKAFLOW_CONFIG_FILE", str(file))
    file.chmod(0o644)
    with pytest.raises(BadInputError, match="chmod 600") as caught:
        load_settings()
    assert "canary" not in str(caught.value)
    file.chmod(0o600)
    assert "canary" not in repr(load_settings())
