"""Searches and their trials. Nothing old changes."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "search",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("project_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=True),
        sa.Column("dataset_id", sa.String(length=40), nullable=True),
        sa.Column("initial_model_id", sa.String(length=40), nullable=True),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=True),
        sa.Column("outcome", sa.String(length=20), nullable=True),
        sa.Column("cancelling", sa.Boolean(), nullable=False),
        sa.Column("pausing", sa.Boolean(), nullable=False),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("error", sa.JSON(), nullable=True),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name="fk_search_project_id_project"),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["dataset.id"], name="fk_search_dataset_id_dataset", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name="fk_search_job_id_job"),
        sa.PrimaryKeyConstraint("id", name="pk_search"),
    )
    op.create_index("ix_search_project_id_id", "search", ["project_id", "id"])
    op.create_index("ix_search_dataset_id", "search", ["dataset_id"])
    op.create_index("ix_search_initial_model_id", "search", ["initial_model_id"])
    op.create_index("ix_search_job_id", "search", ["job_id"])
    op.create_table(
        "search_trial",
        sa.Column("search_id", sa.String(length=40), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("params", sa.JSON(), nullable=False),
        sa.Column("pruned", sa.Boolean(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(
            ["search_id"], ["search.id"], name="fk_search_trial_search_id_search", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name="fk_search_trial_job_id_job"),
        sa.PrimaryKeyConstraint("search_id", "number", name="pk_search_trial"),
        sa.UniqueConstraint("job_id", name="uq_search_trial_job_id"),
    )


def downgrade() -> None:
    for table in ("search_trial", "search"):
        op.drop_table(table)
    # Of what draws trials that version knows nothing; the trainings it does know.
    searching = "SELECT id FROM job WHERE kind = 'search'"
    for table in ("job_event", "job_metric"):
        op.execute(f"DELETE FROM {table} WHERE job_id IN ({searching})")  # noqa: S608 - nobody's input
    op.execute("DELETE FROM job WHERE kind = 'search'")
