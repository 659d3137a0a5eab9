import { readdirSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { z } from 'zod';
import * as api from '../../../attest-server/api/api.ts';
import { auditPage, checkpointPage } from '../../../attest-server/api/audit-pages.ts';
import { authorityView } from '../../../attest-server/api/authority-api.ts';
import { listOf } from '../../../attest-server/api/list.ts';
import { verifyChain } from '../../../attest-server/audit/chain.ts';
import { genesis } from '../../../attest-server/formats/audit.ts';
import { followRotations } from '../../../attest-server/wire/audit-key.ts';
import { parseCheckpoint, verifyCheckpoint } from '../../../attest-server/wire/checkpoint.ts';
import type { DoomedServer } from './server.ts';

/** What operators make, by kind and name; its state is a word, `none` where it is not there. */
export type Thing =
  | `${'reference' | 'token' | 'join-token' | 'enrolment' | 'audit-key'} ${string}`
  | 'authority'
  | 'policy';

const toldVerdict = z.object({
  state: z.string(),
  at: z.number(),
  /** Of the answer that was sent since and got none: whether it may make the node trusted; null where there is none. */
  sent: z.boolean().nullable(),
});

const kept = z.object({
  round: z.int(),
  things: z.record(z.string(), z.string()),
  maybe: z.record(z.string(), z.array(z.string())),
  told: z.record(z.string(), toldVerdict),
  chain: z.object({ size: z.int(), head: z.string() }),
  backups: z.array(z.string()),
});

/** All that was acknowledged: by answers of the API, and by verdicts that agents were told. */
export class Ledger {
  #kept: z.infer<typeof kept> = {
    round: 0,
    things: {},
    maybe: {},
    told: {},
    chain: { size: 0, head: genesis },
    backups: [],
  };
  /** Audit entries that answers vouch for, by action and subject, since the last look. */
  #entries: string[] = [];
  /** States that each node was told since, in their order. */
  readonly #turns = new Map<string, string[]>();
  readonly #leaving = new Set<string>();
  readonly #notes = new Set<string>();
  readonly #strays = new Set<string>();
  acknowledged = 0;

  static of(text: string): Ledger {
    const ledger = new Ledger();
    ledger.#kept = kept.parse(JSON.parse(text));
    return ledger;
  }

  /** What is of the round that is over stays in memory: it was looked at by then. */
  toString(): string {
    return JSON.stringify(this.#kept);
  }

  get round(): number {
    return this.#kept.round;
  }

  ended(): void {
    this.#kept.round += 1;
  }

  state(thing: Thing): string {
    return this.#kept.things[thing] ?? 'none';
  }

  named(kind: string, state?: string): readonly string[] {
    return Object.entries(this.#kept.things)
      .filter(
        ([thing, is]) =>
          thing.startsWith(`${kind} `) && is !== 'none' && (state === undefined || is === state),
      )
      .map(([thing]) => thing.slice(kind.length + 1));
  }

  /** Before it is asked for: it may be so from now on. */
  mayBe(thing: Thing, state: string): void {
    this.#kept.maybe[thing] = [...(this.#kept.maybe[thing] ?? []), state];
  }

  /** Somebody is about to change it, or asked for it and got no answer. */
  isOpen(thing: Thing): boolean {
    return this.#kept.maybe[thing] !== undefined;
  }

  /** It was refused: it is as it was. */
  isNot(thing: Thing): void {
    delete this.#kept.maybe[thing];
  }

  is(thing: Thing, state: string): void {
    this.#kept.things[thing] = state;
    delete this.#kept.maybe[thing];
    this.acknowledged += 1;
  }

  entry(action: string, subject: string): void {
    this.#entries.push(`${action} ${subject}`);
  }

  backup(path: string): void {
    this.#kept.backups.push(path);
  }

  /** @param mayTrust whether the answer shows what a reference may vouch for */
  sent(node: string, mayTrust: boolean): void {
    const { state = 'none', at = 0, sent = null } = this.#kept.told[node] ?? {};
    this.#kept.told[node] = { state, at, sent: (sent ?? false) || mayTrust };
  }

  told(node: string, state: string, checkpoint: string | undefined): void {
    const before = this.#kept.told[node];
    // Of a node that is being revoked, the state of before was forgotten: an equal one has no entry.
    const mayBeEqual = before === undefined && this.#leaving.has(node);
    if (before?.state !== state && !mayBeEqual)
      this.#turns.set(node, [...(this.#turns.get(node) ?? []), state]);
    this.#kept.told[node] = { state, at: Date.now(), sent: null };
    if (checkpoint !== undefined) this.#notes.add(checkpoint);
    this.acknowledged += 1;
  }

  /** The node is about to be revoked: it may be none from now on, or another one. */
  leaves(node: string): void {
    this.forget(node);
    this.#leaving.add(node);
  }

  /** The node is none any more, or another one. */
  forget(node: string): void {
    delete this.#kept.told[node];
    this.#turns.delete(node);
    this.#leaving.delete(node);
  }

  /** Looks at a server before anybody else speaks to it. @returns what is not as it was acknowledged */
  async check(server: DoomedServer, stateDir: string): Promise<readonly string[]> {
    const faults = [
      ...(await this.#checkAudit(server)),
      ...(await this.#checkThings(server)),
      ...(await this.#checkNodes(server)),
      ...this.#checkBackups(),
      ...this.#newStrays(stateDir).map((name) => `the state folder has ${name}`),
    ];
    this.#entries = [];
    this.#turns.clear();
    this.#leaving.clear();
    this.#notes.clear();
    return faults;
  }

  /** Each is told once. */
  #newStrays(stateDir: string): readonly string[] {
    const strays = strayFiles(stateDir);
    const found = strays.filter((name) => !this.#strays.has(name));
    for (const name of found) this.#strays.add(name);
    return found;
  }

  async #checkAudit(server: DoomedServer): Promise<readonly string[]> {
    const faults: string[] = [];
    const heads = new Map([[this.#kept.chain.size, this.#kept.chain.head]]);
    const found: string[] = [];
    const turns = new Map<string, string[]>();
    for (let after = this.#kept.chain.size, isLast = false; !isLast; ) {
      const { items, next } = await server.read(`/v1/audit?limit=1000&after=${after}`, auditPage);
      const checked = verifyChain(items, this.#kept.chain);
      if (!checked.ok) return [`audit: ${checked.text}`];
      for (const { seq, hash, action, subject, detail } of items) {
        heads.set(seq, hash);
        found.push(`${action} ${subject}`);
        if (action === 'verdict') turns.set(subject, [...(turns.get(subject) ?? []), String(detail.state)]);
      }
      this.#kept.chain = { size: checked.size, head: checked.head };
      after = checked.size;
      isLast = next === null;
    }
    for (const entry of this.#entries) {
      const at = found.indexOf(entry);
      if (at < 0) faults.push(`audit: no entry of ${entry}`);
      else found.splice(at, 1);
    }
    for (const [node, told] of this.#turns) {
      const written = turns.get(node) ?? [];
      let at = 0;
      for (const state of written) if (state === told[at]) at += 1;
      if (at < told.length)
        faults.push(`audit: ${node} was told ${told.join(', ')}, and there is ${written.join(', ')}`);
    }
    const { origin, keys } = await server.read('/v1/audit/checkpoints?limit=1', checkpointPage);
    const followed = followRotations(origin, keys, null);
    for (const note of this.#notes) {
      const { size, head } = parseCheckpoint(note);
      const isSigned = followed.some((key) => isSignedBy(note, key));
      if (!isSigned) faults.push(`audit: no key that is shown signed the checkpoint of ${size} entries`);
      if (size > this.#kept.chain.size)
        faults.push(
          `audit: a checkpoint of ${size} entries was told, and there are ${this.#kept.chain.size}`,
        );
      else if (heads.has(size) && heads.get(size) !== head)
        faults.push(`audit: entry ${size} is not the one that was signed`);
    }
    for (const { publicKey } of keys)
      if (this.#kept.things[`audit-key ${publicKey}`] === undefined)
        this.#kept.things[`audit-key ${publicKey}`] = 'there';
    for (const key of this.named('audit-key'))
      if (!keys.some(({ publicKey }) => publicKey === key)) faults.push(`audit: the key ${key} is gone`);
    return faults;
  }

  async #checkThings(server: DoomedServer): Promise<readonly string[]> {
    const found = new Map<string, string>();
    const { items: references } = await server.read('/v1/references', listOf(api.referenceView));
    for (const { name, state } of references) found.set(`reference ${name}`, state);
    const { items: tokens } = await server.read('/v1/tokens', listOf(api.tokenView));
    for (const { name, role } of tokens) found.set(`token ${name}`, role);
    const { items: joins } = await server.read('/v1/join-tokens', listOf(api.joinTokenView));
    for (const { id, node } of joins) found.set(`join-token ${id}`, node);
    const { items: nodes } = await server.read(
      '/v1/nodes?limit=500',
      listOf(z.looseObject({ name: z.string() })),
    );
    for (const { name } of nodes) found.set(`enrolment ${name}`, 'there');
    const { stage } = await server.read('/v1/authority', authorityView);
    found.set('authority', stage);
    const { revision } = await server.read('/v1/policy', z.looseObject({ revision: z.string() }));
    found.set('policy', revision);
    const faults: string[] = [];
    for (const [thing, state] of Object.entries(this.#kept.things)) {
      if (thing.startsWith('audit-key ')) continue;
      const is = found.get(thing) ?? 'none';
      const may = [state, ...(this.#kept.maybe[thing] ?? [])];
      if (!may.includes(is)) faults.push(`${thing} was ${may.join(' or ')}, and is ${is}`);
    }
    // What came to be although nobody was told: it is known from now on.
    for (const thing of new Set([...found.keys(), ...Object.keys(this.#kept.things)])) {
      if (!thing.startsWith('audit-key ')) this.#kept.things[thing] = found.get(thing) ?? 'none';
      if (this.#kept.things[thing] === 'none') delete this.#kept.things[thing];
    }
    this.#kept.maybe = {};
    return faults;
  }

  async #checkNodes(server: DoomedServer): Promise<readonly string[]> {
    const view = z.looseObject({ name: z.string(), state: z.string() });
    const { items } = await server.read('/v1/nodes?limit=500', listOf(view));
    const faults: string[] = [];
    for (const { name, state } of items) {
      const told = this.#kept.told[name];
      if (told === undefined) continue;
      const isAnswered = told.sent !== null && (state !== 'trusted' || told.sent);
      const isOld = state === 'unknown' && Date.now() - told.at > 120_000;
      if (state !== told.state && !isAnswered && !isOld)
        faults.push(
          `${name} was told ${told.state}, sent ${told.sent === null ? 'nothing' : 'an answer'} since, and is ${state}`,
        );
      this.#kept.told[name] = { ...told, state, sent: null };
    }
    return faults;
  }

  #checkBackups(): readonly string[] {
    const faults: string[] = [];
    for (const path of this.#kept.backups.splice(0)) {
      const database = new DatabaseSync(path, { readOnly: true });
      const { quick_check } = database.prepare('pragma quick_check').get() ?? {};
      if (quick_check !== 'ok') faults.push(`the backup ${path}: ${quick_check}`);
      database.close();
      // So many copies of a folder that grows would fill the disk.
      for (const end of ['', '-wal', '-shm']) rmSync(`${path}${end}`, { force: true });
    }
    return faults;
  }
}

function isSignedBy(note: string, key: Buffer): boolean {
  try {
    verifyCheckpoint(note, key);
    return true;
  } catch {
    return false;
  }
}

/** Everything that a server keeps; whatever else is there was left behind. */
const known = [
  /^assay\.db(-wal|-shm)?$/,
  /^(admin|reader)\.token$/,
  /^((keys\.)?lock|alive|version|reserve)$/,
  /^audit(\.key|-checkpoint|-mark)$/,
  /^tls$/,
  /^tls\/((ca|server|next)\.(crt|key)|previous\.crt)$/,
  /^backups$/,
  /^backups\/assay-[0-9T.]+Z\.db$/,
];

function strayFiles(stateDir: string): readonly string[] {
  return readdirSync(stateDir, { recursive: true, withFileTypes: true })
    .map(({ name, parentPath }) => relative(stateDir, join(parentPath, name)))
    .filter((name) => !known.some((form) => form.test(name)));
}
