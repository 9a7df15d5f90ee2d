#!/bin/sh
# PgBouncer in front of one database: `start.sh FOLDER`. Writes its settings into the folder and becomes PgBouncer.
#
#   PGBOUNCER_LISTEN                       where it listens, as address:port
#   PGBOUNCER_SERVER                       where PostgreSQL listens
#   PGBOUNCER_DATABASE                     the database, which has the same name on both sides
#   PGBOUNCER_USER, PGBOUNCER_PASSWORD     the role that enters it
set -eu
umask 077

folder=$1
here=$(cd "$(dirname "$0")" && pwd)
: "${PGBOUNCER_LISTEN:?}" "${PGBOUNCER_SERVER:?}" "${PGBOUNCER_DATABASE:?}" "${PGBOUNCER_USER:?}" "${PGBOUNCER_PASSWORD:?}"
mkdir -p "$folder"

cat >"$folder/users" <<USERS
"$PGBOUNCER_USER" "$PGBOUNCER_PASSWORD"
USERS

cat >"$folder/pgbouncer.ini" <<INI
[databases]
$PGBOUNCER_DATABASE = host=${PGBOUNCER_SERVER%:*} port=${PGBOUNCER_SERVER##*:}

[pgbouncer]
%include $here/pgbouncer.ini
listen_addr = ${PGBOUNCER_LISTEN%:*}
listen_port = ${PGBOUNCER_LISTEN##*:}
auth_file = $folder/users
stats_users = $PGBOUNCER_USER
log_connections = 0
log_disconnections = 0
log_stats = 0
INI

exec pgbouncer "$folder/pgbouncer.ini"
