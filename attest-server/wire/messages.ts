/**
 * Everything that agent and server say to one another, and everything that evidence holds: `messages`,
 * `evidence`, `binding`, `facts`, a file for each part and supplement, `limits`; then `verdict`, `reasons`, and
 * the `advice` on them; and the `last-words` of an agent. An agent knows nothing else of a server. `roles` has a
 * row for each role.
 *
 * The wire can grow: a hello says what an agent speaks, and new members and kinds of frame go only to agents
 * that speak them. Recorded conversations of each version are tests (`test/conversations`).
 */

import { z } from 'zod';
import { auditKeys } from './audit-key.ts';
import { announcedAuthorities, trustedAuthorities } from './authority.ts';
import { checkpointLength } from './checkpoint.ts';
import { formatted, kept, unlocked } from './disk-messages.ts';
import { partNames } from './evidence.ts';
import { gateOrder, openedByItself } from './gate.ts';
import { limits } from './limits.ts';
import { jsonOf } from './parse-json.ts';
import type { ReasonCode } from './reasons.ts';
import { Rejection } from './rejection.ts';
import { roleNames } from './roles.ts';
import { inOurWords, shapeFault } from './shape-fault.ts';
import { mostInAnswer, mostPieces, type SupplementName, supplementNames } from './supplements.ts';
import { nodeStates } from './verdict.ts';

/** The conversation on `/v1/attest`, WebSocket subprotocol `assay.v1`. Text frames carry one of these objects. */
export const subprotocol = 'assay.v1';
export const attestPath = '/v1/attest';
export const protocolVersion = 1;

const base64 = (bytes: number) => z.base64().max(Math.ceil(bytes / 3) * 4);
const hex = (bytes: number) => z.string().regex(new RegExp(`^[0-9a-f]{${bytes * 2}}$`));

/** An RFC 1123 name, as Kubernetes wants a Node's: nothing in it can break a log line, a label or a page. */
export const nodeName = z
  .string()
  .max(limits.nodeName)
  .regex(
    /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/,
    'not a node name (lower-case RFC 1123)',
  );

export const pcrBanks = ['sha1', 'sha256', 'sha384', 'sha512'] as const;
export type PcrBank = (typeof pcrBanks)[number];
export const bankBytes: Readonly<Record<PcrBank, number>> = { sha1: 20, sha256: 32, sha384: 48, sha512: 64 };

const pcrIndices = z.array(z.int().min(0).max(23)).min(1).max(24);
/** PCR selection: bank -> PCR numbers, ascending. */
export const selection = z.partialRecord(z.enum(pcrBanks), pcrIndices);
export type PcrSelection = z.infer<typeof selection>;

/** An absolute path without `.`, `..` and empty components, of printable ASCII. */
const protectedPath = z
  .string()
  .max(1024)
  .regex(/^\/$|^(\/(?!\.{1,2}(\/|$))[\x21-\x2e\x30-\x7e]+)+$/, 'not an absolute path');

const word = z.string().regex(/^[a-z0-9.-]{1,32}$/);

/**
 * Words for the features that this version speaks. `parts`: the parts of evidence travel in binary frames, by their digests.
 * `codes`: a reason code that the agent does not know is no fault of the message. `files`: a challenge of 0.3.0 may ask for
 * files. `paths`: it names the paths that the policy protects, whose mounts the part `disk` shows. `supplements`: it names
 * what of each supplement is to come, and the answer brings that in pieces. `local`: it says that the part `firewall` may name
 * the node's own addresses.
 */
export const spokenWords = ['parts', 'codes', 'files', 'paths', 'supplements', 'local'] as const;
export type SpokenWord = (typeof spokenWords)[number];

/** The words of a hello that this version knows. */
export function knownWords(said: readonly string[] | undefined): readonly SpokenWord[] {
  return spokenWords.filter((known) => said?.includes(known));
}

/**
 * Each agent since 0.3.0 speaks `parts` and `codes`; an earlier one is told `malformed`, which it understands.
 * @throws Rejection `malformed` (field `speaks`)
 */
export function checkSpoken(known: readonly SpokenWord[]): void {
  if (known.includes('parts') && known.includes('codes')) return;
  throw new Rejection(
    'malformed',
    'the agent is of a version before 0.3.0: update it to 0.3.0, then to the version of this server (docs/upgrade.md)',
    { field: 'speaks' },
  );
}

