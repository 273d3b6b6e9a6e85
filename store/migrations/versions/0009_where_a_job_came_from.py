"""Jobs remember the request that asked for them, and its trace; ends of jobs are found by their time.

Nothing old changes, and processes of the version before may go on while this is applied.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # One statement each: batch mode would copy the table on SQLite.
    op.add_column("job", sa.Column("request_id", sa.String(64)))
    op.add_column("job", sa.Column("traceparent", sa.String(64)))
    op.create_index("ix_job_finished_at", "job", ["finished_at"])


def downgrade() -> None:
    op.drop_index("ix_job_finished_at", "job")
    op.drop_column("job", "traceparent")
    op.drop_column("job", "request_id")
