-- What the sink has durably taken. Written only in the transaction that also writes the rows; the compare-and-swap on
-- next_offset is what fences a zombie writer.
create table sink_offsets (
    sink text not null,
    topic text not null,
    partition integer not null,
    next_offset bigint not null check (next_offset >= 0),
    -- {"<cause topic>:<cause partition>": [offset, n]}: the highest cause seen, for derived topics.
    cause_high jsonb not null default '{}',
    -- Identity of the topic the offsets count in; a re-created topic has another one.
    incarnation text,
    updated_at timestamptz not null default now(),
    primary key (sink, topic, partition)
);

-- Offsets [from_offset, to_offset) that the log no longer held when the sink came for them.
create table sink_holes (
    sink text not null,
    topic text not null,
    partition integer not null,
    from_offset bigint not null,
    to_offset bigint not null check (to_offset > from_offset),
    noticed_at timestamptz not null default now(),
    primary key (sink, topic, partition, from_offset)
);

-- Records refused, kept from the transaction that passed them by until their dead letters are known to be sent:
-- without it a crash between COMMIT and the send would lose them.
create table sink_dead_letters (
    sink text not null,
    topic text not null,
    partition integer not null,
    record_offset bigint not null,
    record_timestamp_ms bigint not null,
    record_key bytea,
    record_value bytea,
    reason text not null,
    detail text not null,
    primary key (sink, topic, partition, record_offset)
);