/** A hello of a later agent may have more members: they are ignored. */
const hello = z.object({
  type: z.literal('hello'),
  versions: z.strictObject({
    protocol: z.tuple([z.int().min(1), z.int().min(1)]),
    program: z
      .string()
      .max(32)
      .regex(/^[0-9A-Za-z.+-]+$/),
  }),
  role: z.enum(roleNames),
  node: nodeName,
  /** PCR banks that the TPM has allocated. Empty if the machine has no usable TPM. */
  banks: z.array(z.enum(pcrBanks)).max(4),
  /** Endorsement key: TPMT_PUBLIC, and from NV the certificate and its chain, DER. */
  ek: z
    .strictObject({
      publicArea: base64(1024),
      certificate: base64(4096).nullable(),
      chain: z.array(base64(4096)).max(8),
    })
    .nullable(),
  /** Attestation key: TPMT_PUBLIC, and its name (nameAlg || H(public area)). */
  ak: z.strictObject({ publicArea: base64(1024), name: z.string().regex(/^[0-9a-f]{4,132}$/) }).nullable(),
  /** True: the next frame is binary and carries the join token. */
  joinToken: z.boolean(),
  /** True: a binary frame follows, after that of a join token, with the token of its service account in the cluster. */
  clusterToken: z.boolean().optional(),
  /** The latest checkpoint of the server's audit log that this agent verified (checkpoint.ts). */
  checkpoint: z.string().max(checkpointLength).optional(),
  /** The authorities that this agent trusts for the server; without it none is announced to it. */
  authorities: trustedAuthorities.optional(),
  /** Features that this agent understands: nothing new is sent to one that does not name it. Left out by 0.1.0. */
  speaks: z.array(word).max(limits.speaks).optional(),
});

/** The measured digest of a file, in whichever bank. */
const measuredDigest = z.string().regex(/^(?:[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128})$/);

/** The piece of a supplement that comes with an answer; its bytes are in frames before the message, in order. */
const saidSupplement = z.strictObject({
  /** Bytes of it before these. */
  from: z.int().min(0),
  /** There is more of it than fits into one answer. */
  more: z.boolean(),
  /** SHA-256 of each piece. */
  pieces: z.array(hex(32)).max(mostPieces),
});

/** The piece of a supplement that is to come. */
const askedSupplement = z.strictObject({
  /** Which things, by the digests that were measured; none if the node has one alone. */
  of: z.array(measuredDigest).max(limits.loaderFiles.count),
  /** Bytes of it that the server has. */
  from: z.int().min(0),
  /** The boot that these are of: in another one the supplement is sent from its beginning. Null if any will do. */
  bootId: z.string().max(64).nullable(),
  /** Bytes that the answer may bring: an agent has all of them in memory. */
  most: z.int().min(1).max(mostInAnswer),
});

function ofEach<Schema extends z.ZodType>(schema: Schema): Readonly<Record<SupplementName, Schema>> {
  const each = supplementNames.map((name) => [name, schema] as const);
  // The names are those of the list, which is what Object.fromEntries cannot say.
  return Object.fromEntries(each) as Record<SupplementName, Schema>;
}

const activated = z.strictObject({
  type: z.literal('activated'),
  /** HMAC-SHA256(secret of the credential, P("assay/activated/1") P(channel) P(SHA-256(hello frame))). */
  proof: hex(32),
});

/** Evidence as it travels: its parts by digest. */
const evidence = z.strictObject({
  type: z.literal('evidence'),
  nonce: base64(32),
  /** The channel value that the agent had the TPM sign: a wrong one is told apart from a wrong nonce. */
  channel: base64(32),
  quotes: z
    .array(
      z.strictObject({
        attest: base64(2048),
        signature: base64(1024),
        /** Per bank the quoted values in ascending order of their PCR, concatenated. */
        pcrs: z.partialRecord(z.enum(pcrBanks), base64(24 * 64)),
      }),
    )
    .min(1)
    .max(limits.quotes),
  /** The exact JSON text whose SHA-256 the quote signs. */
  facts: z.string().max(limits.facts),
  /** SHA-256 of each part that the machine has; the bytes come in frames of their own before this message. */
  parts: z.partialRecord(z.enum(partNames), z.strictObject({ digest: hex(32) })),
  /** The supplements that were asked for; one is left out if the node does not find it. */
  supplements: z.partialRecord(z.enum(supplementNames), saidSupplement).optional(),
  /** The bytes of a key request, which the quote signs (key-request.ts): only of a role that gets key releases. */
  keyRequest: base64(256).optional(),
});

const changed = z.strictObject({ type: z.literal('changed'), what: z.string().max(64) });

/** The authorities that the agent trusts from now on, after an announcement. */
const trusts = z.strictObject({ type: z.literal('trusts'), authorities: trustedAuthorities });

/**
 * `evidence_raced`: the agent could not get a quote that holds still. `facts_unavailable`: it could not make an answer.
 * Both are no evidence. `audit_rollback`: the audit log that the server shows is not the one that the agent saw before.
 */
const reportedCodes = [
  'evidence_raced',
  'facts_unavailable',
  'audit_rollback',
] as const satisfies ReasonCode[];

