package bench;

import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.StateRestoreListener;
import org.apache.kafka.streams.state.Stores;

/**
 * The book job on Kafka Streams, at least once, one thread by default.
 * Arguments: broker, input topic, output topic, application id, state folder, threads.
 * Prints "STATE name ms" on every change of state and "RESTORED partition records ms" for every restored partition.
 */
public final class BookJob {
    public static void main(String[] args) throws InterruptedException {
        KafkaStreams streams = new KafkaStreams(topology(args[1], args[2]), settings(args));
        streams.setStateListener((now, before) -> say("STATE " + now + " " + System.currentTimeMillis()));
        streams.setGlobalStateRestoreListener(new SayRestored());
        CountDownLatch stopped = new CountDownLatch(1);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> { streams.close(); stopped.countDown(); }));
        streams.start();
        stopped.await();
    }

    private static Topology topology(String input, String output) {
        return new Topology()
            .addSource("updates", Serdes.ByteArray().deserializer(), Serdes.ByteArray().deserializer(), input)
            .addProcessor("book", BookProcessor::new, "updates")
            .addStateStore(Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(BookProcessor.STORE),
                Serdes.ByteArray(), Serdes.ByteArray()).withCachingEnabled().withLoggingEnabled(Map.of()), "book")
            .addSink("quotes", output, Serdes.ByteArray().serializer(), Serdes.ByteArray().serializer(), "book");
    }

    private static Properties settings(String[] args) {
        Properties p = new Properties();
        p.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, args[0]);
        p.put(StreamsConfig.APPLICATION_ID_CONFIG, args[3]);
        p.put(StreamsConfig.STATE_DIR_CONFIG, args[4]);
        p.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, args[5]);
        p.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 1000); // as often as our checkpoint under backlog
        p.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        p.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 5000);
        p.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "lz4");
        p.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 128 << 10);
        return p;
    }

    private static synchronized void say(String line) {
        System.out.println(line);
        System.out.flush();
    }

    private static final class SayRestored implements StateRestoreListener {
        @Override
        public void onRestoreStart(TopicPartition tp, String store, long from, long to) {
            say("RESTORING " + tp.partition() + " " + (to - from) + " " + System.currentTimeMillis());
        }

        @Override
        public void onBatchRestored(TopicPartition tp, String store, long end, long count) { }

        @Override
        public void onRestoreEnd(TopicPartition tp, String store, long total) {
            say("RESTORED " + tp.partition() + " " + total + " " + System.currentTimeMillis());
        }
    }
}
