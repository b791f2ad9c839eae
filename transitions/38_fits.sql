-- Requirements: what a task asks of its agent, held against what agents offer. Both are JSON objects by capability.

-- fits says whether an agent offers all that a task requires.
create function otto.fits(requires jsonb, offers jsonb) returns boolean language plpgsql immutable as $$
begin
    return requires = '{}' or not exists (select from jsonb_each(requires) r where not otto.requirement_fits(r.value, offers -> r.key));
end $$;

-- requirement_fits holds one requirement against what is offered under its name, null for nothing:
-- true by whatever is offered, but false; a number is the least, also of a version; an object is a version range; a list wants all
-- of its members; everything else is equal, or one of a list that is offered.
create function otto.requirement_fits(need jsonb, offer jsonb) returns boolean language plpgsql immutable as $$
declare offered text := jsonb_typeof(offer);
begin
    if coalesce(offered, 'null') = 'null' then return false; end if;
    return coalesce(case jsonb_typeof(need)
        when 'number' then case offered when 'number' then offer::numeric >= need::numeric
                                        when 'string' then otto.version_of(offer #>> '{}') >= otto.version_of(need #>> '{}') end
        when 'boolean' then case when need = 'true' then offer <> 'false' else offer = need end
        when 'array' then case when offered = 'array' then offer else jsonb_build_array(offer) end @> need
        when 'object' then otto.version_within(otto.version_of(offer #>> '{}'), need)
        else offer = need or (offered = 'array' and offer @> jsonb_build_array(need)) end, false);
end $$;

-- version_of reads a version: its numbers, six with those that are missing (0), and then 0, or -1 for a pre-release, so that
-- arrays compare as versions do. A pre-release has something after its numbers that begins with a letter, - or ~; what begins with
-- + or _ does not count. Null if it is no version.
create function otto.version_of(word text) returns int[] language plpgsql immutable as $$
declare said text[] := regexp_match(word, '^v?(\d{1,9}(?:\.\d{1,9}){0,5})(?:$|([-a-zA-Z~+_ ]))'); numbers int[] := string_to_array(said[1], '.')::int[];
begin
    return case when said is not null then
        numbers || array_fill(0, array[6 - cardinality(numbers)]) || case when said[2] ~ '[-a-zA-Z~]' then -1 else 0 end end;
end $$;

-- version_within says whether a version is within all bounds of a range, an object from operator to version. Below a release are not
-- its own pre-releases: <2 means that 2 may change things, and so may 2.0-rc1. Null if it cannot be said.
create function otto.version_within(version int[], bounds jsonb) returns boolean language plpgsql immutable as $$
begin
    return version is not null and bounds <> '{}' and (
        select bool_and(coalesce(case b.key
            when '>=' then version >= than when '>' then version > than when '<=' then version <= than when '=' then version = than when '!=' then version <> than
            when '<' then case than[7] when 0 then version[1:6] < than[1:6] else version < than end end, false))
          from jsonb_each_text(bounds) b, otto.version_of(b.value) than);
end $$;
