import type { DatabaseSync } from 'node:sqlite';

/** Number n, counted from 1, leads from version n - 1 to n. Released ones are never edited. */
const migrations: readonly string[] = [
  `create table nodes (
     ek_digest text primary key,
     name text not null,
     bound text not null,
     ek_public_area blob not null,
     ek_certificate blob,
     ak_public_area blob not null,
     ak_name text not null,
     manufacturer text,
     enrolled_at integer not null
   ) strict;
   create unique index nodes_by_name on nodes (name);

   create table statuses (
     ek_digest text primary key references nodes (ek_digest),
     state text not null,
     verdict text,
     verified_at integer,
     expires_at integer,
     booted_at integer,
     reset_count integer,
     restart_count integer,
     clock text,
     firmware_version text,
     boot_id text,
     kernel text,
     boot_log_digest text,
     evidence_digest text
   ) strict;

   create table history (
     id integer primary key,
     ek_digest text not null references nodes (ek_digest),
     node text not null,
     at integer not null,
     verdict text not null,
     evidence_digest text,
     transition integer not null
   ) strict;
   create unique index history_by_node on history (node, at);

   create table evidence (
     digest text primary key,
     stored_at integer not null,
     bytes blob not null
   ) strict;

   create table reference_values (name text primary key, body text not null) strict;

   create table pins (node text primary key, ek_digest text not null unique) strict;

   create table join_tokens (
     id text primary key,
     secret_hash text not null,
     node text not null,
     expires_at integer not null,
     used_at integer
   ) strict;

   create table audit (
     seq integer primary key,
     at integer not null,
     actor text not null,
     action text not null,
     subject text not null,
     code text,
     detail text not null,
     prev text not null,
     hash text not null
   ) strict;
   create trigger audit_is_never_edited before update on audit begin
     select raise(abort, 'the audit log is append-only');
   end;
   create trigger audit_is_never_shortened before delete on audit begin
     select raise(abort, 'the audit log is append-only');
   end;`,

  `create table api_tokens (
     id text primary key,
     name text not null unique,
     role text not null,
     secret_hash text not null,
     created_by text not null,
     created_at integer not null,
     expires_at integer
   ) strict;

   create table candidates (
     node text not null,
     ek_digest text not null,
     ek_public_area blob not null,
     certificate_subject text,
     manufacturer text,
     address text not null,
     first_seen integer not null,
     last_seen integer not null,
     attempts integer not null,
     primary key (node, ek_digest)
   ) strict;

   create table approvals (
     node text primary key,
     ek_digest text not null unique,
     by text not null,
     at integer not null
   ) strict;

   alter table nodes add column revoked_at integer;
   alter table nodes add column revoked_reason text;
   drop index nodes_by_name;
   create unique index nodes_by_name on nodes (name) where revoked_at is null;`,

  `create table audit_keys (
     position integer primary key,
     origin text not null,
     public_key text not null unique,
     signature text
   ) strict;
   create table checkpoints (
     id integer primary key,
     size integer not null,
     note text not null
   ) strict;`,

  `alter table nodes add column tpm_class text not null default 'unknown';
   alter table nodes add column endorsed_by text;`,

  `create table retention (
     node text not null,
     kind text not null,
     at integer not null,
     primary key (node, kind)
   ) strict;`,

  `alter table nodes add column provider_id text;`,

  `alter table statuses add column sequence text;`,

  `alter table statuses add column system_uuid text;`,

  // Each answer is under its row of history: at the end of the table, and in no index that it must be sorted into.
  `create table answers (id integer primary key, bytes blob not null) strict;`,

  // What an earlier program stored is in none of its rows, and is not erased before it is used again.
  `create table evidence_uses (digest text primary key, at integer not null) strict, without rowid;`,

  // A verdict like the one before moves its node's status, and its evidence takes the place of the one before.
  `alter table history add column repeats integer not null default 0;
   alter table history add column since integer;

   create table latest_answers (
     ek_digest text primary key references nodes (ek_digest),
     node text not null,
     at integer not null,
     digest text not null,
     bytes blob not null
   ) strict;
   create index latest_answers_by_node on latest_answers (node);

   alter table statuses add column parts text not null default '{}';
   update statuses set parts = json_object('boot', boot_log_digest) where boot_log_digest is not null;
   alter table statuses drop column boot_log_digest;
   alter table statuses add column memory text;
   alter table statuses add column recorded_at integer;
   alter table statuses add column repeats integer not null default 0;
   update statuses set recorded_at = (
     select max(at) from history
     where node = (select name from nodes where nodes.ek_digest = statuses.ek_digest)
   );

   alter table nodes add column banks text;`,

  // One TPM is one node, however its public area is written; two records of before stay, and are held.
  `alter table nodes add column key_digest text not null default '';
   update nodes set key_digest = endorsement_key_digest(ek_public_area);
   create index nodes_by_key on nodes (key_digest);
   create index nodes_by_ak on nodes (ak_name);
   create trigger one_tpm_is_one_node before insert on nodes when exists (
     select 1 from nodes where revoked_at is null and ek_digest <> new.ek_digest
     and (key_digest = new.key_digest or ak_name = new.ak_name)
   ) begin
     select raise(abort, 'the key is that of another node');
   end;
   alter table nodes add column enrolled_from text;`,

  // Who took the latest step of a reference's life, when and why, stood in the audit log alone.
  `update reference_values set body = json_set(body, '$.changed', json(step))
   from (
     select subject, max(seq), json_object(
       'action', substr(action, 11), 'by', actor,
       'at', strftime('%Y-%m-%dT%H:%M:%fZ', at / 1000.0, 'unixepoch'),
       'reason', detail ->> '$.reason', 'from', detail ->> '$.from'
     ) as step
     from (
       select seq, at, actor, action, subject, case when json_valid(detail) then detail else '{}' end as detail
       from audit where action in ('reference.approve', 'reference.retire', 'reference.revoke')
     )
     where length(actor) <= 512 and length(detail ->> '$.reason') between 1 and 512
     and detail ->> '$.from' in ('staged', 'active', 'retired', 'revoked')
     group by subject
   ) as latest
   where subject = name and json_valid(body);`,

  // Who vouched is filled in as far as the audit log says it; of pins it names nobody.
  `alter table statuses add column since integer;
   alter table statuses add column seen_address text;
   alter table statuses add column seen_agent text;
   create index transitions_by_node on history (node, at) where transition = 1;
   update statuses set since = (
     select max(at) from history
     where transition = 1 and history.ek_digest = statuses.ek_digest
     and node = (select name from nodes where nodes.ek_digest = statuses.ek_digest)
   ) where verdict is not null;

   alter table pins add column by text;
   alter table join_tokens add column by text;
   update join_tokens set by = made.actor from (
     select actor, json_extract(iif(json_valid(detail), detail, '{}'), '$.id') as id
     from audit where action = 'join-token.create'
   ) as made where made.id = join_tokens.id;

   alter table nodes add column enrolled_by text;
   update nodes set enrolled_by = case bound
     when 'first-use' then 'node'
     when 'cloud' then 'cloud'
     when 'vendor' then 'cluster'
     when 'join-token' then (
       select by from join_tokens where node = nodes.name and used_at = nodes.enrolled_at
     )
   end;
   update nodes set enrolled_by = approved.actor from (
     select subject, actor, json_extract(iif(json_valid(detail), detail, '{}'), '$.ek') as ek, max(seq)
     from audit where action = 'enrol.approve' and code is null group by subject, ek
   ) as approved where bound = 'approval' and approved.subject = name and approved.ek = ek_digest;`,

  // When a node was last found trusted, to within an hour for those of before: their equal verdicts have no rows.
  `alter table statuses add column trusted_at integer;
   update statuses set trusted_at = (
     select max(at) from history
     where node = (select name from nodes where nodes.ek_digest = statuses.ek_digest)
     and history.ek_digest = statuses.ek_digest and verdict like '{"state":"trusted"%'
   ) where state <> 'trusted' and verdict is not null;`,

  // When a boot was first proven is not when it began. The evidence of the latest row stays while equal verdicts follow.
  `alter table statuses rename column booted_at to boot_seen_at;
   alter table statuses add column booted_after integer;
   alter table statuses add column booted_at integer;
   alter table statuses add column recorded_evidence text;
   update statuses set recorded_evidence = (
     select evidence_digest from history
     where node = (select name from nodes where nodes.ek_digest = statuses.ek_digest)
     and history.ek_digest = statuses.ek_digest
     order by at desc limit 1
   ) where verdict is not null;`,

  // A server in a cluster: what people decided about marks, which nodes are gone, what is still to be told.
  `create table cluster_decisions (
     kind text not null,
     key text not null,
     body text not null,
     primary key (kind, key)
   ) strict;

   create table presence (
     ek_digest text primary key references nodes (ek_digest),
     missing_since integer,
     gone_at integer,
     archived_at integer
   ) strict;

   create table machines_without_tpm (node text primary key, seen_at integer not null) strict;

   create table webhook_position (id integer primary key check (id = 1), seq integer not null) strict;`,

  // What is kept and names others is found without reading all that is kept: only such blobs begin so.
  `create index evidence_that_names on evidence (digest) where substr(bytes, 1, 6) = x'61737361792f';`,

  // What initrds hold is kept once for each image.
  `create table initrds (
     sha256 text primary key,
     sha384 text not null,
     sha512 text not null,
     manifest text not null,
     bytes integer not null,
     used_at integer not null
   ) strict;`,

  // A signed directory of references, pins and policy: which one is in force, and what it says of pins.
  `create table declared_directory (
     id integer primary key check (id = 1),
     serial integer not null,
     digest text not null,
     key text not null,
     at integer not null,
     policy text
   ) strict;

   create table declared_pins (node text primary key, ek_digest text not null unique) strict;`,

  // What enrols while the server is on trial counts for nothing once it is not. No earlier server had trials.
  `alter table nodes add column trial integer not null default 0;`,

  // Changes that follow each other too quickly have one row together, which says how many they were.
  `alter table history add column flaps text;`,

  // What each TPM has the server keep, counted as it is written. Of an earlier program's evidence nothing is counted.
  `create table held_blobs (
     ek_digest text not null,
     digest text not null,
     bytes integer not null,
     primary key (ek_digest, digest)
   ) strict, without rowid;
   create index held_blobs_by_digest on held_blobs (digest);
   create table held (
     ek_digest text primary key,
     blobs integer not null default 0,
     answers integer not null default 0
   ) strict, without rowid;
   create table former_names (
     ek_digest text not null,
     name text not null,
     primary key (ek_digest, name)
   ) strict, without rowid;
   alter table evidence add column counted integer not null default 0;
   alter table answers add column held integer not null default 0;

   create trigger blob_is_held after insert on held_blobs begin
     insert into held (ek_digest, blobs) values (new.ek_digest, new.bytes)
     on conflict (ek_digest) do update set blobs = blobs + excluded.blobs;
   end;
   create trigger blob_is_given_back after delete on held_blobs begin
     update held set blobs = blobs - old.bytes where ek_digest = old.ek_digest;
   end;
   create trigger erased_blob_is_given_back after delete on evidence begin
     delete from held_blobs where digest = old.digest;
   end;
   create trigger answer_is_held after insert on answers begin
     insert into held (ek_digest, answers) select ek_digest, new.held from history where id = new.id
     on conflict (ek_digest) do update set answers = answers + excluded.answers;
   end;
   create trigger answer_is_given_back after delete on answers begin
     update held set answers = answers - old.held
     where ek_digest = (select ek_digest from history where id = old.id);
   end;
   create trigger node_is_renamed after update of name on nodes when old.name <> new.name begin
     insert into former_names (ek_digest, name) values (old.ek_digest, old.name) on conflict do nothing;
   end;`,

  // Policies that were in force, by the SHA-256 of their texts, and what people decided about which one is.
  `create table policies (
     digest text primary key,
     name text not null,
     source text not null,
     text text not null,
     first_at integer not null,
     last_at integer not null,
     ended_at integer,
     came text not null,
     by text,
     reason text
   ) strict;

   create table policy_decisions (
     kind text primary key check (kind in ('rollback', 'allowance')),
     digest text not null,
     instead_of text,
     at integer not null,
     by text not null,
     reason text not null
   ) strict;`,

  // By which policy and references a node was last trusted: the answer that is kept names them.
  `alter table statuses add column trusted_by text;

   update statuses set trusted_by = (
     select json_object(
       'policy', policy, 'references', reference_set,
       'named', json_extract(statuses.verdict, '$.policy'),
       'group', json_extract(statuses.verdict, '$.group'), 'version', '', 'measured', null, 'host', null,
       'affirmedBy', json_array(), 'turned', null
     )
     from (
       select coalesce(json_extract(body, '$.named.policy'), json_extract(body, '$.policy')) as policy,
         coalesce(json_extract(body, '$.named.references'), json_extract(body, '$.references')) as reference_set
       from (
       select iif(json_valid(cast(bytes as text)), cast(bytes as text), '{}') as body
       from latest_answers
       where latest_answers.ek_digest = statuses.ek_digest and latest_answers.digest = statuses.evidence_digest
       union all
       select iif(json_valid(cast(bytes as text)), cast(bytes as text), '{}')
       from history join answers on answers.id = history.id
       where history.ek_digest = statuses.ek_digest and history.evidence_digest = statuses.evidence_digest
       )
     )
     where policy not glob '*[^0-9a-f]*' and length(policy) = 64
       and reference_set not glob '*[^0-9a-f]*' and length(reference_set) = 64
     limit 1
   )
   where (state = 'trusted' or state = 'unknown' and trusted_at = verified_at)
     and json_valid(verdict) and evidence_digest is not null;`,
];

