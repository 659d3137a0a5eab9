import type { DatabaseSync } from 'node:sqlite';

/** The schema of 0.3.0; databases with earlier ones are not opened. */
const baseSchema = 17;

/** The schema exactly as in databases of 0.3.0: columns that a migration added are at the end, on one line. */
const base = `create table nodes (
     ek_digest text primary key,
     name text not null,
     bound text not null,
     ek_public_area blob not null,
     ek_certificate blob,
     ak_public_area blob not null,
     ak_name text not null,
     manufacturer text,
     enrolled_at integer not null
   , revoked_at integer, revoked_reason text, tpm_class text not null default 'unknown', endorsed_by text, provider_id text, banks text, key_digest text not null default '', enrolled_from text, enrolled_by text) strict;

   create table statuses (
     ek_digest text primary key references nodes (ek_digest),
     state text not null,
     verdict text,
     verified_at integer,
     expires_at integer,
     boot_seen_at integer,
     reset_count integer,
     restart_count integer,
     clock text,
     firmware_version text,
     boot_id text,
     kernel text,
     evidence_digest text
   , sequence text, system_uuid text, parts text not null default '{}', memory text, recorded_at integer, repeats integer not null default 0, since integer, seen_address text, seen_agent text, trusted_at integer, booted_after integer, booted_at integer, recorded_evidence text) strict;

   create table history (
     id integer primary key,
     ek_digest text not null references nodes (ek_digest),
     node text not null,
     at integer not null,
     verdict text not null,
     evidence_digest text,
     transition integer not null
   , repeats integer not null default 0, since integer) strict;

   create unique index history_by_node on history (node, at);

   create table evidence (
     digest text primary key,
     stored_at integer not null,
     bytes blob not null
   ) strict;

   create table reference_values (name text primary key, body text not null) strict;

   create table pins (node text primary key, ek_digest text not null unique, by text) strict;

   create table join_tokens (
     id text primary key,
     secret_hash text not null,
     node text not null,
     expires_at integer not null,
     used_at integer
   , by text) strict;

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
   end;

   create table api_tokens (
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

   create unique index nodes_by_name on nodes (name) where revoked_at is null;

   create table audit_keys (
     position integer primary key,
     origin text not null,
     public_key text not null unique,
     signature text
   ) strict;

   create table checkpoints (
     id integer primary key,
     size integer not null,
     note text not null
   ) strict;

   create table retention (
     node text not null,
     kind text not null,
     at integer not null,
     primary key (node, kind)
   ) strict;

   create table answers (id integer primary key, bytes blob not null) strict;

   create table evidence_uses (digest text primary key, at integer not null) strict, without rowid;

   create table latest_answers (
     ek_digest text primary key references nodes (ek_digest),
     node text not null,
     at integer not null,
     digest text not null,
     bytes blob not null
   ) strict;

   create index latest_answers_by_node on latest_answers (node);

   create index nodes_by_key on nodes (key_digest);

   create index nodes_by_ak on nodes (ak_name);

   create trigger one_tpm_is_one_node before insert on nodes when exists (
     select 1 from nodes where revoked_at is null and ek_digest <> new.ek_digest
     and (key_digest = new.key_digest or ak_name = new.ak_name)
   ) begin
     select raise(abort, 'the key is that of another node');
   end;

   create index transitions_by_node on history (node, at) where transition = 1;

   create table cluster_decisions (
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

   create table webhook_position (id integer primary key check (id = 1), seq integer not null) strict;`;

