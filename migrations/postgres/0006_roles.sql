-- Two group roles: grant `writer` to the sink worker's user, `reader` to people and dashboards. Roles belong to the
-- whole cluster; without the right to create roles they must exist before.
do $$
declare
    needed text;
begin
    foreach needed in array array['reader', 'writer'] loop
        if not exists (select from pg_roles where rolname = needed) then
            begin
                execute format('create role %I nologin', needed);
            exception
                when duplicate_object or unique_violation then null; -- another database of this cluster was faster
                when insufficient_privilege then
                    raise exception 'expected a role "%" or the right to create it (create role %)', needed, needed;
            end;
        end if;
    end loop;
end $$;

grant usage on schema public to reader, writer;
grant select on all tables in schema public to reader, writer;
grant insert, update, delete on all tables in schema public to writer;
revoke insert, update, delete, truncate on event_partitions, schema_migrations from writer;
revoke execute on function ensure_event_partition(text, date), drop_event_partitions(integer) from public;
grant execute on function ensure_event_partition(text, date), drop_event_partitions(integer) to writer;