/** What this program writes; `PRAGMA user_version` holds it in the file. */
export const schemaVersion = migrations.length;

/** The digest by which an endorsement key is unique, of a TPMT_PUBLIC that was stored. */
export type KeyDigest = (publicArea: Buffer) => string;

/**
 * Brings a database to this program's version, each step in a transaction of its own.
 * @param keyDigest needed where an earlier program enrolled nodes
 * @param upTo an earlier version, to make a database as an earlier program left it
 * @throws Error where a newer program wrote it, or where it is not a store of Assay
 */
export function migrate(
  database: DatabaseSync,
  keyDigest: KeyDigest | null = null,
  upTo = schemaVersion,
): void {
  const version = versionOf(database);
  if (version > schemaVersion) {
    throw new Error(
      `it was written by a newer version of Assay (schema ${version}, this program knows ${schemaVersion}): ` +
        'run that version, or restore a backup of this one',
    );
  }
  if (version === 0 && database.prepare('select 1 from sqlite_master').get() !== undefined) {
    throw new Error('it is a database of another program: name another file');
  }
  if (version < upTo)
    database.function('endorsement_key_digest', (area) => {
      if (keyDigest === null || !(area instanceof Uint8Array))
        throw new Error('it has nodes of an earlier version: start the server once');
      return keyDigest(Buffer.from(area));
    });
  for (let next = version; next < upTo; next += 1) {
    database.exec('begin immediate');
    try {
      // Another process may have been quicker: the version is read again under the lock.
      if (versionOf(database) === next) {
        database.exec(`${migrations[next]}; pragma user_version = ${next + 1}`);
      }
      database.exec('commit');
    } catch (error) {
      if (database.isTransaction) database.exec('rollback');
      throw error;
    }
  }
}

function versionOf(database: DatabaseSync): number {
  return Number(database.prepare('pragma user_version').get()?.user_version);
}
