"""Where the services are listed one by one, and what a new one has there. Elsewhere they are found by themselves."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Lines:
    """Lines for the service called sample, in a file that others edit, too."""

    file: str
    before: str
    """What they come before: it is in the file once. Nothing: they are the last."""
    text: str


WIRING = (
    Lines("pyproject.toml", ']\n\n[[tool.importlinter.contracts]]\nname = "Services are', '    "services.sample",\n'),
    Lines("pyproject.toml", ']\n\n[[tool.importlinter.contracts]]\nname = "Use cases', '    "services.sample",\n'),
    Lines(
        "sql/sqlc.yaml",
        "",
        """\
  - engine: postgresql
    schema: sample/migrations
    queries: sample/queries
    database:
      uri: ${SAMPLE_DATABASE_URL}
    analyzer:
      database: false
    rules: [sqlc/db-prepare]
    codegen:
      - plugin: asyncpg
        out: ../gen/sql/sample_db
        options: {package: sample_db}
""",
    ),
    Lines(
        "services/__main__.py",
        "\nS = TypeVar(",
        "from services.sample.__main__ import SampleSettings, sample\n",
    ),
    Lines("services/__main__.py", "    gateway: GatewaySettings\n", "    sample: SampleSettings\n"),
    Lines(
        "services/__main__.py",
        "        gateway=loaded(GatewaySettings),\n",
        "        sample=loaded(SampleSettings),\n",
    ),
    Lines(
        "services/__main__.py",
        "    ):\n        addresses = {\n",
        "        sample(settings.sample) as sample_port,\n",
    ),
    Lines(
        "services/__main__.py",
        '        }\n        found = {"loms_address"',
        '            "sample": address(settings.sample, sample_port),\n',
    ),
    Lines(
        "services/migrate.py",
        "\nSQL = Path(",
        "from services.sample.__main__ import SampleSettings\n",
    ),
    Lines("services/migrate.py", "}\n\n\ndef folder(", '    "sample": SampleSettings,\n'),
    Lines(
        "services/gateway/services.go",
        ")\n\n// service is one",
        '\tsamplev1 "marketplace/gen/go/marketplace/sample/v1"\n',
    ),
    Lines(
        "services/gateway/services.go",
        "}\n\n// contractOfServices",
        """\
\t{
\t\t"sample", "GATEWAY_SAMPLE_ADDRESS", "127.0.0.1:50050",
\t\tsamplev1.File_marketplace_sample_v1_sample_proto, samplev1.RegisterSampleServiceHandler,
\t},
""",
    ),
    Lines(
        "compose/compose.yaml",
        "  # Kafka: the events",
        """\
  sample-postgres:
    <<: *postgres
    command: [/stack/postgres/start.sh, primary, /var/lib/postgresql/data]
    environment:
      POSTGRES_LISTEN: 0.0.0.0:${SAMPLE_POSTGRES_PORT}
      POSTGRES_DATABASE: sample
      POSTGRES_PASSWORD: ${SAMPLE_POSTGRES_PASSWORD:?run python -m compose.secrets}
      POSTGRES_OWNER_PASSWORD: ${SAMPLE_OWNER_PASSWORD}
      POSTGRES_APP_PASSWORD: ${SAMPLE_APP_PASSWORD}
    volumes: [./postgres:/stack/postgres:ro, sample-postgres:/var/lib/postgresql/data]
    tmpfs: [/tmp]
    ports: ["127.0.0.1:${SAMPLE_POSTGRES_PORT}:${SAMPLE_POSTGRES_PORT}"]
    healthcheck:
      <<: *health
      test: [CMD, pg_isready, --host=127.0.0.1, "--port=${SAMPLE_POSTGRES_PORT}", --dbname=sample]
    x-native:
      command: [python, -m, compose.unprivileged, /bin/sh, /stack/postgres/start.sh, primary, /var/lib/postgresql/data]
      ready: postgresql://sample_app:${SAMPLE_APP_PASSWORD}@sample-postgres:${SAMPLE_POSTGRES_PORT}/sample

  sample-pgbouncer:
    <<: *pgbouncer
    environment:
      PGBOUNCER_LISTEN: 0.0.0.0:${SAMPLE_PGBOUNCER_PORT}
      PGBOUNCER_SERVER: sample-postgres:${SAMPLE_POSTGRES_PORT}
      PGBOUNCER_DATABASE: sample
      PGBOUNCER_USER: sample_app
      PGBOUNCER_PASSWORD: ${SAMPLE_APP_PASSWORD}
    ports: ["127.0.0.1:${SAMPLE_PGBOUNCER_PORT}:${SAMPLE_PGBOUNCER_PORT}"]
    depends_on:
      sample-postgres: {condition: service_healthy}
    healthcheck:
      <<: *health
      test: [CMD, pg_isready, --host=127.0.0.1, "--port=${SAMPLE_PGBOUNCER_PORT}", --dbname=sample]
    x-native:
      command: [python, -m, compose.unprivileged, /bin/sh, /stack/pgbouncer/start.sh, /tmp]
      needs: [pgbouncer]
      ready: postgresql://sample_app:${SAMPLE_APP_PASSWORD}@sample-pgbouncer:${SAMPLE_PGBOUNCER_PORT}/sample

