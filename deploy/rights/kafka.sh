#!/bin/sh
# Gives the programs of Rushgate their rights in Kafka. It may run again at any time.
#
#   BOOTSTRAP=kafka:9092 ADMIN=admin.properties sh deploy/rights/kafka.sh
#
# BOOTSTRAP    brokers of the listener that the administrator uses
# ADMIN        file with the administrator's login, for --command-config; empty: none
# TOPIC GROUP  as KAFKA_TOPIC and KAFKA_GROUP
# PATTERN      `prefixed`: TOPIC and GROUP are the beginnings of names
# KAFKA_ACLS   the command, if kafka-acls.sh is elsewhere
# BRIDGE CONSUMER OPERATOR SETUP
#              the principals. With client certificates, Kafka calls them by default by the subject of the certificate, such
#              as User:CN=rushgate-bridge
set -eu

TOPIC=${TOPIC:-coupon_create}
GROUP=${GROUP:-rushgate-consumer}

allow() {
  principal=$1
  shift
  # KAFKA_ACLS may have words, such as `docker exec kafka …`.
  ${KAFKA_ACLS:-kafka-acls.sh} --bootstrap-server "$BOOTSTRAP" ${ADMIN:+--command-config "$ADMIN"} --add --force \
    --resource-pattern-type "${PATTERN:-literal}" --allow-principal "$principal" "$@"
}

# Write and Read each include Describe. The idempotent producer needs no other right since Kafka 2.8.
allow "${BRIDGE:-User:rushgate-bridge}" --operation Write --topic "$TOPIC"
allow "${CONSUMER:-User:rushgate-consumer}" --operation Read --topic "$TOPIC" --group "$GROUP"
# It reads the topic, publishes dead letters again, and compares the topic with what the group has committed.
allow "${OPERATOR:-User:rushgate-operator}" --operation Read --operation Write --operation DescribeConfigs --topic "$TOPIC"
allow "${OPERATOR:-User:rushgate-operator}" --operation Describe --group "$GROUP"
allow "${SETUP:-User:rushgate-setup}" --operation Create --operation Describe --operation DescribeConfigs --topic "$TOPIC"
