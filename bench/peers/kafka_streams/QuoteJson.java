package bench;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/** Writes quote_update records, with exactly the fields of ours, into a reused buffer. */
final class QuoteJson {
    private byte[] out = new byte[2048];
    private int at;

    byte[] write(byte[] ticker, BookValue book, long[] top, long revision, JsonRecord r, byte[] topic, int partition, long offset) {
        at = 0;
        text("{\"event_type\":\"quote_update\",\"schema_version\":1,\"ts_event\":");
        number(r.tsEvent >= 0 ? r.tsEvent : r.tsIngest);
        text(",\"ts_ingest\":");
        number(r.tsIngest);
        text(",\"source\":\"maintain_books\",\"idempotency_key\":\"quote_update:v1:");
        raw(ticker);
        text(":");
        padded(revision);
        text("\",\"cause\":{\"topic\":\"");
        raw(topic);
        text("\",\"partition\":");
        number(partition);
        text(",\"offset\":");
        number(offset);
        text(",\"n\":0},\"payload\":{\"market_ticker\":\"");
        raw(ticker);
        text("\",\"session_id\":\"");
        raw(book.session());
        text("\",\"sid\":");
        number(r.sid);
        text(",\"seq\":");
        number(r.seq);
        text(",\"revision\":");
        number(revision);
        text(top[1] + top[3] == 0 ? ",\"status\":\"empty\"" : ",\"status\":\"live\"");
        long yes = top[0], no = top[2];
        pair(",\"yes_bb_px_e4\":", yes, ",\"yes_bb_sz_e2\":", top[1]);
        pair(",\"yes_ba_px_e4\":", no == 0 ? 0 : 10_000 - no, ",\"yes_ba_sz_e2\":", top[3]);
        pair(",\"no_bb_px_e4\":", no, ",\"no_bb_sz_e2\":", top[3]);
        pair(",\"no_ba_px_e4\":", yes == 0 ? 0 : 10_000 - yes, ",\"no_ba_sz_e2\":", top[1]);
        text("}}");
        return Arrays.copyOf(out, at);
    }

    private void pair(String priceName, long price, String sizeName, long size) {
        text(priceName);
        if (price == 0) text("null"); else number(price);
        text(sizeName);
        if (price == 0) text("null"); else number(size);
    }

    @SuppressWarnings("deprecation") // the deprecated getBytes is the quick one for ASCII
    private void text(String s) {
        s.getBytes(0, s.length(), out, at); // all ASCII
        at += s.length();
    }

    private void raw(byte[] bytes) {
        System.arraycopy(bytes, 0, out, at, bytes.length);
        at += bytes.length;
    }

    private void padded(long value) {
        for (int i = 11; i >= 0; i--, value /= 10) out[at + i] = (byte) ('0' + value % 10);
        at += 12;
    }

    private void number(long value) {
        if (value < 0) { out[at++] = '-'; value = -value; }
        int digits = 1;
        for (long rest = value; rest >= 10; rest /= 10) digits++;
        for (int i = digits - 1; i >= 0; i--, value /= 10) out[at + i] = (byte) ('0' + value % 10);
        at += digits;
    }

    static byte[] ascii(String s) { return s.getBytes(StandardCharsets.US_ASCII); }
}
