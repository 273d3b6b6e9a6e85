"""Indexes in the order of what a poll asks for: the queue, and the evaluations of a training.

Nothing old changes, and processes of the version before may go on while this is applied.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_MEASURED = sa.text("split <> 'train'")


def upgrade() -> None:
    op.create_index("ix_job_status_queue_priority_id", "job", ["status", "queue", "priority", "id"])
    op.create_index(
        "ix_job_metric_last",
        "job_metric",
        ["job_id", "step", "split"],
        sqlite_where=_MEASURED,
        postgresql_where=_MEASURED,
    )
    # An order that the databases write differently, and that alembic cannot read back: see env.py.
    ap = {
        "sqlite": """json_extract("values", '$.AP') DESC""",
        "postgresql": """(("values" ->> 'AP')::double precision) DESC NULLS LAST""",
    }[op.get_bind().dialect.name]
    op.execute(
        f"CREATE INDEX ix_job_metric_best ON job_metric (job_id, {ap}, step, split) WHERE split <> 'train'"
    )


def downgrade() -> None:
    for name, table in (
        ("ix_job_metric_best", "job_metric"),
        ("ix_job_metric_last", "job_metric"),
        ("ix_job_status_queue_priority_id", "job"),
    ):
        op.drop_index(name, table)
