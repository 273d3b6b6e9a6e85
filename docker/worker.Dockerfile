# The Celery processes and the trainer they start. The torch wheel runs on the CPU and on CUDA GPUs alike.
FROM docker.io/library/python:3.12-slim-bookworm AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /build
COPY requirements/worker.txt requirements/worker.txt
RUN python -m venv /opt/harmonicdet \
    && /opt/harmonicdet/bin/pip install --no-cache-dir --require-hashes --requirement requirements/worker.txt \
    && /opt/harmonicdet/bin/pip uninstall --quiet --yes pip

FROM docker.io/library/python:3.12-slim-bookworm

LABEL org.opencontainers.image.title="HarmonicDet worker" \
      org.opencontainers.image.description="Workers of HarmonicDet" \
      org.opencontainers.image.licenses="Apache-2.0"

RUN groupadd --gid 10001 harmonicdet \
    && useradd --uid 10001 --gid harmonicdet --home-dir /app --no-create-home harmonicdet \
    && install --directory --owner=harmonicdet --group=harmonicdet /app /blobs /scratch

COPY --from=build /opt/harmonicdet /opt/harmonicdet
WORKDIR /app
COPY LICENSE ./
COPY detector ./detector
COPY store ./store
COPY worker ./worker

# torch keeps downloaded weights under TORCH_HOME; the only writable places are /scratch and /blobs.
ENV PATH=/opt/harmonicdet/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/scratch \
    TORCH_HOME=/scratch/torch \
    HARMONICDET_DATA=/scratch \
    HARMONICDET_BLOBS=/blobs

USER harmonicdet
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=10s --start-period=30s --retries=3 CMD ["python", "-m", "worker.health"]
CMD ["python", "-m", "worker", "--queue", "train"]
