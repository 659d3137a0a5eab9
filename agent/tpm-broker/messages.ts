import { banks, type PcrValues } from 'node-tpm2/pcrs';
import { ToolError, toolErrorCodes } from 'node-tpm2/run';
import { z } from 'zod';
import { brokerName, type FrameBounds } from './frames.ts';

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

/** @throws ToolError as the broker gave it */
export function checkNoFault(value: unknown): void {
  const parsed = fault.safeParse(value);
  if (!parsed.success) return;
  const { code, tool, retryable, text } = parsed.data.error;
  throw new ToolError(text, { code, tool, retryable });
}

export function isBusy(error: unknown): boolean {
  return error instanceof ToolError && error.code === 'lock_failed' && error.tool === brokerName;
}

export function decodeValues(given: z.output<typeof values>): PcrValues {
  const pcrs: PcrValues = {};
  for (const bank of banks) {
    const bytes = given[bank];
    if (bytes !== undefined) pcrs[bank] = bytes;
  }
  return pcrs;
}
