#!/bin/sh
# One broker of Kafka, which is its own controller: `start.sh FOLDER`. Formats the folder if it is new and becomes the
# broker. It may be killed at any moment: what is not finished is made again at the next start.
#
#   KAFKA_JARS          where its jars are
#   KAFKA_LISTEN        where it listens, as address:port
#   KAFKA_ADVERTISED    where clients find it
#   KAFKA_CONTROLLER    where its controller listens
#   KAFKA_HEAP          how much memory its objects may have: 512m
#   KAFKA_STOP_SECONDS  how long the broker that was started before may take to end: 60
set -eu
umask 077

folder=$1
here=$(dirname "$0")
data=$folder/data
new=$folder/new
properties=$folder/server.properties

: "${KAFKA_JARS:?}" "${KAFKA_LISTEN:?}" "${KAFKA_ADVERTISED:?}" "${KAFKA_CONTROLLER:?}"

CLUSTER_ID=dGhlIG1hcmtldHBsYWNlLg

main() {
    lock
    rm -rf "$new"
    if [ ! -e "$data" ]; then
        settings "$new" >"$properties"
        (become kafka.tools.StorageTool format --cluster-id="$CLUSTER_ID" --config)
        mv "$new" "$data"
    fi
    settings "$data" >"$properties"
    become kafka.Kafka
}

# The broker holds the lock on its folder as long as it lives. So whoever gets it is alone there.
lock() {
    mkdir -p "$folder"
    exec 9<"$folder"
    timeout "${KAFKA_STOP_SECONDS:-60}" flock 9 || {
        echo "Kafka does not start: another one uses $folder" >&2
        exit 1
    }
}

settings() {
    cat "$here/server.properties"
    cat <<PROPERTIES
node.id=1
controller.quorum.voters=1@$KAFKA_CONTROLLER
listeners=PLAINTEXT://$KAFKA_LISTEN,CONTROLLER://$KAFKA_CONTROLLER
advertised.listeners=PLAINTEXT://$KAFKA_ADVERTISED
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
log.dirs=$1
PROPERTIES
}

# Runs a class, with its arguments and the settings, in the place of this process. The archive of classes that
# `make setup-stack` makes halves the CPU of a start; it fits these jars in this order.
become() {
    jars=$(cd "$KAFKA_JARS" && pwd)
    archive=$jars/classes.jsa
    classes=$(printf '%s:' "$jars"/*.jar)
    if [ -e "$archive" ]; then
        set -- "-XX:SharedArchiveFile=$archive" "$@"
    fi
    exec "${JAVA_HOME:+$JAVA_HOME/bin/}java" "-Xmx${KAFKA_HEAP:-512m}" \
        -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData \
        "-Dlog4j2.configurationFile=$here/log4j2.properties" \
        -Dorg.slf4j.simpleLogger.defaultLogLevel=warn \
        -Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info \
        -cp "${classes%:}" "$@" "$properties"
}

main
