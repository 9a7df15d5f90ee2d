"""The mutants. Those of a query change what is generated of it, as that is what runs."""

from tests.mutants.mutant import Edit, Mutant

ORDERS_SQL = "gen/sql/loms_db/orders.py"
OUTBOX_SQL = "gen/sql/loms_db/outbox.py"
ORDERS_TABLES = "sql/loms/migrations/0001_orders.sql"
LOMS_POSTGRES = "services/loms/postgres.py"
LOMS_RELAY = "services/loms/relay.py"
LOMS_USECASES = "services/loms/usecases.py"
CHASSIS_POSTGRES = "services/chassis/postgres.py"
CHASSIS_REPLICA = "services/chassis/replica.py"
CART_USECASES = "services/cart/usecases.py"
MIGRATIONS = "services/chassis/migrations.py"
CHASSIS_KAFKA = "services/chassis/kafka.py"
NOTIFIER_USECASES = "services/notifier/usecases.py"

RACES = "tests/storage/test_races.py::"
A_HUNDRED_UNITS = RACES + "test_of_a_hundred_units_exactly_a_hundred_are_promised_to_five_hundred_at_once"
SEVERAL_SKUS = RACES + "test_orders_of_several_skus_in_any_order_oversell_nothing_and_never_deadlock"
GIVEN_BACK = RACES + "test_an_order_for_units_that_others_give_back_meanwhile_is_made_or_refused"
ONE_KIND_WINS = RACES + "test_of_payments_and_cancellations_at_once_one_kind_succeeds_and_every_snapshot_adds_up"
INTERLEAVED = (
    "tests/storage/test_races_interleaved.py::test_two_operations_at_once_end_as_if_one_had_come_after_the_other"
)
REQUEST_ID = "tests/storage/test_races_request_id.py::"
ANSWERED_ALIKE = REQUEST_ID + "test_fifty_calls_at_once_with_one_request_id_create_one_order_and_are_answered_alike"
OTHER_ITEMS = (
    REQUEST_ID + "test_of_two_orders_at_once_with_one_request_id_one_is_created_and_the_other_is_refused_without_effect"
)
TWO_USERS = REQUEST_ID + "test_one_request_id_of_two_users_at_once_is_two_orders"
RETRY_MEANWHILE = REQUEST_ID + "test_a_retry_that_comes_while_the_order_is_being_created_gets_its_answer"
SERVER_KILLED = REQUEST_ID + "test_an_answer_outlives_a_kill_of_the_server_and_what_had_none_is_done_once"
EXPIRY = "tests/storage/test_races_expiry.py::"
EACH_ENDS_ONCE = EXPIRY + "test_of_orders_that_expire_on_two_replicas_while_they_are_paid_each_ends_once"
WORKER_DIED = EXPIRY + "test_what_a_worker_had_in_hand_when_it_died_is_cancelled_by_the_other_one"
HOLDS_UP_NONE = EXPIRY + "test_an_order_that_is_being_paid_holds_up_no_other_that_expires"
DATABASE = "tests/storage/test_database.py::"
POOLED = "tests/storage/test_pooler.py::"
REPLICATED = "tests/storage/test_replica.py::"
CHECKOUT_KILLED = (
    "tests/e2e/test_checkout_crash.py::test_a_checkout_that_is_killed_before_the_cart_is_empty_makes_one_order"
)
RELAYED = "tests/events/test_relay.py::"
COMMITTED = RELAYED + "test_there_is_an_event_for_each_change_that_is_committed_and_for_no_other"
NONE_SKIPPED = RELAYED + "test_no_event_is_skipped_whose_transaction_commits_after_later_ones"
ONE_SENDS = RELAYED + "test_of_two_relays_only_one_sends"
LEADER_KILLED = RELAYED + "test_when_the_leader_is_killed_another_one_goes_on"
LEADER_STOPPED = RELAYED + "test_while_the_leader_stands_still_another_one_goes_on"
LEFT_AT_THE_END = RELAYED + "test_who_is_told_to_stop_while_the_broker_hangs_leaves_the_events_in_the_outbox"
ONE_OF_THREE = RELAYED + "test_of_three_brokers_one_may_die"
SENT_BEFORE_THE_END = RELAYED + "test_who_is_told_to_stop_sends_what_is_left_before"
MIGRATED = "tests/storage/test_migrations.py::"
NOTIFIED = "tests/events/test_notifier.py::"
POISON = "test_what_cannot_be_handled_is_parked_holds_up_its_order_only_and_can_be_delivered_later"

