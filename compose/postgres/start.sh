#!/bin/sh
# PostgreSQL: `start.sh primary FOLDER` or `start.sh replica FOLDER`. Makes what is missing in the folder and becomes
# the server. It may be killed at any moment: what is not finished is made again at the next start.
#
#   POSTGRES_LISTEN            where it listens, as address:port
#   POSTGRES_DATABASE          of a primary: its database, which belongs to the role <database>_owner and is open to
#                              the role <database>_app, and to nobody else
#   POSTGRES_PASSWORD, POSTGRES_OWNER_PASSWORD, POSTGRES_APP_PASSWORD
#                              of a primary: the passwords of the superuser and of these two roles
#   POSTGRES_REPLICA, POSTGRES_REPLICA_PASSWORD
#                              the role of the replica, for which the commits of the primary wait, if there is one
#   POSTGRES_PRIMARY           of a replica: where the primary listens
#   POSTGRES_STOP_SECONDS      how long the server that was started before may take to end: 60
set -eu
umask 077

kind=$1
folder=$2
here=$(dirname "$0")
data=$folder/pgdata
new=$folder/new

: "${POSTGRES_LISTEN:?}"

main() {
    lock
    rm -rf "$new"
    case $kind in
    primary)
        : "${POSTGRES_DATABASE:?}" "${POSTGRES_PASSWORD:?}" "${POSTGRES_OWNER_PASSWORD:?}" "${POSTGRES_APP_PASSWORD:?}"
        prepare_primary
        ;;
    replica)
        : "${POSTGRES_PRIMARY:?}" "${POSTGRES_REPLICA:?}" "${POSTGRES_REPLICA_PASSWORD:?}"
        prepare_replica
        ;;
    *) fail 2 "it is either primary or replica, not $kind" ;;
    esac
    rm -f "$data/postmaster.pid" # its server is gone, whoever has that pid now
    exec postgres -D "$data" -c "listen_addresses=${POSTGRES_LISTEN%:*}" -c "port=${POSTGRES_LISTEN##*:}"
}

# All processes of a server hold the lock on its folder. Whoever gets it is alone there, however the last one has ended.
lock() {
    mkdir -p "$folder"
    exec 9<"$folder"
    timeout "${POSTGRES_STOP_SECONDS:-60}" flock 9 || fail 1 "another PostgreSQL uses $folder"
}

prepare_primary() {
    roles=$(roles_and_database)
    passwords=$(passwords_of_roles)
    if [ ! -e "$data" ]; then
        initdb --pgdata="$new" --username=postgres --auth=reject --encoding=UTF8 --no-locale \
            --locale-provider=builtin --builtin-locale=C.UTF-8 --sync-method=syncfs --no-instructions >/dev/null
        execute "$new" "$roles"
        mv "$new" "$data"
    fi
    configure "$data"
    if [ -n "${POSTGRES_REPLICA:-}" ]; then
        echo "synchronous_standby_names = 'FIRST 1 ($POSTGRES_REPLICA)'" >>"$data/postgresql.conf"
    fi
    execute "$data" "$passwords"
}

configure() {
    cp "$here/postgresql.conf" "$here/pg_hba.conf" "$1"
}

# Runs statements, each with an empty line behind it, without a server.
execute() {
    rm -f "$1/postmaster.pid"
    postgres --single -j -D "$1" -c exit_on_error=on -c synchronous_commit=local \
        -c log_min_messages=fatal -c log_min_error_statement=panic postgres >/dev/null <<SQL
$2
SQL
}

roles_and_database() {
    cat <<SQL
CREATE ROLE ${POSTGRES_DATABASE}_owner LOGIN;

CREATE ROLE ${POSTGRES_DATABASE}_app LOGIN;

CREATE DATABASE $POSTGRES_DATABASE OWNER ${POSTGRES_DATABASE}_owner;

REVOKE ALL ON DATABASE $POSTGRES_DATABASE FROM PUBLIC;

GRANT CONNECT ON DATABASE $POSTGRES_DATABASE TO ${POSTGRES_DATABASE}_app;

SQL
    if [ -n "${POSTGRES_REPLICA:-}" ]; then
        printf 'CREATE ROLE %s LOGIN REPLICATION;\n\n' "$POSTGRES_REPLICA"
    fi
}

# They are those of the environment from now on.
passwords_of_roles() {
    password postgres "$POSTGRES_PASSWORD"
    password "${POSTGRES_DATABASE}_owner" "$POSTGRES_OWNER_PASSWORD"
    password "${POSTGRES_DATABASE}_app" "$POSTGRES_APP_PASSWORD"
    if [ -n "${POSTGRES_REPLICA:-}" ]; then
        password "$POSTGRES_REPLICA" "$POSTGRES_REPLICA_PASSWORD"
    fi
}

password() {
    case $2 in
    "" | *[!A-Za-z0-9._~-]*) fail 2 "the password of $1 must be letters, digits and . _ ~ -" ;;
    esac
    printf "ALTER ROLE %s PASSWORD '%s';\n\n" "$1" "$2"
}

prepare_replica() {
    primary="host=${POSTGRES_PRIMARY%:*} port=${POSTGRES_PRIMARY##*:} user=$POSTGRES_REPLICA"
    export PGPASSWORD="$POSTGRES_REPLICA_PASSWORD" PGCONNECT_TIMEOUT=5
    if [ -e "$data" ] && is_left_behind; then
        echo "the primary does not keep what this replica lacks: it is copied anew" >&2
        mv "$data" "$new"
        rm -rf "$new"
    fi
    if [ ! -e "$data" ]; then
        make_slot
        pg_basebackup --pgdata="$new" --dbname="$primary" --wal-method=stream --checkpoint=fast \
            --slot="$POSTGRES_REPLICA" --sync-method=syncfs
        mv "$new" "$data"
    fi
    unset PGPASSWORD
    configure "$data"
    touch "$data/standby.signal"
    cat >>"$data/postgresql.conf" <<CONF
primary_conninfo = '$primary password=$POSTGRES_REPLICA_PASSWORD application_name=$POSTGRES_REPLICA'
primary_slot_name = '$POSTGRES_REPLICA'
CONF
}

# Whether the primary answers, and is another one or has given up the slot.
is_left_behind() {
    known=$(pg_controldata "$data" | sed -n 's/^Database system identifier: *//p')
    kept=$(ask "SELECT system_identifier FROM pg_control_system(), pg_replication_slots
        WHERE slot_name = '$POSTGRES_REPLICA' AND wal_status <> 'lost'") || return 1
    [ "$kept" != "$known" ]
}

make_slot() {
    ask "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
        WHERE slot_name = '$POSTGRES_REPLICA' AND wal_status = 'lost'"
    ask "SELECT pg_create_physical_replication_slot('$POSTGRES_REPLICA')
        WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = '$POSTGRES_REPLICA')" >/dev/null
}

ask() {
    psql --no-psqlrc --quiet --tuples-only --no-align --dbname="$primary dbname=postgres" --command="$1" || return 1
}

# With 2 it says that another start would not help.
fail() {
    echo "PostgreSQL does not start: $2" >&2
    exit "$1"
}

main
