import { z } from 'zod';
import { pcrBanks } from './messages.ts';
import { Rejection } from './rejection.ts';
import { tpmClasses } from './tpm-class.ts';

const base64 = z.base64();
const hexBytes = z.string().regex(/^([0-9a-f]{2})*$/);

/** One piece of evidence with what is needed to judge it again, as one JSON file: what `assay bundle` exports. */
const bundle = z.strictObject({
  version: z.literal(1),
  /** TPMT_PUBLIC or TPM2B_PUBLIC */
  attestationKey: base64,
  /** The bytes that the quotes carry: evidence of other origin. */
  qualifyingData: hexBytes.optional(),
  /** What our quotes sign; facts and bootLog are SHA-256 digests, or "". */
  binding: z
    .strictObject({
      nonce: hexBytes,
      channel: hexBytes,
      facts: hexBytes,
      bootLog: hexBytes,
      keyRequest: hexBytes,
    })
    .optional(),
  quotes: z
    .array(
      z.strictObject({
        attest: base64,
        signature: base64,
        pcrs: z.partialRecord(z.enum(pcrBanks), z.record(z.string(), hexBytes)),
      }),
    )
    .min(1)
    .max(16),
  bootLog: base64.optional(),
  imaLog: base64.optional(),
  userspaceLog: base64.optional(),
  facts: z.string().optional(),
  endorsement: z
    .strictObject({
      certificate: base64.nullable().optional(),
      chain: z.array(base64).optional(),
      publicArea: base64.optional(),
    })
    .optional(),
  previous: z
    .strictObject({
      resetCount: z.number(),
      restartCount: z.number(),
      clock: z.union([z.number(), z.string()]),
      /** As they were seen before; what is left out is not compared. */
      firmwareVersion: z.string().nullable().optional(),
      bootId: z.string().nullable().optional(),
      firstBootId: z.string().nullable().optional(),
      rewind: z.enum(['none', 'seen', 'passed']).optional(),
      held: z.enum(['counter_rollback', 'clone_suspected', 'tpm_firmware']).nullable().optional(),
    })
    .optional(),
  /** What the server's verdict was made from; written on export. */
  context: z
    .strictObject({
      at: z.iso.datetime(),
      node: z.string().optional(),
      /** Whether the node had sent a boot log before this evidence. */
      sentBootLog: z.boolean().optional(),
      /** What the TPM is, by the word of a root of the exporter. */
      tpmClass: z.enum(tpmClasses).optional(),
      /** Of the node in its cluster, by which the policy's groups choose. */
      labels: z.record(z.string().max(317), z.string().max(63)).optional(),
      policy: z.string().optional(),
      references: z.array(z.unknown()).optional(),
      roots: z.array(z.string()).optional(),
    })
    .optional(),
});
export type Bundle = z.infer<typeof bundle>;

/** @throws Rejection `malformed` (naming the field) */
export function parseBundle(text: string): Bundle {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new Rejection('malformed', 'the bundle is not JSON', { cause });
  }
  const result = bundle.safeParse(value);
  if (!result.success) {
    const field = result.error.issues[0]?.path.join('.') || 'bundle';
    throw new Rejection('malformed', `bundle field ${field}: ${result.error.issues[0]?.message}`, { field });
  }
  if ((result.data.binding === undefined) === (result.data.qualifyingData === undefined)) {
    throw new Rejection('malformed', 'a bundle carries either binding or qualifyingData', {
      field: 'binding',
    });
  }
  return result.data;
}