CREATE_WITHOUT_LOCK = Edit(
    ORDERS_SQL,
    "AND EXISTS (SELECT 1 FROM numbered)\n    ORDER BY s.sku\n    FOR UPDATE\n",
    "AND EXISTS (SELECT 1 FROM numbered)\n    ORDER BY s.sku\n",
)
CHANGE_WITHOUT_LOCK = Edit(
    ORDERS_SQL, "coalesce($2::bigint, o.user_id)\n    FOR UPDATE\n", "coalesce($2::bigint, o.user_id)\n"
)
CHANGE_WITHOUT_GUARD = Edit(ORDERS_SQL, " AND f.status = 'awaiting payment'", "")

STOCK = (
    Mutant(
        "R-01: no unit is promised twice",
        "stock is read, checked and written without a lock, and nothing in the table forbids what comes of it",
        (
            CREATE_WITHOUT_LOCK,
            Edit(
                ORDERS_TABLES,
                "DEFAULT 0,\n    CONSTRAINT stocks_reserved_is_there CHECK (reserved BETWEEN 0 AND total)\n",
                "DEFAULT 0\n",
            ),
        ),
        (A_HUNDRED_UNITS,),
    ),
    Mutant(
        "R-01: an order is made or refused",
        "a new order does not lock its stock",
        (CREATE_WITHOUT_LOCK,),
        (GIVEN_BACK,),
    ),
    Mutant(
        "R-01: an order is made or refused",
        "what is reserved is added to what the snapshot had",
        (Edit(ORDERS_SQL, "reserved = l.reserved + w.count", "reserved = s.reserved + w.count"),),
        (GIVEN_BACK, INTERLEAVED),
    ),
    Mutant(
        "R-01: orders never deadlock",
        "an order locks its stock in no order",
        (
            Edit(
                ORDERS_SQL,
                "AND EXISTS (SELECT 1 FROM numbered)\n    ORDER BY s.sku\n",
                "AND EXISTS (SELECT 1 FROM numbered)\n    ORDER BY random()\n",
            ),
        ),
        (SEVERAL_SKUS,),
    ),
    Mutant(
        "R-01: orders never deadlock",
        "a payment and a cancellation lock the stock in no order",
        (
            Edit(
                ORDERS_SQL,
                "    ORDER BY s.sku\n    FOR UPDATE\n),\n\nmoved AS",
                "    ORDER BY random()\n    FOR UPDATE\n),\n\nmoved AS",
                times=2,
            ),
        ),
        (SEVERAL_SKUS,),
    ),
)

