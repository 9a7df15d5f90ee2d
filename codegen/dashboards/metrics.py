"""The names of the metrics, as the services and the gateway show them."""

RPC_SERVER_DURATION = "rpc_server_duration_seconds"
RPC_SERVER_ACTIVE_CALLS = "rpc_server_active_calls"
RPC_CLIENT_DURATION = "rpc_client_duration_seconds"
RPC_CLIENT_RETRIES = "rpc_client_retries_total"
RPC_CLIENT_CIRCUIT_OPEN = "rpc_client_circuit_open"
RATE_LIMITER_WAIT = "rate_limiter_wait_seconds"
DB_CLIENT_DURATION = "db_client_duration_seconds"
DB_CLIENT_CONNECTIONS = "db_client_connections"
DB_CLIENT_CONNECTIONS_MAX = "db_client_connections_max"
REDIS_CLIENT_DURATION = "redis_client_duration_seconds"
PUBLISH_DURATION = "messaging_publish_duration_seconds"
PUBLISHED_MESSAGES = "messaging_published_messages_total"
PROCESS_DURATION = "messaging_process_duration_seconds"
PROCESSED_MESSAGES = "messaging_processed_messages_total"
CONSUMER_LAG = "messaging_consumer_lag"
OUTBOX_EVENTS = "outbox_events"
OUTBOX_OLDEST = "outbox_oldest_seconds"
CACHE_REQUESTS = "cache_requests_total"
CACHE_ERRORS = "cache_errors_total"
ORDERS = "loms_orders_total"
NOTIFICATIONS = "notifier_notifications_total"
DEAD_LETTERS = "notifier_dead_letters_total"
CART_OBJECTS = "cart_objects"
EVENT_LOOP_LAG = "event_loop_lag_seconds"
ASYNCIO_TASKS = "asyncio_tasks"
PYTHON_GC = "python_gc_collections_total"

HTTP_DURATION = "http_server_request_duration_seconds"
HTTP_ACTIVE_REQUESTS = "http_server_active_requests"
GOROUTINES = "go_goroutines"
GO_HEAP = "go_memstats_alloc_bytes"

PROCESS_CPU = "process_cpu_seconds_total"
PROCESS_MEMORY = "process_resident_memory_bytes"
PROCESS_OPEN_FDS = "process_open_fds"
PROCESS_MAX_FDS = "process_max_fds"

OF_EVERY_PROCESS = (PROCESS_CPU, PROCESS_MEMORY, PROCESS_OPEN_FDS, PROCESS_MAX_FDS, RPC_CLIENT_DURATION)
OF_THE_GATEWAY = (*OF_EVERY_PROCESS, HTTP_DURATION, HTTP_ACTIVE_REQUESTS, GOROUTINES, GO_HEAP)
OF_EVERY_SERVICE = (
    *OF_EVERY_PROCESS,
    RPC_SERVER_DURATION,
    RPC_SERVER_ACTIVE_CALLS,
    RPC_CLIENT_RETRIES,
    RPC_CLIENT_CIRCUIT_OPEN,
    RATE_LIMITER_WAIT,
    DB_CLIENT_DURATION,
    DB_CLIENT_CONNECTIONS,
    DB_CLIENT_CONNECTIONS_MAX,
    REDIS_CLIENT_DURATION,
    PUBLISH_DURATION,
    PUBLISHED_MESSAGES,
    PROCESS_DURATION,
    PROCESSED_MESSAGES,
    CONSUMER_LAG,
    OUTBOX_EVENTS,
    OUTBOX_OLDEST,
    CACHE_REQUESTS,
    CACHE_ERRORS,
    EVENT_LOOP_LAG,
    ASYNCIO_TASKS,
    PYTHON_GC,
)
OF_A_SERVICE = {
    "loms": (*OF_EVERY_SERVICE, ORDERS),
    "notifier": (*OF_EVERY_SERVICE, NOTIFICATIONS, DEAD_LETTERS),
    "cart": (*OF_EVERY_SERVICE, CART_OBJECTS),
    "product": OF_EVERY_SERVICE,
    "gateway": OF_THE_GATEWAY,
}
"""What each process shows, from its start."""
