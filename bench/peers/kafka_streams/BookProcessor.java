package bench;

import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.processor.api.RecordMetadata;
import org.apache.kafka.streams.state.KeyValueStore;

/** Keeps the full book of every market in the store; forwards a quote on every change of best price or size. */
final class BookProcessor implements Processor<byte[], byte[], byte[], byte[]> {
    static final String STORE = "books";

    private final JsonRecord record = new JsonRecord();
    private final BookValue book = new BookValue();
    private final QuoteJson json = new QuoteJson();
    private final long[] top = new long[4];
    private ProcessorContext<byte[], byte[]> context;
    private KeyValueStore<byte[], byte[]> store;
    private byte[] topic;

    @Override
    public void init(ProcessorContext<byte[], byte[]> context) {
        this.context = context;
        store = context.getStateStore(STORE);
    }

    @Override
    public void process(Record<byte[], byte[]> input) {
        record.read(input.value());
        byte[] key = input.key(), value = store.get(key);
        if (record.kind == JsonRecord.RESET) {
            store.put(key, BookValue.reset(value, record.sessionId));
            return;
        }
        if (value == null || record.kind == JsonRecord.OTHER) return;
        book.wrap(value);
        if (!book.sameSession(record.sessionId)) return;
        if (record.kind == JsonRecord.SNAPSHOT) {
            if (book.sid() == record.sid && record.seq <= book.seq()) return;
            book.wrap(book.withSnapshot(record));
        } else {
            if (!book.live() || book.sid() != record.sid || record.seq <= book.seq()) return;
            book.wrap(book.withDelta(record));
        }
        book.top(top);
        if (changed()) forward(input);
        store.put(key, book.bytes);
    }

    private boolean changed() {
        if (book.revision() == 0) return true;
        for (int i = 0; i < 4; i++) if (top[i] != book.published(i)) return true;
        return false;
    }

    private void forward(Record<byte[], byte[]> input) {
        RecordMetadata from = context.recordMetadata().orElseThrow();
        if (topic == null) topic = QuoteJson.ascii(from.topic());
        long revision = book.publish(top);
        context.forward(input.withValue(
            json.write(input.key(), book, top, revision, record, topic, from.partition(), from.offset())));
    }
}
