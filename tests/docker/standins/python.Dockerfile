# Stand-in for python:3.12-slim, of Debian and a Python 3.12 of this machine. For tests only.
FROM docker.io/library/debian:bookworm-slim
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates netbase tzdata libssl3 libffi8 libsqlite3-0 \
        libreadline8 libncursesw6 libbz2-1.0 liblzma5 zlib1g libuuid1 libexpat1 libnsl2 libtirpc3 libcrypt1 libgdbm6 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
COPY local /usr/local
RUN ldconfig && python -m ensurepip && ln -sf pip3 /usr/local/bin/pip \
    && python -c 'import ssl, sqlite3, zlib, bz2, lzma, ctypes, readline, uuid' \
    && find /usr/local -depth -name __pycache__ -exec rm -rf {} +
# What this machine trusts, so that a package index can be reached from within a build.
COPY ca-bundle.crt /etc/ssl/certs/ca-certificates.crt
ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin \
    LANG=C.UTF-8 \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    PIP_CERT=/etc/ssl/certs/ca-certificates.crt
CMD ["python3"]
