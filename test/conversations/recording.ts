import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { z } from 'zod';

/** Where the recordings of each released version lie; README.md there says what they are. */
const recordingsFolder = new URL('../../swtpm-fixtures/conversations/', import.meta.url);

const hex = (bytes: number) => z.string().regex(new RegExp(`^[0-9a-f]{${bytes * 2}}$`));
/** Milliseconds since the conversation began. */
const ms = z.int().min(0);
const from = z.enum(['agent', 'server']);

const step = z.discriminatedUnion('kind', [
  z.strictObject({ ms, kind: z.literal('text'), from, text: z.string() }),
  /** `base64`, then the bytes of the file of this SHA-256. */
  z.strictObject({ ms, kind: z.literal('binary'), from, base64: z.base64(), file: hex(32).optional() }),
  /** The end of the connection, and who began it. */
  z.strictObject({ ms, kind: z.literal('close'), from, status: z.int(), reason: z.string() }),
  // What the operator of the server did meanwhile.
  z.strictObject({ ms, kind: z.literal('pin'), ek: hex(32) }),
  z.strictObject({
    ms,
    kind: z.literal('join token'),
    id: z.string(),
    secretHash: hex(32),
    expiresAt: z.int(),
  }),
  /** As `assay reference export` gives it. */
  z.strictObject({ ms, kind: z.literal('reference'), reference: z.record(z.string(), z.unknown()) }),
  z.strictObject({ ms, kind: z.literal('rotation of the authority') }),
]);
export type Step = z.infer<typeof step>;

const conversation = z.strictObject({
  about: z.string(),
  /** The conversation that the server had before with this node; null where it never heard of it. */
  after: z.string().nullable(),
  startedAt: z.iso.datetime(),
  node: z.string(),
  /** The TLS exporter value of the connection. */
  channel: hex(32),
  /** The server's certificate, PEM. */
  serverCertificate: z.string(),
  /** What the credential of the activation held: a secret of this recording, worth nothing elsewhere. */
  activationSecret: hex(32).nullable(),
  /** The record of the node at the end; null where it is not enrolled. */
  enrolled: z
    .strictObject({
      bound: z.string(),
      tpmClass: z.string(),
      ekDigest: hex(32),
      ekPublicArea: z.base64(),
      ekCertificate: z.base64().nullable(),
      akName: z.string(),
      akPublicArea: z.base64(),
    })
    .nullable(),
  steps: z.array(step),
});
export type Conversation = z.infer<typeof conversation>;

const installation = z.strictObject({
  commit: hex(20),
  /** What took part, with its version. */
  programs: z.record(z.string(), z.string()),
  /** PEM of the authorities that endorse the TPMs. */
  endorsementRoots: z.array(z.string()),
  /** SHA-256 of the public key of the server's authority at the beginning. */
  authorityDigest: hex(32),
});
export type Installation = z.infer<typeof installation>;

/** The conversations of one released version, and what they were held with. */
export interface Release {
  readonly version: string;
  readonly installation: Installation;
  /** The policy in force. */
  readonly policy: string;
  /** What that version takes: as a server from agents, as an agent from servers, and as facts. */
  readonly accepted: Readonly<Record<'fromAgent' | 'fromServer' | 'facts', z.ZodType>>;
  readonly conversations: ReadonlyMap<string, Conversation>;
  /** What a binary frame names. */
  file(digest: string): Buffer;
}

const schema = z
  .custom<z.core.JSONSchema.JSONSchema>((value) => typeof value === 'object' && value !== null)
  .transform((json) => z.fromJSONSchema(json));
const accepted = z.strictObject({ fromAgent: schema, fromServer: schema, facts: schema });

/** Its agents and servers are told that they are too old. */
const tooOld = '0.1.0';

/** Every release whose agents and servers still work with those of this tree. */
export function readReleases(): readonly Release[] {
  return readdirSync(recordingsFolder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && entry.name !== tooOld)
    .map(({ name }) => readRelease(name));
}

export const readRefusedRelease = (): Release => readRelease(tooOld);

function readRelease(version: string): Release {
  const folder = new URL(`${version}/`, recordingsFolder);
  const json = (name: string): unknown => JSON.parse(readFileSync(new URL(name, folder), 'utf8'));
  const names = readdirSync(new URL('conversations/', folder)).sort();
  return {
    version,
    installation: installation.parse(json('installation.json')),
    policy: readFileSync(new URL('policy.yaml', folder), 'utf8'),
    accepted: accepted.parse(json('accepted.json')),
    conversations: new Map(
      names.map((name) => [name.replace(/\.json$/, ''), conversation.parse(json(`conversations/${name}`))]),
    ),
    file: (digest) => readFileSync(new URL(`files/${digest}`, folder)),
  };
}

/** The exact bytes of a binary frame. */
export function frameBytes(release: Release, { base64, file }: Extract<Step, { kind: 'binary' }>): Buffer {
  const head = Buffer.from(base64, 'base64');
  return file === undefined ? head : Buffer.concat([head, release.file(file)]);
}

/** What the server has to hear first, oldest first, and then this one. */
export function lineage(release: Release, conversation: Conversation): readonly Conversation[] {
  if (conversation.after === null) return [conversation];
  const before = release.conversations.get(conversation.after);
  if (before === undefined) throw new Error(`${release.version} has no conversation ${conversation.after}`);
  return [...lineage(release, before), conversation];
}

/** Fails where a program with this schema would refuse the message. */
export function assertAccepted(by: z.ZodType, message: unknown): void {
  const { success, error } = by.safeParse(message);
  assert(success, `${JSON.stringify(message)}\n${error}`);
}
