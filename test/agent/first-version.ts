import { z } from 'zod';

/** What a server of 0.1.0 takes of an agent's hello and evidence: its own schemas, but for the contents of texts. */
const hello = z.strictObject({
  type: z.literal('hello'),
  versions: z.strictObject({ protocol: z.tuple([z.int(), z.int()]), program: z.string().max(32) }),
  role: z.enum(['agent', 'unlock']),
  node: z.string(),
  banks: z.array(z.enum(['sha1', 'sha256', 'sha384', 'sha512'])).max(4),
  ek: z
    .strictObject({
      publicArea: z.base64(),
      certificate: z.base64().nullable(),
      chain: z.array(z.base64()).max(8),
    })
    .nullable(),
  ak: z.strictObject({ publicArea: z.base64(), name: z.string() }).nullable(),
  joinToken: z.boolean(),
  checkpoint: z.string().optional(),
  authorities: z.array(z.string()).optional(),
});

const evidence = z.strictObject({
  type: z.literal('evidence'),
  nonce: z.base64(),
  channel: z.base64(),
  quotes: z
    .array(
      z.strictObject({
        attest: z.base64(),
        signature: z.base64(),
        pcrs: z.record(z.string(), z.base64()),
      }),
    )
    .min(1)
    .max(4),
  facts: z.string().max(64 * 1024),
  bootLog: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .nullable(),
  userspaceLog: z.base64().optional(),
});

const activated = z.strictObject({ type: z.literal('activated'), proof: z.string() });

/** Whether a server of 0.1.0 takes this message. */
export function isOfFirstVersion(text: string): boolean {
  return z.discriminatedUnion('type', [hello, evidence, activated]).safeParse(JSON.parse(text)).success;
}
