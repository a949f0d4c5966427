package bench;

import java.nio.ByteBuffer;
import java.util.Arrays;

/**
 * A full order book as one compact byte array, changed by copying around the level concerned: nothing is parsed to
 * objects. Layout: live(1) yesCount(2) noCount(2) sid(4) seq(8) revision(8) top(4 x 8: yes price, yes size, no price,
 * no size as last published) sessionLength(1) session, then YES levels, then NO levels, each price(2) size(6),
 * ascending by price: the best level of a side is its last one.
 */
final class BookValue {
    private static final int HEAD = 58, LEVEL = 8;

    byte[] bytes;
    private ByteBuffer buffer;

    void wrap(byte[] value) {
        bytes = value;
        buffer = ByteBuffer.wrap(value);
    }

    static byte[] reset(byte[] old, byte[] session) {
        ByteBuffer b = ByteBuffer.wrap(new byte[HEAD + session.length]);
        b.putLong(17, old == null ? 0 : ByteBuffer.wrap(old).getLong(17));
        b.putInt(5, -1).putLong(9, -1);
        b.put(57, (byte) session.length).put(HEAD, session);
        if (old != null) System.arraycopy(old, 25, b.array(), 25, 32);
        return b.array();
    }

    boolean live() { return bytes[0] != 0; }
    int sid() { return buffer.getInt(5); }
    long seq() { return buffer.getLong(9); }
    long revision() { return buffer.getLong(17); }
    long published(int i) { return buffer.getLong(25 + 8 * i); }
    private int yesCount() { return buffer.getShort(1); }
    private int noCount() { return buffer.getShort(3); }
    private int levelsAt() { return HEAD + bytes[57]; }

    boolean sameSession(byte[] session) {
        return Arrays.equals(bytes, HEAD, levelsAt(), session, 0, session.length);
    }

    byte[] session() { return Arrays.copyOfRange(bytes, HEAD, levelsAt()); }

    /** The same head with these levels (price, size, ...), sorted here, and live. */
    byte[] withSnapshot(JsonRecord r) {
        int start = levelsAt();
        byte[] made = Arrays.copyOf(bytes, start + LEVEL * ((r.yesLength + r.noLength) / 2));
        ByteBuffer b = ByteBuffer.wrap(made);
        made[0] = 1;
        b.putShort(1, (short) (r.yesLength / 2)).putShort(3, (short) (r.noLength / 2)).putInt(5, (int) r.sid).putLong(9, r.seq);
        putSorted(b, start, r.yes, r.yesLength);
        putSorted(b, start + LEVEL * (r.yesLength / 2), r.no, r.noLength);
        return made;
    }

    private static void putSorted(ByteBuffer b, int at, long[] levels, int length) {
        long[] packed = new long[length / 2];
        for (int i = 0; i < length; i += 2) packed[i / 2] = levels[i] << 48 | levels[i + 1];
        Arrays.sort(packed);
        for (int i = 0; i < packed.length; i++) b.putLong(at + LEVEL * i, packed[i]);
    }

    /** The book after a delta; throws when it cannot be true. A level is price << 48 | size. */
    byte[] withDelta(JsonRecord r) {
        int first = levelsAt() + (r.yesSide ? 0 : LEVEL * yesCount());
        int count = r.yesSide ? yesCount() : noCount();
        int low = 0, high = count;
        while (low < high) {
            int middle = (low + high) >>> 1;
            if ((buffer.getLong(first + LEVEL * middle) >>> 48) < r.priceE4) low = middle + 1; else high = middle;
        }
        int at = first + LEVEL * low;
        boolean found = low < count && (buffer.getLong(at) >>> 48) == r.priceE4;
        long size = (found ? buffer.getLong(at) & 0xFFFFFFFFFFFFL : 0) + r.deltaE2;
        if (size < 0 || !found && size == 0) throw new IllegalStateException("negative or unknown level");
        byte[] made;
        if (found && size > 0) {
            made = bytes.clone();
        } else if (found) {
            made = new byte[bytes.length - LEVEL];
            System.arraycopy(bytes, 0, made, 0, at);
            System.arraycopy(bytes, at + LEVEL, made, at, made.length - at);
        } else {
            made = new byte[bytes.length + LEVEL];
            System.arraycopy(bytes, 0, made, 0, at);
            System.arraycopy(bytes, at, made, at + LEVEL, bytes.length - at);
        }
        ByteBuffer b = ByteBuffer.wrap(made);
        if (size > 0) b.putLong(at, (long) r.priceE4 << 48 | size);
        int change = (size > 0 ? 1 : 0) - (found ? 1 : 0);
        int field = r.yesSide ? 1 : 3;
        b.putShort(field, (short) (count + change)).putInt(5, (int) r.sid).putLong(9, r.seq);
        return made;
    }

    /** Best YES price, size, best NO price, size; 0 where there is none. */
    void top(long[] to) {
        int start = levelsAt(), yes = yesCount(), no = noCount();
        unpack(to, 0, yes == 0 ? 0 : buffer.getLong(start + LEVEL * (yes - 1)));
        unpack(to, 2, no == 0 ? 0 : buffer.getLong(start + LEVEL * (yes + no - 1)));
    }

    private static void unpack(long[] to, int i, long level) {
        to[i] = level >>> 48;
        to[i + 1] = level & 0xFFFFFFFFFFFFL;
    }

    /** Remembers what is published now, under the next revision. */
    long publish(long[] top) {
        long revision = revision() + 1;
        buffer.putLong(17, revision);
        for (int i = 0; i < 4; i++) buffer.putLong(25 + 8 * i, top[i]);
        return revision;
    }
}
