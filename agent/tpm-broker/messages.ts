import { banks, type PcrValues } from 'node-tpm2/pcrs';
import { ToolError, toolErrorCodes } from 'node-tpm2/run';
import { z } from 'zod';
import type { FrameBounds } from './frames.ts';

/** The bounds of a request: the longest is an activation of 132 and 1024 bytes in Base64. */
export const requestBounds: FrameBounds = { json: 4096 };
/** The bounds of an answer: certificates of an endorsement key with its chain are the longest. */
export const answerBounds: FrameBounds = { json: 131_072, secret: 64 };

/** Base64 of `least` to `most` bytes. */
function bytes(least: number, most: number) {
  return z
    .string()
    .max(4 * Math.ceil(most / 3))
    .regex(/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/)
    .transform((text) => Buffer.from(text, 'base64'))
    .refine(({ length }) => length >= least && length <= most, `not ${least} to ${most} bytes`);
}

const pcrNumbers = z.array(z.int().min(0).max(23)).min(1).max(24).optional();
const selection = z
  .strictObject({ sha1: pcrNumbers, sha256: pcrNumbers, sha384: pcrNumbers, sha512: pcrNumbers })
  .refine((chosen) => banks.some((bank) => chosen[bank] !== undefined), 'selects no PCR');

/** The five verbs. No request names a key, a handle or a template: the keys are those of the fixed templates. */
const request = z.discriminatedUnion('verb', [
  z.strictObject({ verb: z.literal('quote'), qualifyingData: bytes(32, 64), selection }),
  z.strictObject({ verb: z.literal('readPCRs'), selection }),
  z.strictObject({ verb: z.literal('readPublic') }),
  z.strictObject({ verb: z.literal('readCertificates') }),
  // TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET, with their size fields.
  z.strictObject({ verb: z.literal('activate'), credential: bytes(3, 132), secret: bytes(3, 1024) }),
]);

/** A request as it is sent. */
export type Request = z.input<typeof request>;
/** A request as it was checked. */
export type CheckedRequest = z.output<typeof request>;

const toolName = 'tpm-broker';

/** @throws ToolError `bad_input`, which repeats nothing of the request */
export function parseRequest(payload: Buffer): CheckedRequest {
  const parsed = request.safeParse(jsonOf(payload));
  if (parsed.success) return parsed.data;
  const { path, code } = parsed.error.issues[0] ?? { path: [], code: 'custom' };
  const [field] = path;
  const where = typeof field === 'string' && fields.has(field) ? field : 'request';
  throw new ToolError(`${where}: the TPM broker does not take this (${code})`, {
    code: 'bad_input',
    tool: toolName,
  });
}

const fields: ReadonlySet<string> = new Set(['verb', 'qualifyingData', 'selection', 'credential', 'secret']);

function jsonOf(payload: Buffer): unknown {
  try {
    return JSON.parse(payload.toString('utf8'));
  } catch {
    return undefined;
  }
}

const values = z.strictObject({
  sha1: bytes(20, 24 * 20).optional(),
  sha256: bytes(32, 24 * 32).optional(),
  sha384: bytes(48, 24 * 48).optional(),
  sha512: bytes(64, 24 * 64).optional(),
});
const keyBytes = bytes(1, 2048);
const certificate = bytes(1, 8192);

/** The answer to each verb in JSON. That of `activate` is a frame of its own kind. */
export const answers = {
  quote: z.strictObject({ attest: bytes(1, 2048), signature: bytes(1, 2048), pcrs: values }),
  readPCRs: z.strictObject({ pcrs: values }),
  readPublic: z.strictObject({
    ek: z.strictObject({ publicArea: keyBytes }),
    ak: z.strictObject({ publicArea: keyBytes, name: z.string().regex(/^[0-9a-f]{4,140}$/) }),
    banks: z.array(z.enum(banks)).max(banks.length),
  }),
  readCertificates: z.strictObject({
    certificate: certificate.nullable(),
    chain: z.array(certificate).max(8),
  }),
} as const;
export type Answers = { readonly [verb in keyof typeof answers]: z.input<(typeof answers)[verb]> };

const fault = z.strictObject({
  error: z.strictObject({
    code: z.enum(toolErrorCodes),
    tool: z.string().max(64),
    retryable: z.boolean(),
    text: z.string().max(1024),
  }),
});

/** The caller gets the same failure as from its own TPM. */
export function faultAnswer({ code, tool, retryable, message }: ToolError): z.input<typeof fault> {
  return { error: { code, tool: tool.slice(0, 64), retryable, text: message.slice(0, 1024) } };
}

/** @throws ToolError as the broker gave it */
export function checkNoFault(value: unknown): void {
  const parsed = fault.safeParse(value);
  if (!parsed.success) return;
  const { code, tool, retryable, text } = parsed.data.error;
  throw new ToolError(text, { code, tool, retryable });
}

/** No place is free. Only the broker says it, so the caller knows it from a fault of the TPM. */
export function busyFault(): ToolError {
  return new ToolError('too many programs ask the TPM broker at once', {
    code: 'lock_failed',
    tool: toolName,
    retryable: true,
  });
}

export function isBusy(error: unknown): boolean {
  return error instanceof ToolError && error.code === 'lock_failed' && error.tool === toolName;
}

export function encodeValues(pcrs: PcrValues): z.input<typeof values> {
  const encoded: z.input<typeof values> = {};
  for (const bank of banks) {
    const given = pcrs[bank];
    if (given !== undefined) encoded[bank] = given.toString('base64');
  }
  return encoded;
}

export function decodeValues(given: z.output<typeof values>): PcrValues {
  const pcrs: PcrValues = {};
  for (const bank of banks) {
    const bytes = given[bank];
    if (bytes !== undefined) pcrs[bank] = bytes;
  }
  return pcrs;
}
