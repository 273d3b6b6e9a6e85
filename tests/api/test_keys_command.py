"""`harmonicdet keys`: what an operator does before anybody else can ask."""

import json
import os
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from api.app import create_app
from api.settings import Settings
from harmonicdet.cli import app as command
from store.settings import read
from tests.api.served import Served


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("HARMONICDET_") and name != "HARMONICDET_BLOCK_TORCH":
            monkeypatch.delenv(name)


def run(*arguments: str, data: Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(command, ["keys", *arguments, "--data", str(data)])
    return done.exit_code, done.stdout, done.stderr


def test_a_key_made_by_the_operator_opens_the_door(tmp_path: Path) -> None:
    code, out, said = run("create", "ci", "--scope", "read", "--days", "30", data=tmp_path)
    assert code == 0
    text = out.strip()
    assert text.startswith("hd_")
    assert "\n" not in text, "a script can take the output as it is"
    settings = Settings(data=tmp_path, require_keys=True, min_free_bytes=0)
    with TestClient(create_app(settings), base_url="http://localhost") as client:
        headers = {"Authorization": f"Bearer {text}"}
        assert client.get("/v1/me", headers=headers).json()["scopes"] == ["read"]
        key_id = said.split()[0]
        assert run("list", data=tmp_path)[1].count(key_id) == 1
        assert run("revoke", key_id, data=tmp_path)[0] == 0
        assert client.get("/v1/me", headers=headers).status_code == 401


def test_the_secrets_of_a_container_count_beside_its_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There `HARMONICDET_DATA` is set, and secrets are files."""
    (tmp_path / "harmonicdet_secret").write_text("a secret that only this file has, long enough")
    monkeypatch.setenv("HARMONICDET_SECRETS_DIR", str(tmp_path))
    text = run("create", "ci", "--scope", "read", data=tmp_path / "data")[1].strip()
    settings = read(Settings, data=tmp_path / "data", require_keys=True, min_free_bytes=0)
    with TestClient(create_app(settings), base_url="http://localhost") as client:
        assert client.get("/v1/me", headers={"Authorization": f"Bearer {text}"}).status_code == 200


def test_a_project_is_made_with_its_first_key(tmp_path: Path) -> None:
    text = run("create", "team", "--project", "cells", data=tmp_path)[1].strip()
    settings = Settings(data=tmp_path, require_keys=True, min_free_bytes=0)
    with TestClient(create_app(settings), base_url="http://localhost") as client:
        me = client.get("/v1/me", headers={"Authorization": f"Bearer {text}"}).json()
    assert me["project"]["name"] == "cells"
    assert me["scopes"] == ["predict", "read", "train"]


def test_keys_are_made_listed_and_revoked_over_the_network(
    server: Served,
) -> None:
    where = ["--url", f"http://127.0.0.1:{server.port}"]

    def asked(*arguments: str) -> str:
        done = CliRunner().invoke(command, ["keys", *arguments, *where])
        assert done.exit_code == 0, done.output
        return done.stdout

    text = asked("create", "ci", "--scope", "read", "--days", "30").strip()
    assert text.startswith("hd_")
    assert "\n" not in text
    found = json.loads(asked("list", "--json"))
    assert [(one["name"], one["scopes"]) for one in found] == [("ci", ["read"])]
    assert text.startswith(found[0]["prefix"])
    assert text not in json.dumps(found)
    assert "is revoked" in asked("revoke", found[0]["id"])
    assert json.loads(asked("list", "--json"))[0]["revoked_at"] is not None
    # Whoever looks into the database of that service sees the same.
    kept = run("list", "--json", data=server.services.settings.data)[1]
    assert json.loads(kept) == json.loads(asked("list", "--json"))
    elsewhere = CliRunner().invoke(command, ["keys", "list", *where, "--project", "cells"])
    assert elsewhere.exit_code == 2
    assert "the project of the key" in elsewhere.stderr


def test_what_cannot_be_done_is_said_in_a_line(tmp_path: Path) -> None:
    code, _, said = run("revoke", "key_nobody", data=tmp_path)
    assert (code, said.strip()) == (1, "harmonicdet keys: There is no such key.")
    code, _, said = run("create", "x", "--scope", "everything", data=tmp_path)
    assert code == 2
    assert "read, train, predict, admin" in said
    assert run("list", "--project", "nobody", data=tmp_path)[0] == 1
