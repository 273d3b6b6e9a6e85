# The HTTP process: no torch. Models run in ONNX Runtime.
#     docker build --file docker/api.Dockerfile --tag harmonicdet-api:0.1.0 .
FROM docker.io/library/python:3.12.13-slim-bookworm AS build

WORKDIR /build
COPY requirements/build.txt requirements/api.txt requirements/
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes --requirement requirements/build.txt
ENV UV_NO_CACHE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never VIRTUAL_ENV=/opt/harmonicdet
RUN uv venv "$VIRTUAL_ENV" && uv pip install --require-hashes --requirement requirements/api.txt
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends binutils && rm -rf /var/lib/apt/lists/*
COPY docker/slim.py docker/slim.py
RUN "$VIRTUAL_ENV/bin/python" docker/slim.py

FROM docker.io/library/python:3.12.13-slim-bookworm

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="HarmonicDet API" \
      org.opencontainers.image.description="REST API and inference of HarmonicDet" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="docker.io/library/python:3.12.13-slim-bookworm"

RUN groupadd --gid 10001 harmonicdet \
    && useradd --uid 10001 --gid harmonicdet --home-dir /app --no-create-home --no-log-init harmonicdet \
    && install --directory --owner=harmonicdet --group=harmonicdet /blobs /scratch

COPY --from=build /opt/harmonicdet /opt/harmonicdet
WORKDIR /app
COPY LICENSE ./
COPY detector ./detector
COPY store ./store
COPY api ./api
COPY harmonicdet ./harmonicdet

ENV PATH=/opt/harmonicdet/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HARMONICDET_HOST=0.0.0.0 \
    HARMONICDET_PORT=8000 \
    HARMONICDET_DATA=/scratch \
    HARMONICDET_BLOBS=/blobs

# By number, so that Kubernetes sees that it is not root.
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-m", "api.health"]
CMD ["python", "-m", "api"]
