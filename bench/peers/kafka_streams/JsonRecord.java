package bench;

import java.nio.charset.StandardCharsets;

/**
 * One book record read from JSON bytes in a single forward scan, without building a tree or any string that is not
 * needed. Fields may come in any order; unknown ones are skipped. Reused for every record of a thread.
 */
final class JsonRecord {
    static final int OTHER = 0, SNAPSHOT = 1, DELTA = 2, RESET = 3;

    int kind;
    long tsEvent, tsIngest, sid, seq, deltaE2;
    int priceE4;
    boolean yesSide;
    byte[] sessionId = new byte[0];
    /** Levels in the order received: price, size, price, size. */
    long[] yes = new long[256], no = new long[256];
    int yesLength, noLength;

    private byte[] in;
    private int at;

    void read(byte[] json) {
        in = json;
        at = 0;
        kind = OTHER;
        tsEvent = -1;
        tsIngest = sid = seq = deltaE2 = 0;
        priceE4 = yesLength = noLength = 0;
        readObject(false);
    }

    private void readObject(boolean payload) {
        expect('{');
        if (peek() == '}') { at++; return; }
        do {
            int start = stringStart(), end = stringEnd();
            expect(':');
            if (payload) readPayloadField(start, end); else readField(start, end);
        } while (next() == ',');
    }

    private void readField(int start, int end) {
        switch (end - start) {
            case 7: if (is(start, "payload")) { readObject(true); return; } break;
            case 8: if (is(start, "ts_event")) { tsEvent = nullOrLong(); return; } break;
            case 9: if (is(start, "ts_ingest")) { tsIngest = readLong(); return; } break;
            case 10: if (is(start, "event_type")) { kind = readKind(); return; } break;
            default:
        }
        skipValue();
    }

    private void readPayloadField(int start, int end) {
        switch (end - start) {
            case 2: if (is(start, "no")) { noLength = readLevels(false); return; } break;
            case 3:
                if (is(start, "sid")) { sid = nullOrLong(); return; }
                if (is(start, "seq")) { seq = nullOrLong(); return; }
                if (is(start, "yes")) { yesLength = readLevels(true); return; }
                break;
            case 4: if (is(start, "side")) { yesSide = in[stringStart()] == 'y'; stringEnd(); return; } break;
            case 8:
                if (is(start, "price_e4")) { priceE4 = (int) readLong(); return; }
                if (is(start, "delta_e2")) { deltaE2 = readLong(); return; }
                break;
            case 10: if (is(start, "session_id")) { readSession(); return; } break;
            default:
        }
        skipValue();
    }

    private int readKind() {
        int start = stringStart(), length = stringEnd() - start;
        if (length == 10 && is(start, "book_delta")) return DELTA;
        if (length == 13 && is(start, "book_snapshot")) return SNAPSHOT;
        return length == 10 && is(start, "book_reset") ? RESET : OTHER;
    }

    private void readSession() {
        int start = stringStart(), end = stringEnd();
        if (end - start == sessionId.length && java.util.Arrays.equals(in, start, end, sessionId, 0, sessionId.length)) return;
        sessionId = java.util.Arrays.copyOfRange(in, start, end);
    }

    private int readLevels(boolean isYes) {
        int n = 0;
        expect('[');
        if (peek() == ']') { at++; return 0; }
        do {
            expect('[');
            long price = readLong();
            expect(',');
            long size = readLong();
            expect(']');
            long[] levels = isYes ? yes : no;
            if (n + 2 > levels.length) {
                levels = java.util.Arrays.copyOf(levels, levels.length * 2);
                if (isYes) yes = levels; else no = levels;
            }
            levels[n++] = price;
            levels[n++] = size;
        } while (next() == ',');
        return n;
    }

    private long nullOrLong() {
        if (peek() == 'n') { at += 4; return -1; }
        return readLong();
    }

    private long readLong() {
        boolean negative = peek() == '-';
        byte[] bytes = in; // locals: the compiler need not write the position back at every byte
        int i = negative ? at + 1 : at;
        long value = 0;
        for (int c = bytes[i]; c >= '0' && c <= '9'; c = bytes[++i]) value = value * 10 + (c - '0');
        at = i;
        return negative ? -value : value;
    }

    private void skipValue() {
        int depth = 0;
        for (;;) {
            int c = peek();
            if (c == '"') { stringStart(); stringEnd(); }
            else if (c == '{' || c == '[') { depth++; at++; continue; }
            else if (c == '}' || c == ']') { depth--; at++; }
            else if (c == ',' || c == ':') { at++; continue; }
            else while (in[at] != ',' && in[at] != '}' && in[at] != ']') at++;
            if (depth == 0) return;
        }
    }

    /** Position after the opening quote. */
    private int stringStart() {
        expect('"');
        return at;
    }

    /** Position of the closing quote; reading goes on after it. */
    private int stringEnd() {
        byte[] bytes = in;
        int i = at;
        for (int c = bytes[i]; c != '"'; c = bytes[i]) i += c == '\\' ? 2 : 1;
        at = i + 1;
        return i;
    }

    private boolean is(int start, String name) {
        for (int i = 0; i < name.length(); i++) if (in[start + i] != name.charAt(i)) return false;
        return true;
    }

    private int peek() {
        int c = in[at];
        while (c <= ' ') c = in[++at];
        return c;
    }

    private int next() {
        int c = peek();
        at++;
        return c;
    }

    private void expect(int c) {
        if (next() != c) throw new IllegalArgumentException("expected " + (char) c + " at " + (at - 1) + " of "
            + new String(in, StandardCharsets.UTF_8));
    }
}
