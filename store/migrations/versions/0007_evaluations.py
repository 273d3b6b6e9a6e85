"""Evaluations that were asked for, and their files. Those of trainings get the files that their models have.

The new columns have a default in the database: a worker of the version before may go on meanwhile.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("options", "metadata"):
        op.add_column("evaluation", sa.Column(name, sa.JSON(), nullable=False, server_default="{}"))
    op.create_index("ix_evaluation_project_id_id", "evaluation", ["project_id", "id"])
    op.drop_index("ix_evaluation_project_id", "evaluation")
    op.create_table(
        "evaluation_file",
        sa.Column("evaluation_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("media_type", sa.String(length=100), nullable=False),
        sa.Column("blob", sa.String(length=200), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["evaluation_id"],
            ["evaluation.id"],
            name="fk_evaluation_file_evaluation_id_evaluation",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("evaluation_id", "name", name="pk_evaluation_file"),
    )
    op.create_index("ix_evaluation_file_blob", "evaluation_file", ["blob"])
    op.execute(
        "INSERT INTO evaluation_file (evaluation_id, name, media_type, blob, sha256, bytes)"
        " SELECT evaluation.id, artifact.name, artifact.media_type, artifact.blob, artifact.sha256,"
        " artifact.bytes FROM evaluation JOIN artifact ON artifact.model_id = evaluation.model_id"
        " WHERE artifact.name IN ('report.json', 'detections.json', 'ground_truth.json')"
    )


def downgrade() -> None:
    op.drop_table("evaluation_file")
    op.create_index("ix_evaluation_project_id", "evaluation", ["project_id"])
    op.drop_index("ix_evaluation_project_id_id", "evaluation")
    # Of what was asked for by itself that version knows nothing.
    evaluate = "SELECT id FROM job WHERE kind = 'evaluate'"
    for table in ("evaluation", "job_event", "job_metric"):
        op.execute(f"DELETE FROM {table} WHERE job_id IN ({evaluate})")  # noqa: S608 - nobody's input
    op.execute("DELETE FROM job WHERE kind = 'evaluate'")
    for name in ("options", "metadata"):
        op.drop_column("evaluation", name)