/** Migration n, counted from 0, leads from schema 17 + n to the next. Released ones are never edited. */
const migrations: readonly string[] = [
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

  // What each verdict moves is a row of its own, with what it was made from: the long row of a status is seldom written.
  `create table proofs (
     ek_digest text primary key references nodes (ek_digest),
     node text not null,
     verified_at integer,
     expires_at integer,
     clock text,
     repeats integer not null default 0,
     evidence_digest text,
     bytes blob
   ) strict;

   insert into proofs
   select statuses.ek_digest, name, verified_at, expires_at, clock, repeats, evidence_digest, latest_answers.bytes
   from statuses join nodes on nodes.ek_digest = statuses.ek_digest
   left join latest_answers on latest_answers.ek_digest = statuses.ek_digest and digest = evidence_digest;

   insert into proofs (ek_digest, node, verified_at, evidence_digest, bytes)
   select ek_digest, node, at, digest, bytes from latest_answers
   where ek_digest not in (select ek_digest from statuses);

   create index proofs_by_node on proofs (node);

   drop table latest_answers;

   alter table statuses rename to earlier_statuses;

   create table statuses (
     ek_digest text primary key references nodes (ek_digest),
     state text not null,
     verdict text,
     trusted_at integer,
     boot_seen_at integer,
     booted_after integer,
     booted_at integer,
     reset_count integer,
     restart_count integer,
     firmware_version text,
     boot_id text,
     sequence text,
     kernel text,
     system_uuid text,
     parts text not null default '{}',
     memory text,
     recorded_at integer,
     recorded_evidence text,
     since integer,
     trusted_by text,
     seen_address text,
     seen_agent text
   ) strict;

   insert into statuses
   select ek_digest, state, verdict, trusted_at, boot_seen_at, booted_after, booted_at, reset_count, restart_count,
     firmware_version, boot_id, sequence, kernel, system_uuid, parts, memory, recorded_at, recorded_evidence, since,
     trusted_by, seen_address, seen_agent
   from earlier_statuses;

   drop table earlier_statuses;

   create table audit_readers (reader text primary key, seq integer not null) strict, without rowid;

   insert into audit_readers select 'webhook', seq from webhook_position;

   drop table webhook_position;`,

  // 27: disk keys.
  `create table volumes (
     uuid text primary key,
     node text not null,
     ek_digest text not null references nodes (ek_digest),
     name text not null,
     path text not null,
     key_id text not null,
     wrapped_key blob not null,
     recovery_key_id text,
     wrapped_recovery blob,
     recovery_escrow blob not null,
     header_escrow blob,
     header_digest text,
     created_at integer not null,
     created_by text not null,
     formatted_at integer,
     unique (ek_digest, name)
   ) strict, without rowid;

   create table leases (
     lease_id text primary key,
     ek_digest text not null,
     volume text not null,
     reset_count integer not null,
     deliveries integer not null,
     delivered_at integer not null,
     capped_at integer,
     unique (ek_digest, volume, reset_count)
   ) strict, without rowid;`,

  // 28: why the latest boot of a node got no key, where its keys went, and on which answers both rest.
  `create table key_refusals (
     ek_digest text not null references nodes (ek_digest),
     volume text not null,
     reset_count integer not null,
     code text not null,
     text text not null,
     at integer not null,
     primary key (ek_digest, volume)
   ) strict, without rowid;

   create table key_addresses (
     ek_digest text not null references nodes (ek_digest),
     address text not null,
     at integer not null,
     primary key (ek_digest, address)
   ) strict, without rowid;

   alter table history add column for_key integer not null default 0;`,

  // 29: the reference of a volume, until its node first opens it.
  `alter table volumes add column reference text;`,

  // 30: the next key of a volume, with the header that it opens; and who took the key of a volume away.
  `alter table volumes add column rotating_since integer;
   alter table volumes add column rotating_by text;
   alter table volumes add column next_key_id text;
   alter table volumes add column next_wrapped_key blob;
   alter table volumes add column next_header_digest text;
   alter table volumes add column next_header_escrow blob;
   alter table volumes add column revoked_at integer;
   alter table volumes add column revoked_by text;
   alter table volumes add column revoked_because text;`,

  // 31: what is remembered of volume keys outlives the enrolment of their node.
  `alter table volumes add column keys_memory text;`,

  // 32: the key material of the recovery keyslot, to whom the escrow is encrypted, and when a boot got its key first.
  `alter table volumes add column recovery_slot_digest text;
   alter table volumes add column recovery_recipients text;
   alter table volumes add column header_recipients text;
   alter table volumes add column next_header_recipients text;
   alter table leases add column first_delivered_at integer;`,
];

/** The schema that this program writes; stored in the file as `PRAGMA user_version`. */
export const schemaVersion = baseSchema + migrations.length;

/** The database is not for this program. */
export class SchemaMismatch extends Error {
  override readonly name = 'SchemaMismatch';
  readonly kind: 'newer' | 'older' | 'foreign';

  constructor(kind: SchemaMismatch['kind'], text: string) {
    super(text);
    this.kind = kind;
  }
}

/**
 * The schema of a database that this program can use; 0 for an empty one.
 * @throws SchemaMismatch if a newer program wrote it, or one before 0.3.0, or it is not a store of Assay
 */
export function checkSchema(database: DatabaseSync): number {
  const version = versionOf(database);
  if (version > schemaVersion)
    throw new SchemaMismatch(
      'newer',
      `it was written by a newer version of Assay (schema ${version}, this program knows ${schemaVersion}): ` +
        'run that version, or restore a backup of this one',
    );
  if (version === 0 && database.prepare('select 1 from sqlite_master').get() !== undefined)
    throw new SchemaMismatch('foreign', 'it is a database of another program: name another file');
  if (version !== 0 && version < baseSchema)
    throw new SchemaMismatch(
      'older',
      `it was written by a version of Assay before 0.3.0 (schema ${version}, this program knows ${baseSchema} to ` +
        `${schemaVersion}), and nothing in it was changed: run 0.3.0 on it once, then this version (docs/upgrade.md)`,
    );
  return version;
}

/**
 * Brings a database to this program's version, each step in a transaction of its own.
 * @param upTo an earlier version, not before that of 0.3.0, to make a database as that program left it
 * @throws Error as `checkSchema`
 */
export function migrate(database: DatabaseSync, upTo = schemaVersion): void {
  for (let version = checkSchema(database); version < upTo; ) {
    const next = Math.max(version + 1, baseSchema);
    const step = version === 0 ? base : migrations[version - baseSchema];
    database.exec('begin immediate');
    try {
      // Another process may have been quicker: the version is read again under the lock.
      if (versionOf(database) === version) database.exec(`${step}; pragma user_version = ${next}`);
      database.exec('commit');
    } catch (error) {
      if (database.isTransaction) database.exec('rollback');
      throw error;
    }
    version = next;
  }
}

function versionOf(database: DatabaseSync): number {
  return Number(database.prepare('pragma user_version').get()?.user_version);
}
