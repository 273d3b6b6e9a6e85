# The HTTP process: no torch. Models run in ONNX Runtime.
FROM docker.io/library/python:3.12-slim-bookworm AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /build
COPY requirements/api.txt requirements/api.txt
RUN python -m venv /opt/harmonicdet \
    && /opt/harmonicdet/bin/pip install --no-cache-dir --require-hashes --requirement requirements/api.txt \
    && /opt/harmonicdet/bin/pip uninstall --quiet --yes pip

FROM docker.io/library/python:3.12-slim-bookworm

LABEL org.opencontainers.image.title="HarmonicDet API" \
      org.opencontainers.image.description="REST API and inference of HarmonicDet" \
      org.opencontainers.image.licenses="Apache-2.0"

RUN groupadd --gid 10001 harmonicdet \
    && useradd --uid 10001 --gid harmonicdet --home-dir /app --no-create-home harmonicdet \
    && install --directory --owner=harmonicdet --group=harmonicdet /app /blobs /scratch

COPY --from=build /opt/harmonicdet /opt/harmonicdet
WORKDIR /app
COPY LICENSE ./
COPY api ./api
COPY detector ./detector
COPY store ./store
COPY harmonicdet ./harmonicdet

ENV PATH=/opt/harmonicdet/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HARMONICDET_HOST=0.0.0.0 \
    HARMONICDET_PORT=8000 \
    HARMONICDET_DATA=/scratch \
    HARMONICDET_BLOBS=/blobs

USER harmonicdet
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["python", "-m", "api.health"]
CMD ["python", "-m", "api"]