INTERLEAVINGS = (
    Mutant(
        "R-03: two operations at once are as one after the other",
        "a change of an order does not lock it",
        (CHANGE_WITHOUT_LOCK,),
        (INTERLEAVED,),
    ),
    Mutant(
        "R-03: two operations at once are as one after the other",
        "a new order does not lock its stock",
        (CREATE_WITHOUT_LOCK,),
        (INTERLEAVED,),
    ),
    Mutant(
        "R-03: two operations at once are as one after the other",
        "a change does not look at the status",
        (CHANGE_WITHOUT_GUARD,),
        (INTERLEAVED,),
    ),
    Mutant(
        "R-04: an order is payed or cancelled",
        "a change of an order does not lock it",
        (CHANGE_WITHOUT_LOCK,),
        (ONE_KIND_WINS,),
    ),
    Mutant(
        "R-04: an order is payed or cancelled",
        "a change that came too late is answered as if it was made",
        (
            Edit(
                LOMS_USECASES,
                "if found not in (Status.AWAITING_PAYMENT, change.target):",
                "if found is Status.FAILED:",
            ),
        ),
        (ONE_KIND_WINS,),
    ),
    Mutant(
        "R-04: every snapshot adds up",
        "the status and the stock change in two transactions",
        (
            Edit(ORDERS_SQL, "WHERE s.sku = u.sku\n", "WHERE s.sku = u.sku AND false\n", times=2),
            Edit(
                LOMS_POSTGRES,
                "        return None if found is None else Status(found)\n",
                """        if found == Status.AWAITING_PAYMENT:
            await self._database.write(
                lambda connection: connection.execute(
                    "UPDATE stocks AS s SET reserved = s.reserved - i.count, total = s.total - $2 * i.count"
                    " FROM order_items AS i WHERE i.order_id = $1 AND s.sku = i.sku",
                    *(order_id, int(change.stock is StockEffect.SELL)),
                ),
                repeatable=True,
            )
        return None if found is None else Status(found)
""",
            ),
        ),
        (ONE_KIND_WINS,),
    ),
)

REQUEST_IDS = (
    Mutant(
        "R-05: a request_id has one effect",
        "each attempt has a request_id of its own",
        (
            Edit(LOMS_POSTGRES, "from uuid import UUID\n", "from uuid import UUID, uuid4\n"),
            Edit(LOMS_POSTGRES, "request_id=order.request_id,\n", "request_id=order.request_id and uuid4(),\n"),
        ),
        (ANSWERED_ALIKE,),
    ),
    Mutant(
        "R-05: a request_id has one answer",
        "a request_id that is known begins an order again",
        (
            Edit(
                ORDERS_SQL,
                "ON CONFLICT DO NOTHING\n",
                "ON CONFLICT (user_id, request_id) DO UPDATE SET created_at = excluded.created_at\n",
            ),
        ),
        (ANSWERED_ALIKE, RETRY_MEANWHILE),
    ),
    Mutant(
        "R-05: a request_id is for one order",
        "other items under a known request_id get its answer",
        (Edit(LOMS_POSTGRES, "if first is None or first.body_hash != body:", "if first is None:"),),
        (OTHER_ITEMS,),
    ),
    Mutant(
        "R-05: a request_id is for one user",
        "request_ids of all users meet",
        (Edit(ORDERS_TABLES, "PRIMARY KEY (user_id, request_id)", "PRIMARY KEY (request_id)"),),
        (TWO_USERS,),
    ),
    Mutant(
        "R-05: an answer outlives a kill of the server",
        "the server answers before a commit is on the disk",
        (
            Edit(
                "services/embedded_postgres.py",
                "settings if durable else FAST | settings",
                "FAST | settings",
            ),
        ),
        (SERVER_KILLED,),
    ),
)

EXPIRIES = (
    Mutant(
        "R-08: an order that expires ends once",
        "an expiry does not lock what is due",
        (Edit(ORDERS_SQL, "    LIMIT $2\n    FOR UPDATE SKIP LOCKED\n),\n", "    LIMIT $2\n),\n"),),
        (EACH_ENDS_ONCE,),
    ),
    Mutant(
        "R-08: an order that expires ends once",
        "an expiry does not look at the status",
        (
            Edit(
                ORDERS_SQL,
                "WHERE o.status = 'awaiting payment' AND o.created_at <= $1\n",
                "WHERE o.created_at <= $1\n",
            ),
        ),
        (EACH_ENDS_ONCE,),
    ),
    Mutant(
        "R-08: an order in hand holds up no other",
        "an expiry waits for what somebody else has in hand",
        (Edit(ORDERS_SQL, "    LIMIT $2\n    FOR UPDATE SKIP LOCKED\n),\n", "    LIMIT $2\n    FOR UPDATE\n),\n"),),
        (HOLDS_UP_NONE,),
    ),
    Mutant(
        "R-08: everything that is due is cancelled",
        "a worker takes one batch",
        (Edit(LOMS_USECASES, "while len(expired) > 0:", "if len(expired) > 0:"),),
        (WORKER_DIED,),
    ),
)

