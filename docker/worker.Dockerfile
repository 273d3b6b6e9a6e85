# The Celery processes and the trainer they start. Two images from one file:
#     docker build --file docker/worker.Dockerfile --target cpu --tag harmonicdet-worker:0.1.0 .
#     docker build --file docker/worker.Dockerfile --target cuda --tag harmonicdet-worker:0.1.0-cuda .
# torch is the locked one of PyPI, which runs on the CPU and on CUDA GPUs alike, and is large for the latter's sake. For a
# small image of the cpu target, name an index that has wheels of the same version without CUDA:
#     --build-arg TORCH_INDEX=https://…
# All else stays locked by hash; torch and torchvision from that index are pinned by version only.
FROM docker.io/library/python:3.12.13-slim-bookworm AS build

WORKDIR /build
COPY requirements/build.txt requirements/worker.txt requirements/
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes --requirement requirements/build.txt
# A trainer is started for every job: it finds its modules compiled.
ENV UV_NO_CACHE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never UV_COMPILE_BYTECODE=1 VIRTUAL_ENV=/opt/harmonicdet
ARG TORCH_INDEX=
COPY docker/install_worker.sh docker/install_worker.sh
RUN sh docker/install_worker.sh

FROM docker.io/library/python:3.12.13-slim-bookworm AS worker

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="HarmonicDet worker" \
      org.opencontainers.image.description="Workers of HarmonicDet: validation, training, evaluation" \
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
COPY worker ./worker

# torch keeps downloaded weights under TORCH_HOME; the only writable places are /scratch and /blobs.
ENV PATH=/opt/harmonicdet/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/scratch \
    TORCH_HOME=/scratch/torch \
    HARMONICDET_DATA=/scratch \
    HARMONICDET_BLOBS=/blobs

# By number, so that Kubernetes sees that it is not root.
USER 10001:10001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=3 CMD ["python", "-m", "worker.health"]
CMD ["python", "-m", "worker", "--queue", "train"]

FROM worker AS cuda
# What the NVIDIA container toolkit is to bring: the driver's CUDA, and nvidia-smi to tell which GPUs there are.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

FROM worker AS cpu
