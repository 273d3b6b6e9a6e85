"""Names for models."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy.orm import Session

from store import aliases, models, projects
from store.errors import ModelAliasNotFound, ModelHasAlias, ModelNotFound
from store.models import NewModel
from store.sessions import Database
from store.tables import DEFAULT_PROJECT
from tests.store.helpers import do, running_training


def model(database: Database) -> str:
    new = NewModel("cells", "ssd", "harmonic", [], {}, {}, [])
    return do(database, models.finish_training, running_training(database), model=new).id


def put(database: Database, name: str, model_id: str) -> aliases.Move:
    def act(session: Session) -> aliases.Move:
        aliases.hold(session, DEFAULT_PROJECT)
        return aliases.put(session, DEFAULT_PROJECT, name, model_id=model_id)

    return database.run(act)


def test_a_name_means_the_model_it_was_moved_to(database: Database) -> None:
    first, second = model(database), model(database)
    made = put(database, "production", first)
    assert (made.created, made.alias.version) == (True, 1)
    assert do(database, models.resolve, DEFAULT_PROJECT, "production").id == first
    again = put(database, "production", first)
    assert (again.created, again.alias.version) == (False, 1)
    moved = put(database, "production", second)
    assert (moved.created, moved.alias.version, moved.alias.id) == (False, 2, made.alias.id)
    assert do(database, models.resolve, DEFAULT_PROJECT, "production").id == second
    assert do(database, models.resolve, DEFAULT_PROJECT, first).id == first
    with pytest.raises(ModelHasAlias, match="production"):
        do(database, models.delete, DEFAULT_PROJECT, second)
    do(database, models.delete, DEFAULT_PROJECT, first)
    do(database, aliases.delete, DEFAULT_PROJECT, "production")
    do(database, models.delete, DEFAULT_PROJECT, second)


def test_a_name_belongs_to_a_project(database: Database) -> None:
    mine = model(database)
    put(database, "production", mine)
    other = do(database, projects.ensure, "others").id
    with pytest.raises(ModelNotFound):
        do(database, models.resolve, other, "production")
    with pytest.raises(ModelAliasNotFound):
        do(database, aliases.delete, other, "production")
    with pytest.raises(ModelNotFound):
        do(database, aliases.put, other, "production", model_id=mine)


@pytest.mark.parametrize("name", ["", "mdl_x", "Production", "a b", "-a", "a\0", "a" * 101, "ä"])
def test_what_could_be_an_id_or_break_a_path_is_no_name(sqlite_database: Database, name: str) -> None:
    with pytest.raises(ModelNotFound):
        do(sqlite_database, models.resolve, DEFAULT_PROJECT, name)
    with pytest.raises(ValueError, match="name of a model"):
        do(sqlite_database, aliases.put, DEFAULT_PROJECT, name, model_id="mdl_x")


def test_moves_at_once_come_one_after_the_other(database: Database) -> None:
    several = [model(database) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        moves = list(threads.map(lambda one: put(database, "production", one), several))
    assert sum(move.created for move in moves) == 1
    assert sorted(move.alias.version for move in moves) == [1, 2, 3, 4]