/** Errors that an agent may report once it has proven itself. */
const failure = z.strictObject({ type: z.literal('error'), code: z.enum(reportedCodes) });

export const fromAgent = z.discriminatedUnion('type', [
  hello,
  activated,
  evidence,
  changed,
  trusts,
  failure,
  openedByItself,
  unlocked,
  formatted,
]);
export type AgentMessage = z.infer<typeof fromAgent>;
export type Hello = z.infer<typeof hello>;
/**
 * The members of a hello that stay with its connection; keys are long, and looked at once. Of `speaks`, the words that this
 * version knows.
 */
export interface Introduction
  extends Omit<Hello, 'ek' | 'ak' | 'joinToken' | 'clusterToken' | 'checkpoint' | 'speaks'> {
  readonly speaks: readonly SpokenWord[];
}
export type Activated = z.infer<typeof activated>;
export type EvidenceMessage = z.infer<typeof evidence>;
export type ChangedMessage = z.infer<typeof changed>;
export type TrustsMessage = z.infer<typeof trusts>;

const activate = z.strictObject({
  type: z.literal('activate'),
  /** TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET, each with its size field. */
  credential: base64(512),
  secret: base64(1024),
});

const challenge = z.strictObject({
  type: z.literal('challenge'),
  nonce: base64(32),
  selection,
  purpose: z.enum(['attest', 'enrol', 'unlock']),
  /** SHA-256 digests of parts that the server holds: such a part is not sent again. */
  holds: z.array(hex(32)).max(limits.holds),
  /** The parts that this server takes; the agent answers with these, by digest. */
  parts: z.array(z.string().regex(/^[A-Za-z0-9]{1,32}$/)).max(32),
  /**
   * Files that a loader measured, by digests of any bank, in the form of 0.3.0: the agent sends those that it finds in frames
   * of their own. Only to agents that speak `files`, and not `supplements`.
   */
  files: z.array(measuredDigest).min(1).max(limits.loaderFiles.count).optional(),
  /** The paths of the policy that the part `disk` shall show; only to agents that speak `paths`. */
  paths: z.array(protectedPath).min(1).max(limits.paths).optional(),
  /** The part `firewall` may have its member `local`, which servers of 0.3.0 refuse; only to agents that speak `local`. */
  local: z.literal(true).optional(),
  /**
   * The piece of each supplement that is to come, `ima` in place of the part; only to agents that speak `supplements`. A later
   * server may have more of them, of another form: they are ignored.
   */
  supplements: z.object(ofEach(askedSupplement.optional())).optional(),
  /** Milliseconds in which the answer must arrive. */
  within: z.int().min(1),
});

/** A reason code as an agent takes it: a server of later may have more of them. */
const codeOfServer = z.string().regex(/^[a-z0-9_]{1,64}$/, 'not a reason code');

/** Why the server closes the connection. */
const refusal = z.strictObject({
  type: z.literal('error'),
  code: codeOfServer,
  /** Only to a gate whose node nobody vouches for yet: whether it is to wait for that. */
  gate: gateOrder.optional(),
});

/** The verdict as far as the agent may know it: its state and the codes, never an expected value. */
const verdict = z.strictObject({
  type: z.literal('verdict'),
  state: z.enum(nodeStates),
  codes: z.array(codeOfServer).max(64),
  /** The latest checkpoint of the audit log, and the keys that sign it, for the agent to keep (checkpoint.ts). */
  checkpoint: z.string().max(checkpointLength).optional(),
  auditKeys: auditKeys.optional(),
  /** All authorities of the server, while one follows another; the agent answers with `trusts`. */
  authorities: announcedAuthorities.optional(),
  /** Only to a gate. */
  gate: gateOrder.optional(),
  /**
   * Only to an answer with a key request, and why it gets no key. Without it the key is in the binary frame that follows
   * (key-release.ts).
   */
  keyRefusal: codeOfServer.optional(),
});

export const fromServer = z.discriminatedUnion('type', [activate, challenge, verdict, refusal, kept]);
export type Activate = z.infer<typeof activate>;
export type Challenge = z.infer<typeof challenge>;
export type AskedSupplement = z.infer<typeof askedSupplement>;
export type SentSupplement = z.infer<typeof saidSupplement>;
export type VerdictMessage = z.infer<typeof verdict>;
export type ErrorMessage = z.infer<typeof failure>;
export type RefusalMessage = z.infer<typeof refusal>;
export type ServerMessage = z.infer<typeof fromServer>;

/** @throws Rejection `too_large`, `malformed` (naming the field) */
export const parseAgentMessage = (text: string): AgentMessage => parseWith(fromAgent, text);
/** @throws Rejection `too_large`, `malformed` (naming the field) */
export const parseServerMessage = (text: string): ServerMessage => parseWith(fromServer, text);