RETRIES = (
    Mutant(
        "R-10: what does not pass by itself is not tried again",
        "everything is tried again",
        (
            Edit(
                CHASSIS_POSTGRES,
                "except (*ROLLED_BACK, *LOST) as error:",
                "except (*ROLLED_BACK, *LOST, asyncpg.PostgresError) as error:",
            ),
        ),
        (
            DATABASE + "test_a_broken_constraint_is_raised_as_it_is_at_once",
            DATABASE + "test_each_error_of_the_database_is_one_code_to_a_caller",
        ),
    ),
    Mutant(
        "R-10: what passes by itself is tried again",
        "nothing is tried again",
        (Edit(CHASSIS_POSTGRES, "if attempt == self._max_attempts:", "if attempt > 0:"),),
        (
            DATABASE + "test_what_passes_by_itself_is_tried_again",
            DATABASE + "test_each_error_of_the_database_is_one_code_to_a_caller",
        ),
    ),
    Mutant(
        "R-10: what may have been done is not done twice",
        "a lost connection begins everything again",
        (Edit(CHASSIS_POSTGRES, "            if repeatable:\n                raise\n", "            raise\n"),),
        (DATABASE + "test_what_may_have_been_done_is_not_done_twice",),
    ),
    Mutant(
        "R-10: callers do not try again all at once",
        "the pauses are the same for all",
        (Edit(CHASSIS_POSTGRES, "random.uniform(0.5, 1) * ", ""),),
        (DATABASE + "test_the_pauses_between_attempts_double_and_differ_from_caller_to_caller",),
    ),
)

MIGRATIONS_APPLIED = (
    Mutant(
        "R-41: of replicas that migrate at once one does",
        "nobody waits for others that migrate",
        (Edit(MIGRATIONS, "            await connection.execute(LOCK)\n", ""),),
        (MIGRATED + "test_of_replicas_that_start_at_once_one_applies_and_all_go_on_when_it_is_done",),
    ),
    Mutant(
        "R-41: a migration is applied and recorded, or neither",
        "the record is another transaction",
        (
            Edit(
                MIGRATIONS,
                "        await connection.execute(migration.sql)\n",
                "        await connection.execute(migration.sql)\n    async with connection.transaction():\n",
            ),
        ),
        (MIGRATED + "test_a_migration_that_cannot_be_recorded_is_not_applied",),
    ),
)

CHECKOUTS = (
    Mutant(
        "R-09: a checkout makes one order",
        "each attempt asks for an order of its own",
        (
            Edit(CART_USECASES, "from uuid import UUID, uuid5\n", "from uuid import UUID, uuid4, uuid5\n"),
            Edit(CART_USECASES, "create_order(cart, checkout_key(cart))", "create_order(cart, uuid4())"),
        ),
        (CHECKOUT_KILLED,),
    ),
)

POOLERS = (
    Mutant(
        "R-34: statements do not meet in shared sessions",
        "statements are kept prepared behind PgBouncer",
        (Edit(CHASSIS_POSTGRES, "0 if is_pooled else KEPT_STATEMENTS", "KEPT_STATEMENTS"),),
        (POOLED + "test_statements_of_many_clients_do_not_meet_in_the_sessions_that_they_share",),
    ),
    Mutant(
        "R-34: PgBouncer is not asked to cancel",
        "a read ends with its caller",
        (Edit(CHASSIS_POSTGRES, "        if self._is_pooled:\n", "        if False:\n"),),
        (POOLED + "test_a_read_whose_caller_is_gone_is_not_cancelled_on_the_way",),
    ),
)

