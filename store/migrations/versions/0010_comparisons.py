"""Comparisons, their trainings and their files. Nothing old changes."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "comparison",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("project_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=True),
        sa.Column("dataset_id", sa.String(length=40), nullable=True),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=True),
        sa.Column("outcome", sa.String(length=20), nullable=True),
        sa.Column("cancelling", sa.Boolean(), nullable=False),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("error", sa.JSON(), nullable=True),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name="fk_comparison_project_id_project"),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["dataset.id"], name="fk_comparison_dataset_id_dataset", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name="fk_comparison_job_id_job"),
        sa.PrimaryKeyConstraint("id", name="pk_comparison"),
    )
    op.create_index("ix_comparison_project_id_id", "comparison", ["project_id", "id"])
    op.create_index("ix_comparison_dataset_id", "comparison", ["dataset_id"])
    op.create_index("ix_comparison_job_id", "comparison", ["job_id"])
    op.create_table(
        "comparison_run",
        sa.Column("comparison_id", sa.String(length=40), nullable=False),
        sa.Column("arm", sa.Integer(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(
            ["comparison_id"],
            ["comparison.id"],
            name="fk_comparison_run_comparison_id_comparison",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name="fk_comparison_run_job_id_job"),
        sa.PrimaryKeyConstraint("comparison_id", "arm", "seed", name="pk_comparison_run"),
        sa.UniqueConstraint("job_id", name="uq_comparison_run_job_id"),
    )
    op.create_table(
        "comparison_file",
        sa.Column("comparison_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("media_type", sa.String(length=100), nullable=False),
        sa.Column("blob", sa.String(length=200), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["comparison_id"],
            ["comparison.id"],
            name="fk_comparison_file_comparison_id_comparison",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("comparison_id", "name", name="pk_comparison_file"),
    )
    op.create_index("ix_comparison_file_blob", "comparison_file", ["blob"])


def downgrade() -> None:
    for table in ("comparison_file", "comparison_run", "comparison"):
        op.drop_table(table)
    # Of what compares that version knows nothing; the trainings it does know.
    compare = "SELECT id FROM job WHERE kind = 'compare'"
    for table in ("job_event", "job_metric"):
        op.execute(f"DELETE FROM {table} WHERE job_id IN ({compare})")  # noqa: S608 - nobody's input
    op.execute("DELETE FROM job WHERE kind = 'compare'")
