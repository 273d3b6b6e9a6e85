#!/bin/sh
# Of the image that this stands for: POSTGRES_USER, POSTGRES_DB, POSTGRES_PASSWORD_FILE, and a first start that makes them.
set -eu
[ "$1" = postgres ] || exec "$@"
mkdir -p /var/run/postgresql
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb --username="$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" --auth-local=trust \
        --auth-host=scram-sha-256 --encoding=UTF8 > /dev/null
    echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
    pg_ctl --wait --options "-c listen_addresses=" start > /dev/null
    createdb --username="$POSTGRES_USER" "$POSTGRES_DB"
    pg_ctl --mode fast --wait stop > /dev/null
fi
shift
exec postgres -c "listen_addresses=*" "$@"