REPLICAS = (
    Mutant(
        "R-37: what was written is read",
        "a commit does not wait until the replica has applied it",
        (
            Edit("tests/replica.py", 'synchronous_commit: str = "remote_apply"', 'synchronous_commit: str = "on"'),
            Edit(CHASSIS_REPLICA, "= 'remote_apply'", "= 'on'"),
        ),
        (REPLICATED + "test_whoever_reads_after_a_write_reads_what_was_written",),
    ),
    Mutant(
        "R-37: what was written is read",
        "nobody looks whether commits wait for the replica",
        (
            Edit(
                CHASSIS_REPLICA,
                "WHERE current_setting('synchronous_standby_names')",
                "WHERE true OR current_setting('synchronous_standby_names')",
            ),
        ),
        (REPLICATED + "test_while_commits_do_not_wait_for_the_replica_the_primary_is_read",),
    ),
    Mutant(
        "R-37: reads go on without the replica",
        "who reads from the replica gets its error",
        (
            Edit(
                CHASSIS_REPLICA,
                "                self._found(str(error))\n        return",
                "                raise error\n        return",
            ),
        ),
        (REPLICATED + "test_without_the_replica_reads_go_on_and_writes_do_when_it_is_ignored",),
    ),
)

NOTIFICATIONS = (
    Mutant(
        "R-17: each event is recorded",
        "the offset is committed before the effect",
        (
            Edit(
                CHASSIS_KAFKA,
                "            await handle([",
                "            await consumer.commit({partition: records[-1].offset + 1})\n            await handle([",
            ),
        ),
        (NOTIFIED + "test_whoever_is_killed_at_work_has_lost_nothing_and_repeated_nothing",),
    ),
    Mutant(
        "R-17, R-18: no event is recorded twice",
        "the last sequence of the order is not looked at",
        (Edit(NOTIFIER_USECASES, "notification.sequence <= last.get(notification.order_id, 0)", "False"),),
        (
            NOTIFIED + "test_whoever_is_killed_at_work_has_lost_nothing_and_repeated_nothing",
            NOTIFIED + "test_members_that_come_and_go_lose_nothing_and_repeat_nothing",
        ),
    ),
    Mutant(
        "R-20: an order waits for its event that is parked",
        "later events are recorded",
        (Edit(NOTIFIER_USECASES, "elif notification.order_id in waits:", "elif False:"),),
        (NOTIFIED + POISON,),
    ),
    Mutant(
        "R-20: other orders do not wait",
        "a batch with an event that is refused is parked as a whole",
        (
            Edit(
                NOTIFIER_USECASES,
                "            middle = len(batch) // 2\n",
                "            whole = [Arrived(each.event, error=str(refused)) for each in batch]\n"
                "            self._tell(await self._storage.record(whole))\n"
                "            return\n"
                "            middle = len(batch) // 2\n",
            ),
        ),
        (NOTIFIED + POISON,),
    ),
    Mutant(
        "a consumer that is stuck is replaced",
        "nobody looks whether there is something to receive",
        (Edit(CHASSIS_KAFKA, "if any(ends[partition] > position", "if any(ends[partition] < position"),),
        (NOTIFIED + "test_a_consumer_that_is_stuck_or_fails_is_replaced",),
    ),
    Mutant(
        "a consumer that fails is replaced",
        "its errors end the service",
        (Edit(CHASSIS_KAFKA, "except (KafkaError, ConsumerStoppedError, StuckError, OSError)", "except StuckError"),),
        (NOTIFIED + "test_a_consumer_that_is_stuck_or_fails_is_replaced",),
    ),
    Mutant(
        "a consumer that has received all is kept",
        "whoever receives nothing is replaced",
        (Edit(CHASSIS_KAFKA, "if any(ends[partition] > position", "if any(ends[partition] >= position"),),
        (NOTIFIED + "test_a_consumer_that_has_received_all_is_kept",),
    ),
    Mutant(
        "who is told to stop finishes its batch",
        "a stop cuts the batch off",
        (Edit(CHASSIS_KAFKA, "await _finished(self._handle(", "await (self._handle("),),
        (NOTIFIED + "test_who_is_told_to_stop_finishes_its_batch_and_nobody_handles_that_again",),
    ),
)