function parseWith<T>(schema: z.ZodType<T>, text: string): T {
  if (text.length > limits.textFrame)
    throw new Rejection('too_large', `a message of ${text.length} characters`);
  // Attack: a hello of brackets and commas alone, which costs twenty times a handshake to parse.
  if (text.length > limits.values && mayHoldMore(text, limits.values))
    throw new Rejection('too_large', `a message of more than ${limits.values} values`);
  const value = jsonOf(text, 'message');
  const result = schema.safeParse(value, inOurWords);
  if (result.success) return result.data;
  // A hello of another time may look different in any field; which version it is comes first.
  const range = announced.safeParse(value).data?.versions.protocol;
  if (range !== undefined) checkVersions(range);
  const { field, text: fault } = shapeFault(result.error, schema, 'message');
  throw new Rejection('malformed', `message field ${field}: ${fault}`, { field });
}

/** Whether JSON may hold more values: counts what begins one, also within strings, where texts of ours have little of it. */
export function mayHoldMore(text: string, most: number): boolean {
  let count = 0;
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    if ((unit === 0x2c || unit === 0x5b || unit === 0x7b) && ++count > most) return true;
  }
  return false;
}

const announced = z.object({
  type: z.literal('hello'),
  versions: z.object({ protocol: z.tuple([z.int(), z.int()]) }),
});

/** @throws Rejection `malformed` (field `versions.protocol`) if the agent does not speak this protocol */
export function checkVersions([oldest, newest]: readonly [number, number]): void {
  if (oldest <= protocolVersion && newest >= protocolVersion) return;
  const [who, than] = newest < protocolVersion ? ['agent', 'older'] : ['server', 'newer'];
  throw new Rejection(
    'malformed',
    `the agent speaks protocol ${oldest} to ${newest}, ${than} than ${protocolVersion}: update the ${who}`,
    { field: 'versions.protocol' },
  );
}

/**
 * Kinds of binary frame: one byte, then the payload; 2 was of 0.1.0. A `part` is any part of evidence, named by its SHA-256 alone; a
 * `file` is one that a challenge of 0.3.0 asks for; a `supplement` is the next piece of one, behind its name and the length of that,
 * one byte. A `header` is that of a volume that is being formatted, behind the 16 bytes of its lease. Tokens follow the hello that announces them.
 */
export const binaryKinds = {
  joinToken: 0x01,
  part: 0x03,
  file: 0x04,
  clusterToken: 0x05,
  supplement: 0x06,
  header: 0x07,
} as const;
export type BinaryKind = keyof typeof binaryKinds;

export function binaryFrame(kind: BinaryKind, payload: Uint8Array): Buffer {
  return Buffer.concat([Buffer.of(binaryKinds[kind]), payload]);
}

/** @throws Rejection `malformed`, `too_large` */
export function parseBinaryFrame(frame: Buffer): { kind: BinaryKind; payload: Buffer } {
  if (frame.length > limits.binaryFrame)
    throw new Rejection('too_large', `a binary frame of ${frame.length} bytes`);
  const kind = (Object.keys(binaryKinds) as BinaryKind[]).find((name) => binaryKinds[name] === frame[0]);
  if (kind === undefined)
    throw new Rejection('malformed', 'unknown kind of binary frame', { field: 'kind', offset: 0 });
  return { kind, payload: frame.subarray(1) };
}

/** @param leaseId 16 bytes, hex. @param header the volume from its begin up to its data */
export function headerFrame(leaseId: string, header: Uint8Array): Buffer {
  return Buffer.concat([Buffer.of(binaryKinds.header), Buffer.from(leaseId, 'hex'), header]);
}

/** Gives views. @param payload of a frame of this kind. @throws Rejection `malformed`, `too_large` */
export function parseHeaderFrame(payload: Buffer): { leaseId: string; header: Buffer } {
  if (payload.length <= 16) throw new Rejection('malformed', 'a header without bytes', { field: 'header' });
  if (payload.length - 16 > limits.luksHeader)
    throw new Rejection('too_large', `a header of ${payload.length - 16} bytes`, { field: 'header' });
  return { leaseId: payload.toString('hex', 0, 16), header: payload.subarray(16) };
}

export function supplementFrame(name: SupplementName, piece: Uint8Array): Buffer {
  return Buffer.concat([Buffer.of(binaryKinds.supplement, name.length), Buffer.from(name), piece]);
}

/** @param payload of a frame of this kind. @throws Rejection `malformed` */
export function parseSupplementFrame(payload: Buffer): { name: SupplementName; piece: Buffer } {
  const end = 1 + (payload[0] ?? 0);
  const said = payload.toString('latin1', 1, end);
  const name = supplementNames.find((known) => known === said);
  if (name === undefined)
    throw new Rejection('malformed', 'a piece of an unknown supplement', { field: 'supplement', offset: 1 });
  return { name, piece: payload.subarray(end) };
}
