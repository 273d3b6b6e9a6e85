# Stand-in for nginx:1.28, of Debian's nginx 1.22. For tests only.
FROM docker.io/library/debian:bookworm-slim
# hadolint ignore=DL3008
RUN groupadd --system --gid 101 nginx && useradd --system --gid nginx --uid 101 --no-log-init nginx \
    && apt-get update && apt-get install --yes --no-install-recommends nginx-light curl gettext-base \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
COPY nginx-entrypoint.sh /docker-entrypoint.sh
EXPOSE 80
STOPSIGNAL SIGQUIT
ENTRYPOINT ["sh", "/docker-entrypoint.sh"]
CMD ["nginx", "-g", "daemon off;"]
