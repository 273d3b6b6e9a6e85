# Stand-in for redis:7, of Debian's package. For tests only.
FROM docker.io/library/debian:bookworm-slim
# hadolint ignore=DL3008
RUN groupadd --system --gid 999 redis && useradd --system --gid redis --uid 999 --no-log-init redis \
    && apt-get update && apt-get install --yes --no-install-recommends redis-server redis-tools \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
    && install --directory --owner=redis --group=redis /data
VOLUME /data
WORKDIR /data
EXPOSE 6379
# The image that this stands for is open to its network, and in the foreground.
ENTRYPOINT ["sh", "-c", "[ \"$1\" = redis-server ] && set -- \"$@\" --protected-mode no --daemonize no; exec \"$@\"", "--"]
CMD ["redis-server"]
