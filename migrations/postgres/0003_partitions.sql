-- Day partitions of the event tables. Functions with the owner's rights, so that the writer role needs no DDL.
create table event_partitions (
    parent text not null,
    day date not null,
    -- Retention counts from here too: a replay of an old capture is kept as long as fresh data.
    created_at timestamptz not null default now(),
    primary key (parent, day)
);

-- True when this call made the partition. Attached, not created in place: writers of other days are not held up.
create function ensure_event_partition(parent text, of_day date) returns boolean
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    child text := format('%s_p%s', parent, to_char(of_day, 'YYYYMMDD'));
begin
    if not exists (
        select from pg_partitioned_table join pg_class on pg_class.oid = partrelid
        where relname = parent and relnamespace = 'public'::regnamespace and parent like 'events\_%'
    ) then
        raise exception 'expected a partitioned event table, was %', parent;
    end if;
    perform pg_advisory_xact_lock(hashtext('kalshi-streams:event_partitions'));
    if to_regclass(format('public.%I', child)) is not null then
        return false;
    end if;
    execute format('create table %I (like %I including all)', child, parent);
    execute format(
        'alter table %I attach partition %I for values from (%L) to (%L)', parent, child,
        of_day::timestamp at time zone 'UTC', (of_day + 1)::timestamp at time zone 'UTC'
    );
    -- Of a partition that somebody dropped by hand a line is left.
    insert into event_partitions values (parent, of_day, now())
    on conflict on constraint event_partitions_pkey do update set created_at = excluded.created_at;
    return true;
end $$;

-- Drop what is older than keep_days by its day and by its making; returns how many partitions went.
create function drop_event_partitions(keep_days integer) returns integer
language plpgsql security definer set search_path = public, pg_temp set lock_timeout = '2s' as $$
declare
    gone record;
    dropped integer := 0;
begin
    if keep_days < 1 then
        raise exception 'expected keep_days >= 1, was %', keep_days;
    end if;
    for gone in
        delete from event_partitions
        where day < (now() at time zone 'UTC')::date - keep_days and created_at < now() - make_interval(days => keep_days)
        returning parent, day
    loop
        execute format('drop table if exists %I', format('%s_p%s', gone.parent, to_char(gone.day, 'YYYYMMDD')));
        dropped := dropped + 1;
    end loop;
    return dropped;
end $$;
