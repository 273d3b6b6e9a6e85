"""Projects: the tenants."""

from sqlalchemy.orm import Session

from store.errors import ProjectNotFound
from store.tables import Project


def get(session: Session, project_id: str) -> Project:
    """Raises `ProjectNotFound`."""
    project = session.get(Project, project_id)
    if project is None:
        raise ProjectNotFound
    return project
