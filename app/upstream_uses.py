"""The list for `app.upstream`: each override of Faust and aiokafka, why, and the source it was written against."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Use:
    """`path` is `module:qualified.name`; `why` says what we do with it; `sha256` is of `inspect.getsource`."""

    path: str
    why: str
    sha256: str


USES: tuple[Use, ...] = (
    Use(
        "faust.transport.consumer:Consumer.getmany",
        "overridden: runs of records become one event; the same checks of flow, generation and active partitions",
        "4b168d84882a70d6e3e2f9804430a63b92f8fd117d3187cbb4aeb54305bda34e",
    ),
    Use(
        "faust.transport.consumer:Consumer.ack",
        "overridden: a batch is acknowledged as one; nothing goes to the lists of offsets",
        "5fcf41cf45153475de3790dc56fec1b83335956dc8b3bf7ff6bbb2b57627f03f",
    ),
    Use(
        "faust.transport.consumer:Consumer._new_offset",
        "overridden: the commit is the end of the longest acknowledged prefix of batches",
        "1d2c7ea89a7ad4f1a216c1d51936e569162cd66bd56f889e13fd29c910b58eb0",
    ),
    Use(
        "faust.transport.consumer:Consumer._add_gap",
        "overridden: gaps of batched partitions are not kept",
        "4df2573ded7c1c2cde04dc6bde6d4480cb5875ef565256e56966b585ae39b1c1",
    ),
    Use(
        "faust.transport.consumer:Consumer.on_partitions_revoked",
        "overridden: drains first; forgets batches after the wait for their acknowledgements",
        "d04b7ae72c6fc206924a2879d6c90dd383f3e8ba6f4b10a19ca99a921eb8f4db",
    ),
    Use(
        "faust.transport.consumer:Consumer.on_partitions_assigned",
        "overridden: forgets batches in flight",
        "29ce96596f05a18c6738eeb2e0d308dd8ef09e9116854129372c474f8638c069",
    ),
    Use(
        "faust.transport.consumer:Consumer.wait_empty",
        "overridden: drains first; waits for _unacked_messages and commits",
        "e4662fe24f094819add590b2d75f233840e77823b432aea6504539768572102f",
    ),
    Use(
        "faust.transport.consumer:Consumer._wait_next_records",
        "called by getmany",
        "6218e1969a636b3ff504ad1b8e7ad58a113572e43d746cc96d684ed5153032c6",
    ),
    Use(
        "faust.transport.consumer:Consumer.perform_seek",
        "called by getmany; sets _committed_offset, which health and rewind read",
        "0e8c130ff4b0afd82c0be9c5fd831316e10febc62c94032833911096e156d7c6",
    ),
    Use(
        "faust.transport.consumer:Consumer._drain_messages",
        "calls getmany, and drops messages below _read_offset",
        "44a2500309e83c630493f6828af50166ec8d96a0b3e4fb2bab735f704ae93417",
    ),
    Use(
        "faust.transport.consumer:Consumer.track_message",
        "puts messages into _unacked_messages, from which begin() takes them",
        "217d7f1399a4cd8e15a43a64ecf50413b9b738058e5433e057f0dc3927a3fc03",
    ),
    Use(
        "faust.transport.consumer:Consumer._wait_for_ack",
        "sets _waiting_for_ack, which ack() wakes",
        "d9c9337d4af88e54a26a9a45aeb73ca8cb75e25ee870987fddeda767415e339a",
    ),
    Use(
        "faust.transport.consumer:Consumer._filter_tps_with_pending_acks",
        "commits the partitions that stand in _acked, where ack() enters them",
        "f6f9239774234e7e230eee7c40c686421a66302be95e59c59a9109c2bba5fbd6",
    ),
    Use(
        "faust.transport.consumer:Consumer._filter_committable_offsets",
        "calls _new_offset, once per commit",
        "dc5e9baf5d994485473ce80aed1873b9318f02d735fde21e285de3d0c52a5e0e",
    ),
    Use(
        "faust.transport.consumer:Consumer._commit_tps",
        "the order: attachments, then the commit",
        "a20e230b05ae8b151ac9f78fa77a102003a948c66c24c9d3588e39cb12859b7e",
    ),
    Use(
        "faust.transport.consumer:Consumer._commit_offsets",
        "updates _committed_offset after the commit",
        "1a6979904118844111259d182ca1c6e92ccc16364ccbe55c58e59d6e254a7adb",
    ),
    Use(
        "faust.transport.consumer:Consumer._should_commit",
        "compares with _committed_offset",
        "5ce941793947ad42b5c4298765d32f8fcbb8dd74b4385a50ab4b466fb651781c",
    ),
    Use(
        "faust.transport.consumer:ThreadDelegateConsumer._commit",
        "called by rewind",
        "a20eec84e4b2ed5072f6c6ab7707ac03d69e2255d67f115c31f8dc9cc246dc66",
    ),
    Use(
        "faust.transport.drivers.aiokafka:Consumer._to_message",
        "used for topics that are not batched",
        "7c24f6511b2fcef7cbfe73526e78de033bfe0df211f1fd30509d699c9deb6ce4",
    ),
    Use(
        "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._commit",
        "what a commit does with its errors",
        "932852ce7a23f658804273d0296de6affaa7d21c19311c279712c2fae91a3b03",
    ),
    Use(
        "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._fetch_records",
        "hands over what PartitionRecords made",
        "39a2c6c79fc1455a199629912b533458a720c64983bc957420a42feef6593baa",
    ),
    Use(
        "faust.transport.drivers.aiokafka:ConsumerRebalanceListener",
        "the order of revoke, generation and assign",
        "f3d04f29dfb3f716e5c5725a0649e25fa92ed986a68ae798c3c85931adf87d9c",
    ),
    Use(
        "faust.app.base:App._on_partitions_revoked",
        "suspends, clears queues, waits for acknowledgements, then tells the stages",
        "d5c895bbe57dc73ae4d7f762f6fdc9fdd3abd02f9e05863ccfd8034082e5682f",
    ),
    Use(
        "faust.app.base:App._on_partitions_assigned",
        "tells the stages",
        "de932b7927db85b3d5e88971c3c7d2d75c0c7af8111a2ca08d4097bd9f8d2552",
    ),
    Use(
        "faust.types.tuples:ConsumerMessage",
        "built by batch_message, field by field",
        "5edc45d571eb42a2da07834bc4c408b9bcc333bcc2ab15eea8d6c986de46b6fd",
    ),
    Use(
        "faust.types.tuples:Message.ack",
        "its on_final_ack leads to Consumer.ack",
        "4751b72c4ed84153a7b6c14fdfe41cc92e477b38a6c6089cb785532ef5771688",
    ),
    Use(
        "faust.streams:Stream.noack",
        "leaves acknowledging to the stages",
        "921a6f5c674d32d4568445c58e340ad17f896d36ec0e832c1b92c9f99eced5d0",
    ),
    Use(
        "mode.threads:WorkerThread",
        "subclassed: starts no thread (app.one_loop)",
        "e213e6b441f98671761adb4ddb39c05ee58dbc9f07aec11e6ada48741649ad2e",
    ),
    Use(
        "mode.threads:ServiceThread.start",
        "starts the worker, waits for _thread_running",
        "f11841038a033a05f2523901082d51dec9b4ef42b226ab2dd4b6223078a10680",
    ),
    Use(
        "mode.threads:ServiceThread.stop",
        "waits for the end of _serve, then stops the worker",
        "32d026539c3665b2ceaa8dcdc0c3f49195ceb5b6059947e7104a4b258d1d4efd",
    ),
    Use(
        "mode.threads:ServiceThread._serve",
        "run as a task of the one loop",
        "67809eae09573ac7b43d0679e70a5394acc739bee5809d30b89e9ea8a7ac4b38",
    ),
    Use(
        "mode.threads:ServiceThread._gather_remaining_tasks",
        "overridden: the loop's other tasks are not the consumer's",
        "6f65b92dd101248509e375f2087a1f46997098217fbabdd8b558efbb34b72915",
    ),
    Use(
        "mode.threads:QueueServiceThread.call_thread",
        "overridden: a plain await",
        "479edda75b54734b48dabbb33071259949ded0a6f9fa6f82e81afdc42aff6e55",
    ),
    Use(
        "faust.transport.consumer:ConsumerThread.on_partitions_revoked",
        "overridden: a plain await",
        "c44013f1259ca964083145135698ac29fe46b0de4408d866691d6eacc8dc0f04",
    ),
    Use(
        "faust.transport.consumer:ConsumerThread.on_partitions_assigned",
        "overridden: a plain await",
        "e59e8dda43724bd4c943653b34f70c7baa589427381625bac53ceb4b885ef183",
    ),
    Use(
        "faust.transport.drivers.aiokafka:Consumer._new_consumer_thread",
        "overridden: makes a LoopConsumer",
        "0870ec53dea75083995e3565c0f0a25a1c63ecceaeb238e92e2585e3623af5a9",
    ),
    Use(
        "aiokafka.consumer.fetcher:Fetcher._get_actions_per_node",
        "overridden: no request before everything was taken; with partitions held back a short wait (app.fetching)",
        "1dab2cf937d165d0eeacc8da8ed2b0ebd80b321bb6583757e01cdc1013d31635",
    ),
    Use(
        "mode.services:Service.wait_first",
        "overridden: a message that is queued without waiting costs no tasks (app.eager)",
        "feade6a31f8a67897cf687c54c66f5f4535288050bbaac07249ce2063d36ae2e",
    ),
    Use(
        "faust.transport.consumer:Consumer.on_buffer_full",
        "overridden: batched topics stay in the fetches; queueing waits instead",
        "c8961679e0bcdce5c23b07143d687ec8814492012e176332552e81b8feb7862c",
    ),
    Use(
        "aiokafka.consumer.fetcher:PartitionRecords.__init__",
        "the attributes that LeanPartitionRecords reads",
        "8ec1c2ae6ea1af875db73e6d01604f3edf269faf5806c67c02d1f91b456d3571",
    ),
    Use(
        "aiokafka.consumer.fetcher:PartitionRecords._unpack_records",
        "overridden: whole record batches instead of records",
        "b803e6d46480732c7a7faa8e784b338bcdd4e707ea67fba96c013654b04b8a08",
    ),
    Use(
        "aiokafka.consumer.fetcher:PartitionRecords._consume_aborted_up_to",
        "called by LeanPartitionRecords",
        "56876530cd6412f3e3c5cd5888418fdf3bb2e648fe0e69936b45611e88dd040d",
    ),
    Use(
        "aiokafka.consumer.fetcher:PartitionRecords._contains_abort_marker",
        "called by LeanPartitionRecords",
        "17e9ad2322ef4e0a5719f67edff8f4e94807b144966ad9d09e37117f27c9e6ad",
    ),
    Use(
        "aiokafka.consumer.fetcher:FetchResult.getall",
        "moves the position to next_fetch_offset",
        "3e717e30de5068d549dd41b231928c67a24e832a928d48bac5f485e448daa903",
    ),
    Use(
        "aiokafka.consumer.fetcher:Fetcher._proc_fetch_request",
        "wrapped: the request goes in a session, whose answers name only what has something (app.fetching); builds "
        "PartitionRecords by its module name, for read_lean",
        "59bf948fff47eed580671971252454daa614df479733f3bedfefe95bc4d8ad30",
    ),
    Use(
        "faust.tables.manager:TableManager.on_start",
        "overridden without its pause of a second (app.pauses)",
        "365dd25fbc0e068499c89e526516c638693a2d143b6ac249f84a60f5267fec9d",
    ),
    Use(
        "mode.worker:Worker._sentinel_task",
        "overridden: the last thing before the loop is closed, and only a pause (app.pauses)",
        "6e66058cf3e1b61606c66359bae30b81a5aeb355cf4f7e2cb4748449560c3687",
    ),
    Use(
        "aiokafka.consumer.fetcher:Fetcher.fetched_records",
        "bounds and orders what getmany returns; wrapped: remembers what was asked for (app.fetching)",
        "be4348896b9b66afe048de954e2be91c546f4e96c94cb120d5764ec77ce8f19e",
    ),
    Use(
        "aiokafka.codec:lz4_encode",
        "called with level=1 (app.lz4)",
        "a27f1d0da7e18dcbace23e47eb3e9e32444ab2fd6290052a6be715607edcb6a9",
    ),
    Use(
        "aiokafka.record.default_records:_DefaultRecordBatchBuilderPy._maybe_compress",
        "calls lz4_encode by its module name (app.lz4)",
        "aec315ff19fb0cc6f01c68bfe0ed973b52f477d85482a90c62a3f3990de9a59b",
    ),
    Use(
        "aiokafka.consumer.consumer:AIOKafkaConsumer.last_poll_timestamp",
        "tables.changelog counts the broker's answers with it",
        "da08643199629e28881ddafd6894a574f75534b2a1165c4b1fb899b96a5b78a0",
    ),
    Use(
        "aiokafka.producer.producer:AIOKafkaProducer.send_batch",
        "tables.outbox: one future per batch, in order",
        "bf42b0f0c5c0646db4cc15b54a81103fe948473a2969149bd9277fe2ca1b5235",
    ),
    Use(
        "aiokafka.conn:AIOKafkaConnection.send",
        "sends what the request's `prepare` returns: a session's own bytes (app.fetch_session)",
        "5909ea32f4efca495f492e22f8ccfbcbfc1f4b3c96649d1e25055b8d05bd6f77",
    ),
    Use(
        "aiokafka.conn:AIOKafkaConnection._handle_frame",
        "hands a response to the request's RESPONSE_TYPE.decode, unless it was cancelled (app.fetch_session)",
        "46a7d9b8cf7ca22206ca8d7ae16b41a5e6b55958abcf83368b006b1af10b18c3",
    ),
    Use(
        "aiokafka.protocol.fetch:FetchRequest.build",
        "the fields of a request that app.fetch_session encodes",
        "952ef0f41192efc3b4b72468fa86ef1ff5c7a148e7ed775cadeb1afdf199b040",
    ),
    Use(
        "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._create_worker_consumer",
        "overridden: the pace of the fetches is set on what it returns (app.one_loop)",
        "c2701bfc3e6f6cad95c2be36d6a255a86e2c57d18d36cc1082b5fb5c482d99d7",
    ),
)