""",
    ),
    Lines(
        "compose/compose.yaml",
        "  gateway:\n    <<: *service",
        """\
  sample:
    <<: *service
    command: [python, -m, services.sample]
    environment:
      <<: *traces
      SAMPLE_LISTEN: 0.0.0.0:${SAMPLE_PORT}
      SAMPLE_SIDE_LISTEN: 0.0.0.0:${SAMPLE_SIDE_PORT}
      SAMPLE_ACCESS_KEYS: /run/access/keys.json
      SAMPLE_STORAGE: postgres
      SAMPLE_DATABASE_URL: postgresql://sample_app:${SAMPLE_APP_PASSWORD}@sample-pgbouncer:${SAMPLE_PGBOUNCER_PORT}/sample?sslmode=disable
      SAMPLE_DATABASE_DIRECT_URL: postgresql://sample_owner:${SAMPLE_OWNER_PASSWORD}@sample-postgres:${SAMPLE_POSTGRES_PORT}/sample?sslmode=disable
    volumes: *keys
    deploy: {resources: *medium}
    depends_on:
      sample-pgbouncer: {condition: service_healthy}
    healthcheck:
      <<: *health
      test: [CMD, python, -m, services.ready, "http://127.0.0.1:${SAMPLE_SIDE_PORT}/readyz"]
    x-native:
      ready: http://0.0.0.0:${SAMPLE_SIDE_PORT}/readyz

""",
    ),
    Lines(
        "compose/compose.yaml",
        '    ports: ["127.0.0.1:${GATEWAY_PORT}:',
        "      GATEWAY_SAMPLE_ADDRESS: sample:${SAMPLE_PORT}\n",
    ),
    Lines(
        "compose/compose.yaml",
        '    healthcheck:\n      <<: *health\n      test: [CMD, python, -m, services.ready, "http://127.0.0.1:${GATEWAY_SIDE',
        "      sample: {condition: service_healthy}\n",
    ),
    Lines(
        "compose/compose.yaml",
        "        GATEWAY_SIDE_LISTEN: ",
        "        SAMPLE_SIDE_LISTEN: 127.0.0.1:${SAMPLE_SIDE_PORT}\n",
    ),
    Lines("compose/compose.yaml", "  kafka:\n  prometheus:\n", "  sample-postgres:\n"),
    Lines("compose/.env", "LOMS_POSTGRES_PORT=", "SAMPLE_PORT=50050\nSAMPLE_SIDE_PORT=9100\n"),
    Lines("compose/.env", "KAFKA_PORT=", "SAMPLE_POSTGRES_PORT=5440\nSAMPLE_PGBOUNCER_PORT=6440\n"),
    Lines(
        "compose/prometheus/containers.yml",
        "  - job_name: gateway\n",
        """\
  - job_name: sample
    dns_sd_configs:
      - {names: [sample], type: A, port: 9100, refresh_interval: 5s}
""",
    ),
    Lines(
        "README.md",
        "| `kafka` |",
        """\
| `sample-postgres` | `postgres:17.10-alpine` | its entries | **5440** | as for LOMS |
| `sample-pgbouncer` | `edoburu/pgbouncer:v1.24.1-p1` | its pool | **6440** | as for LOMS |
""",
    ),
    Lines(
        "README.md",
        "| `gateway` |",
        "| `sample` | `marketplace:0.1.0` | entries of users | 50050, 9100 | `python -m services.sample` |\n",
    ),
    Lines(
        "README.md",
        "| `GATEWAY_LISTEN` |",
        "| `SAMPLE_LISTEN` | `127.0.0.1:50050` | |\n| `SAMPLE_SIDE_LISTEN` | `127.0.0.1:9100` | |\n",
    ),
    Lines("README.md", "| `OTEL_TRACES_EXPORTER` |", "| `GATEWAY_SAMPLE_ADDRESS` | `127.0.0.1:50050` | |\n"),
    Lines(
        "tests/contract/test_schema.py",
        '}\n"""The columns that store no field of the contract',
        '    "sample": {},\n',
    ),
    Lines(
        "tests/contract/test_schema.py",
        '}\n"""The fields that no column stores',
        """\
    "sample": {
        "SampleListResponse.entries": "each is a row",
    },
""",
    ),
    Lines(
        "tests/e2e/test_properties.py",
        "    return answers\n\n\nasync def until_told",
        """\
    await ask("SamplePut")
    await ask("SampleGet")
    await ask("SampleList")
""",
    ),
    Lines(
        "tests/sql/test_constraints.py",
        '}\n"""A row in each table.',
        '    "sample": "INSERT INTO entries (user_id, sku, count) VALUES (7, 1, 1)",\n',
    ),
    Lines(
        "tests/sql/test_constraints.py",
        '}\n"""Constraints, each',
        """\
    "sample": [
        ("entries_pkey", "INSERT INTO entries TABLE entries"),
        ("entries_user_id_check", "UPDATE entries SET user_id = 0"),
        ("entries_sku_check", "UPDATE entries SET sku = 0"),
        ("entries_sku_check", "UPDATE entries SET sku = 4294967296"),
        ("entries_count_check", "UPDATE entries SET count = 0"),
        ("entries_count_check", "UPDATE entries SET count = 65536"),
    ],
""",
    ),
    Lines(
        "tests/sql/test_plans.py",
        "\nfrom tests.clock import",
        "from sample_db import entries as sample_entries\n",
    ),
    Lines(
        "tests/sql/test_plans.py",
        '}\n"""Row n is of order n',
        '    "sample": f"INSERT INTO entries SELECT n, n, 1 FROM {NUMBERS}",\n',
    ),
    Lines(
        "tests/sql/test_plans.py",
        "}\n\nCASES = ",
        """\
    "sample": {
        "put_entry": lambda connection: sample_entries.AsyncQuerier(connection).put_entry(
            user_id=ID,
            sku=ID,
            count=2,
        ),
        "entry": lambda connection: sample_entries.AsyncReader(connection).entry(user_id=ID, sku=ID),
        "entries": lambda connection: sample_entries.AsyncReader(connection).entries(
            user_id=ID, start_after_sku=0, batch=BATCH
        ),
    },
""",
    ),
)