EVENTS = (
    Mutant(
        "R-11: an event is there if its change is committed, and only then",
        "the event of a payment is a transaction of its own",
        (
            Edit(
                ORDERS_SQL, "    FROM changed AS c\n    RETURNING outbox.id\n", "    FROM changed AS c WHERE false\n", 2
            ),
            Edit(
                LOMS_POSTGRES,
                "        found = await self._database.write(\n",
                """        await self._database.write(
            lambda connection: connection.execute(
                "INSERT INTO outbox (order_id, sequence, user_id, status, moment)"
                " SELECT order_id, 3, user_id, $2, $3 FROM orders WHERE order_id = $1 ON CONFLICT DO NOTHING",
                *(order_id, step.target, now),
            ),
            repeatable=True,
        )
        found = await self._database.write(
""",
            ),
        ),
        (COMMITTED,),
    ),
    Mutant(
        "R-12: no event is skipped",
        "what is below the last event that was sent is not looked at",
        (
            Edit(
                LOMS_POSTGRES, "        self._leads = False\n", "        self._leads = False\n        self._last = 0\n"
            ),
            Edit(
                LOMS_POSTGRES,
                "            for row in rows\n",
                "            for row in rows\n            if row.id > self._last\n",
            ),
            Edit(
                LOMS_POSTGRES,
                "        ids = [event.id for event in events]\n",
                "        ids = [event.id for event in events]\n        self._last = max(ids)\n",
            ),
        ),
        (NONE_SKIPPED,),
    ),
    Mutant(
        "R-13: one relay sends",
        "everybody leads",
        (Edit(OUTBOX_SQL, "SELECT EXISTS (SELECT FROM leader) AND", "SELECT true OR"),),
        (ONE_SENDS,),
    ),
    Mutant(
        "R-13: another relay takes over soon",
        "a lead has no end",
        (Edit(OUTBOX_SQL, " OR l.expires_at < clock_timestamp()", ""),),
        (LEADER_KILLED, LEADER_STOPPED),
    ),
    Mutant(
        "R-13: another relay takes over soon",
        "a lead ends late",
        (Edit(LOMS_RELAY, "LEASE_SECONDS = 3\n", "LEASE_SECONDS = 8\n"),),
        (LEADER_KILLED, LEADER_STOPPED),
    ),
    Mutant(
        "R-14: the events of an order come in order",
        "the newest events are sent first",
        (Edit(OUTBOX_SQL, "ORDER BY outbox.id\n", "ORDER BY outbox.id DESC\n"),),
        (LEADER_KILLED, COMMITTED),
    ),
    Mutant(
        "R-16: no event is lost with a broker",
        "an event is forgotten before it is sent",
        (
            Edit(
                LOMS_RELAY,
                """            await self._publisher.publish([to_message(event) for event in events])
            await self._outbox.sent(events)
""",
                """            await self._outbox.sent(events)
            await self._publisher.publish([to_message(event) for event in events])
""",
            ),
        ),
        (LEFT_AT_THE_END,),
    ),
    Mutant(
        "R-16: no event is lost with a broker",
        "the topic has one replica",
        (
            Edit(
                "services/topics.py",
                "    factor = settings.kafka_replication_factor\n",
                "    factor = 1\n",
            ),
        ),
        (ONE_OF_THREE,),
    ),
    Mutant(
        "R-16: what is in the outbox is sent before the end",
        "a relay that is told to stop sends nothing more",
        (
            Edit(
                LOMS_RELAY,
                "            async with asyncio.timeout(FLUSH_SECONDS):\n                await self.send_all()\n",
                "            pass\n",
            ),
        ),
        (SENT_BEFORE_THE_END,),
    ),
)

MUTANTS = (
    *(*STOCK, *INTERLEAVINGS, *REQUEST_IDS, *EXPIRIES, *CHECKOUTS, *EVENTS),
    *(*RETRIES, *POOLERS, *REPLICAS, *MIGRATIONS_APPLIED, *NOTIFICATIONS),
)
