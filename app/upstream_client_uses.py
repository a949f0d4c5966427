"""More of the list for `app.upstream`: clients of Kafka, Faust's conductor and the WebSocket library."""

from app.upstream_uses import Use

CLIENT_USES: tuple[Use, ...] = (
    Use(
        "faust.transport.conductor:ConductorCompiler.build",
        "counts who must acknowledge a message, and may give all of them one and the same event: nobody "
        "changes an event",
        "837cf521368c1ee4b22c235a2b137f665eca03d0e3e01b5ddedb65232ee73bf2",
    ),
    Use(
        "faust.transport.conductor:Conductor._compile_message_handler",
        "finds the handler of a message by its partition",
        "9fbc0538097aa4eca6113b99df8d17605ae72a6b5030482f041a183f4cc34df1",
    ),
    Use(
        "faust.transport._cython:conductor.pyx",
        "the compiled twin of ConductorCompiler.build, chosen where it is installed: read both together",
        "dde1f974267881cf8c5f7e4fd2b114a2c6d754633a2aa9a2a2fc92f93e143dba",
    ),
    Use(
        "faust._cython:streams.pyx",
        "the compiled twin of Stream.__aiter__: under noack() it leaves acknowledging to the stages",
        "0041622f4a251188f53d73e6d51d18d16f0f427512df1e96c043cfdeea4c3250",
    ),
    Use(
        "faust.transport.consumer:Consumer.pause_partitions",
        "called by hold_back",
        "27a1c94bdacd54de06593ec4eb040b32e9e7c9534e9af041f6ed66723df5f922",
    ),
    Use(
        "faust.transport.consumer:Consumer.resume_partitions",
        "called by let_go",
        "afe6b7c02a41d63cd46d47a03f09b547c85289c108de21d682970057d1015c3b",
    ),
    Use(
        "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread.highwater",
        "the log's end as of the last fetch: lag in app.health",
        "6f7dbe109ae6807f500a1343eefb23f39e856ee62eaad5d09f145f49f838c4ab",
    ),
    Use(
        "faust.assignor.partition_assignor:PartitionAssignor.external_topics_metadata",
        "which worker has which partitions, by address (app.web.views)",
        "6a2766feb2371700c8568f98fd23ec4d066b61ffa3803069639bb43dd76d26d5",
    ),
    Use(
        "faust.tables.manager:TableManager._update_channels",
        "called by our on_start (app.pauses)",
        "88e3941facc934d697ef5bc26c6e21b0e30179c6d66493d12e77da501010e701",
    ),
    Use(
        "faust.app.base:App.on_start",
        "overridden: the kernel starts before it (app.worker)",
        "480d70c6c72d042d93e6f89bfaed6ea721bed7c3ae71f225497da969bd9ec5eb",
    ),
    Use(
        "faust.app.base:App.on_stop",
        "overridden: stages and kernel stop after it (app.worker)",
        "bfe5a933defb2324031e00f20e2f650176416c192f16c6d70931006699b21938",
    ),
    Use(
        "faust.serializers.schemas:Schema.loads_key",
        "overridden: a run of records has no key (app.transport)",
        "9adc30303f20915c764a93dc48721210cd66c15e151669e7a9f6881bce3530d7",
    ),
    Use(
        "faust.serializers.schemas:Schema.loads_value",
        "overridden: a run of records is passed through (app.transport)",
        "61a4628b4e0966e6fc5602c1b9a13de3f1746e576986a43f12afaaf61f062a5f",
    ),
    Use(
        "mode.utils.futures:notify",
        "called by ack",
        "ef6a073439d5ece3ae414d4b6097cbed95c005f911950b517e6f16f322da7e8c",
    ),
    Use(
        "mode.utils.futures:maybe_async",
        "called by call_thread (app.one_loop)",
        "f8429e8a5119dd556062cd6608f75479dbc218b10bc78e1a61d66fb3eddeefbb",
    ),
    Use(
        "mode.services:WaitResults",
        "built by wait_first",
        "34f57759d7450b9d1bb91579ec76b9ff76efb63ef138f4b89ca99ff09d0a26b4",
    ),
    Use(
        "aiokafka.producer.message_accumulator:BatchBuilder",
        "tables.outbox makes batches of its own size with it: `append` answers None where a row does not fit",
        "8050802ca75141861221210ca1d806b0d37741a45884bf8e77c5a4d1e0a58554",
    ),
    Use(
        "aiokafka.producer.message_accumulator:MessageAccumulator.__init__",
        "app.lasting_batches sets _batch_ttl, and demands _txn_manager",
        "eb57f3c1d5c7657b1fec503d4913013ac318547a9cc1e0daa17a37acbe28e94c",
    ),
    Use(
        "aiokafka.producer.message_accumulator:MessageAccumulator.drain_by_nodes",
        "lets an old batch fail where its partition has no leader: what app.lasting_batches is for",
        "fc995afbfc5718e2bbc40bc7078322f7e2a5b7c85df9b3cabbd14aca03201a5c",
    ),
    Use(
        "aiokafka.producer.message_accumulator:MessageBatch.expired",
        "compares with _batch_ttl, which app.lasting_batches makes infinite",
        "3b28f15f56f2acb153aff3388e92b2379ba57ec5cfdf378565d6ccfd64003642",
    ),
    Use(
        "aiokafka.producer.message_accumulator:MessageAccumulator.add_batch",
        "send_batch ends here: one future per batch",
        "5ed1c5b1367ad85413d82f5704ed1165eecee5f30be6c234b3210ffd9461f02a",
    ),
    Use(
        "aiokafka.producer.producer:AIOKafkaProducer.__init__",
        "has the _message_accumulator that app.lasting_batches changes",
        "fd6f2966fb3dc883ffcd325fe27b2580f005c3246bec5f20fc8412b2134f6180",
    ),
    Use(
        "aiokafka.producer.producer:AIOKafkaProducer.stop",
        "waits for its batches for ever: producers.publisher sets _closed and closes _sender and client instead",
        "43ef97147111893b2d336de3e8f7bd2ffbb8a55564705c932af9e9971e6c78f4",
    ),
    Use(
        "aiokafka.producer.sender:Sender.close",
        "called by producers.publisher without the wait before it",
        "f60b3d023d2526f4c30e5642931e94770ddb6e4f2dff5b51155179a841eb06dd",
    ),
    Use(
        "aiokafka.client:AIOKafkaClient._wait_on_metadata",
        "wrapped: the first batch of a topic waits for a broker that tells of it (app.lasting_batches)",
        "52b0a5ee78ef3aa0c21c82b69baa20eb6983d9e5871e9e66784198cb2f1bf256",
    ),
    Use(
        "aiokafka.client:AIOKafkaClient.force_metadata_update",
        "its answer says whether a broker answered (app.lasting_batches)",
        "cb7befef21c8f3f94ad4e1dbd5b36a962fe03f10517011041b9a631e3c46d6c8",
    ),
    Use(
        "aiokafka.client:AIOKafkaClient.send",
        "takes requests of our own making (ops.topic_ids)",
        "246b277687d7b687d79fd81f0a9718633b61a5ead0a1e9898419a1151ae3a91d",
    ),
    Use(
        "aiokafka.consumer.consumer:AIOKafkaConsumer.__init__",
        "_fetch_min_bytes and _fetch_max_wait_ms are set before its start (app.one_loop)",
        "01506f316191f7c99c785bec915756d1560029a6fad75cba6f4da71e343a8163",
    ),
    Use(
        "aiokafka.consumer.consumer:AIOKafkaConsumer.start",
        "hands the pace to a Fetcher that it finds by its module name (app.fetching)",
        "2f1ba70443327538800d348e61042cdedd5a5e6306f40ebe1a06dddba7494c45",
    ),
    Use(
        "aiokafka.consumer.fetcher:Fetcher.__init__",
        "extended; has the _records that nobody has taken yet (app.fetching)",
        "bf21ecb7e0f210b7c90ddabf89b02ae088d97d93cd157cea11429d13737eea2a",
    ),
    Use(
        "aiokafka.consumer.fetcher:PartitionRecords",
        "_check_crcs, _isolation_level and _aborted_producers decide what app.transport hands over",
        "94aa0da0dbec8d1bfcd1aacc64ac405c95c4918b55143e74dcf7f2dab785567f",
    ),
    Use(
        "faust.transport.consumer:Consumer.__init__",
        "has _buffered_partitions, of which a fetch is delivered all the same (app.transport)",
        "302410d59e6972d144e35ce91483b28783e01fd039f02a51f0b06c6d3953a001",
    ),
    Use(
        "aiokafka.consumer.subscription_state:TopicPartitionState",
        "its `timestamp` is the last answer's time, set where a session's answer names nothing (app.fetching)",
        "2b83334afadf6d980ca41a0c4577dee6e1bbbc46fca677123b1b39b893c50da8",
    ),
    Use(
        "aiokafka.protocol.fetch:FetchRequest.__init__",
        "has _max_wait_ms, _min_bytes, _max_bytes, _isolation_level, _rack_id, which app.fetching and "
        "app.fetch_session read and set",
        "f31b6b74cc94dae4a4b6a83f202518b80ae24ef00393885d92f85a56451fbf3f",
    ),
    Use(
        "aiokafka.protocol.fetch:FetchRequest_v11",
        "subclassed: its number and header are those of a session's request (app.fetch_session)",
        "a6e818202eeca8bd5f381441662f33ee894e5ca68be7d1fd002c41d757c4476f",
    ),
    Use(
        "aiokafka.protocol.fetch:FetchResponse_v11",
        "what app.fetch_session takes apart by `struct`",
        "66f6416366170bdb9eb398664b83c8d88215640bf8d3adc774221024ae31123f",
    ),
    Use(
        "aiokafka.protocol.api:Request",
        "subclassed: a Metadata request with topic ids (ops.topic_ids)",
        "1dc66f0574be167307f86439473bcc6818395396d7fc7dc507aca745694e2edf",
    ),
    Use(
        "aiokafka.protocol.api:RequestStruct",
        "subclassed (ops.topic_ids)",
        "0c94b7d190186c2a7c85f1f152e058b49c297929af4a18c16f7689c9951312d7",
    ),
    Use(
        "aiokafka.protocol.struct:Struct.encode",
        "overridden: a session's own bytes (app.fetch_session)",
        "ede5976c899dd66a2492c7730b4ae123a75645ce4027cfa7692c4868bb1b8c9e",
    ),
    Use(
        "aiokafka.protocol.api:Response",
        "subclassed (ops.topic_ids)",
        "38b92a1dd3b1b270e2fb5128689e8138174d752ab25bc29eabb639387779d182",
    ),
    Use(
        "aiokafka.protocol.types:AbstractType",
        "subclassed: a uuid in a message (ops.topic_ids)",
        "987d9751c32eb5f4044a28da8b607b98f5973d2ad6d695685ee2b142ab96b0c1",
    ),
    Use(
        "aiokafka.protocol.metadata:MetadataRequest",
        "ops.engines.cluster_id: its answer has the cluster's id",
        "0a2584162e6d4244d8a836234f9dd58ecbed41e086c0607ca06b0e23edbf940b",
    ),
    Use(
        "aiokafka.partitioner:murmur2",
        "places keys as Kafka's own clients do (tables.outlets, producers.publisher)",
        "62179ca184949379a640dfece86b25050b0f1bc8299b7cf6ebb7fe821db78326",
    ),
    Use(
        "websockets.asyncio.connection:Connection.data_received",
        "overridden: whole text frames are cut out before the library sees them (producers.connection)",
        "19c5a13dd8eb56f76c290dfb957417f1886a26b53899b1151ff28002881ba618",
    ),
    Use(
        "websockets.asyncio.client:ClientConnection.process_event",
        "overridden: takes data frames, passes on the others",
        "047114e631b50af1f07256a413b94d5ca690967ebfc4dc792aa74e49323e8f5f",
    ),
    Use(
        "websockets.asyncio.connection:Connection.process_event",
        "what control frames are passed on to",
        "90e3399e37c0852f534a31d068a82ac4d4ac20b5adfbd2c07e6a4f4de95b61a6",
    ),
    Use(
        "websockets.asyncio.client:ClientConnection.__init__",
        "has the `response` that is None until the handshake is done",
        "3eaf0ed34951846ef91571f552668588b98ba3755bf553a5f7cd767a198aa64f",
    ),
    Use(
        "websockets.asyncio.client:ClientConnection.handshake",
        "sets `response` before the first frame is handed over",
        "30333fb637094b1a13c9ef8a3d03f29543b2f39e2b5d2849ac4228eca384119c",
    ),
    Use(
        "websockets.asyncio.client:connect.__init__",
        "calls create_connection as a factory of the protocol",
        "d1d2f97b5f2ac35f50976f18b56bd3e0fdacf94000d52c5f0130b5d3005f0dce",
    ),
    Use(
        "websockets.protocol:Protocol.__init__",
        "has `state`, `reader` and `current_size`, by which we know that a new frame begins",
        "76c731b216eb09412842a26937c530d65c00bad141d649c91d3d3049f17d6486",
    ),
    Use(
        "websockets.protocol:Protocol.parse",
        "the generator that holds a begun frame while it waits: reader.buffer is empty at a frame's start alone",
        "45aaf900644b63c46eee7cd7e28c53182cf53acac614aa93ed5a6a090fe95cc0",
    ),
    Use(
        "websockets.protocol:Protocol.recv_frame",
        "sets current_size from the first fragment to the last",
        "4f83d3b90ea62428e18d55362bd208220982b46b83a823c76d6c19f1c5c2637b",
    ),
    Use(
        "websockets.protocol:Protocol.receive_data",
        "what our cut hands the rest to",
        "df57bef09335e1766e924dccb8d6d52fcfa89b557fb0dc149ee8f0e85589a016",
    ),
    Use(
        "websockets.streams:StreamReader",
        "`buffer` holds what is not parsed yet",
        "ce642455b6483e7582606b5b5896df0f8ac8905207ab3d6d4bfc3cb49127d405",
    ),
    Use(
        "websockets.frames:Frame",
        "built for a whole message of several fragments",
        "990b786696ed4d11645a5031fb54ae408ec91796dd711a04bb3041a901ebf088",
    ),
)
