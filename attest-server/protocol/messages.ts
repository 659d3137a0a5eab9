import { z } from 'zod';
import { auditKeys } from './audit-key.ts';
import { announcedAuthorities, trustedAuthorities } from './authority.ts';
import { checkpointLength } from './checkpoint.ts';
import { limits } from './limits.ts';
import { isReasonCode, type ReasonCode } from './reasons.ts';
import { Rejection } from './rejection.ts';
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

const hello = z.strictObject({
  type: z.literal('hello'),
  versions: z.strictObject({
    protocol: z.tuple([z.int().min(1), z.int().min(1)]),
    program: z
      .string()
      .max(32)
      .regex(/^[0-9A-Za-z.+-]+$/),
  }),
  role: z.enum(['agent', 'unlock']),
  node: nodeName,
  /** PCR banks that the TPM has allocated. Empty where the machine has no usable TPM. */
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
  /** The latest checkpoint of the server's audit log that this agent verified (checkpoint.ts). */
  checkpoint: z.string().max(checkpointLength).optional(),
  /** The authorities that this agent trusts for the server; without it none is announced to it. */
  authorities: trustedAuthorities.optional(),
});

const activated = z.strictObject({
  type: z.literal('activated'),
  /** HMAC-SHA256(secret of the credential, P("assay/activated/1") P(channel) P(SHA-256(hello frame))). */
  proof: hex(32),
});

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
  /** SHA-256 of the firmware log; null where the machine has none. */
  bootLog: hex(32).nullable(),
  /** What systemd measured after it (tpm2-measure.log), read after the quote; absent where the machine has no such log. */
  userspaceLog: base64(limits.userspaceLog).optional(),
});

const changed = z.strictObject({ type: z.literal('changed'), what: z.string().max(64) });

/** What the agent trusts from now on, after an announcement of authorities. */
const trusts = z.strictObject({ type: z.literal('trusts'), authorities: trustedAuthorities });

const reasonCode = z.custom<ReasonCode>(
  (word) => typeof word === 'string' && isReasonCode(word),
  'not a reason code',
);

/**
 * `evidence_raced`: the agent could not get a quote that holds still; it is no evidence. `audit_rollback`: the audit
 * log that the server shows is not the one that the agent saw before.
 */
const failure = z.strictObject({ type: z.literal('error'), code: reasonCode });

export const fromAgent = z.discriminatedUnion('type', [hello, activated, evidence, changed, trusts, failure]);
export type Hello = z.infer<typeof hello>;
/** What of a hello stays with its connection; keys are long, and looked at once. */
export type Introduction = Omit<Hello, 'ek' | 'ak' | 'joinToken' | 'checkpoint'>;
export type Activated = z.infer<typeof activated>;
export type EvidenceMessage = z.infer<typeof evidence>;
export type TrustsMessage = z.infer<typeof trusts>;
export type AgentMessage = z.infer<typeof fromAgent>;

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
  purpose: z.enum(['attest', 'enrol']),
  /** SHA-256 digests of firmware logs that the server holds: such a log is not sent again. */
  holds: z.array(hex(32)).max(4),
  /** Milliseconds in which the answer must arrive. */
  within: z.int().min(1),
});

/** What the agent may learn: its state and the codes, never an expected value. */
const verdict = z.strictObject({
  type: z.literal('verdict'),
  state: z.enum(nodeStates),
  codes: z.array(reasonCode).max(64),
  /** The latest checkpoint of the audit log, and the keys that sign it, for the agent to keep (checkpoint.ts). */
  checkpoint: z.string().max(checkpointLength).optional(),
  auditKeys: auditKeys.optional(),
  /** All authorities of the server, while one follows another; the agent answers with `trusts`. */
  authorities: announcedAuthorities.optional(),
});

export const fromServer = z.discriminatedUnion('type', [activate, challenge, verdict, failure]);
export type Activate = z.infer<typeof activate>;
export type Challenge = z.infer<typeof challenge>;
export type VerdictMessage = z.infer<typeof verdict>;
export type ErrorMessage = z.infer<typeof failure>;
export type ServerMessage = z.infer<typeof fromServer>;

/** @throws Rejection `too_large`, `malformed` (naming the field) */
export const parseAgentMessage = (text: string): AgentMessage => parseWith(fromAgent, text);
/** @throws Rejection `too_large`, `malformed` (naming the field) */
export const parseServerMessage = (text: string): ServerMessage => parseWith(fromServer, text);

function parseWith<T>(schema: z.ZodType<T>, text: string): T {
  if (text.length > limits.textFrame)
    throw new Rejection('too_large', `a message of ${text.length} characters`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new Rejection('malformed', 'the message is not JSON', { cause });
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  // A hello of another time may look different in any field; which version it is comes first.
  const range = announced.safeParse(value).data?.versions.protocol;
  if (range !== undefined) checkVersions(range);
  const field = result.error.issues[0]?.path.join('.') || 'message';
  throw new Rejection('malformed', `message field ${field}: ${result.error.issues[0]?.message}`, { field });
}

const announced = z.object({
  type: z.literal('hello'),
  versions: z.object({ protocol: z.tuple([z.int(), z.int()]) }),
});

/** @throws Rejection `malformed` (field `versions.protocol`) where the agent does not speak this protocol */
export function checkVersions([oldest, newest]: readonly [number, number]): void {
  if (oldest <= protocolVersion && newest >= protocolVersion) return;
  const [who, than] = newest < protocolVersion ? ['agent', 'older'] : ['server', 'newer'];
  throw new Rejection(
    'malformed',
    `the agent speaks protocol ${oldest} to ${newest}, ${than} than ${protocolVersion}: update the ${who}`,
    { field: 'versions.protocol' },
  );
}

/** Kinds of binary frame: one byte, then the payload. */
export const binaryKinds = { joinToken: 0x01, bootLog: 0x02 } as const;
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
