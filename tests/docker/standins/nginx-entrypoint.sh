#!/bin/sh
# Of the image that this stands for: NGINX_LOCAL_RESOLVERS, what changes it, and templates with it put in.
set -eu
NGINX_LOCAL_RESOLVERS=$(awk '$1 == "nameserver" { print ($2 ~ /:/) ? "[" $2 "]" : $2 }' /etc/resolv.conf | paste -s -d ' ')
export NGINX_LOCAL_RESOLVERS
for change in /docker-entrypoint.d/*.envsh; do
    # shellcheck disable=SC1090
    [ ! -x "$change" ] || . "$change"
done
for template in /etc/nginx/templates/*.template; do
    # shellcheck disable=SC2016
    envsubst '${NGINX_LOCAL_RESOLVERS}' < "$template" > "$NGINX_ENVSUBST_OUTPUT_DIR/$(basename "$template" .template)"
done
exec "$@"
