import { z } from 'zod';
import { partNames } from './evidence.ts';
import { limits } from './limits.ts';
import { nodeName } from './messages.ts';
import { parseJson } from './parse-json.ts';
import { Rejection } from './rejection.ts';

/** What the node says of itself. The quote signs the exact bytes, which proves who said it, not that it is true. */
export const facts = z.object({
  purpose: z.enum(['attest', 'enrol', 'unlock']),
  node: nodeName,
  /** /proc/sys/kernel/random/boot_id */
  bootId: z.string().regex(/^[0-9a-f-]{36}$/),
  /** SHA-256 of the hello frame of this connection, hex. */
  helloDigest: z.string().regex(/^[0-9a-f]{64}$/),
  host: z
    .object({
      kernel: z.string().max(128),
      os: z.string().max(128),
      arch: z.string().max(32),
      manufacturer: z.string().max(64),
      /** /proc/cmdline without its line feed; believed where the TPM holds its digest. */
      commandLine: z.string().max(4096),
      /** kernel.kexec_load_disabled; absent where the kernel cannot load another one. */
      kexecLoadDisabled: z.boolean(),
      lockdown: z.enum(['none', 'integrity', 'confidentiality']),
      /** btime of /proc/stat: when its kernel started by its own clock, in seconds since the epoch. */
      bootTime: z.int().min(0).max(0xffff_ffff),
      /** SMBIOS, lower case. */
      systemUuid: z.string().regex(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/),
    })
    .partial()
    .optional(),
  /** SHA-256 of each part that does not grow, but for `boot`, which stands in the binding. */
  parts: z.partialRecord(z.enum(partNames), z.string().regex(/^[0-9a-f]{64}$/)).optional(),
  /** Which collectors failed or were late, and why: by their part's name, or `host`. */
  unavailable: z
    .record(z.string().regex(/^[A-Za-z0-9]{1,32}$/), z.string().regex(/^[\x20-\x7e]{0,256}$/))
    .optional(),
});
export type Facts = z.infer<typeof facts>;
/** What the node says of its machine and kernel. */
export type HostFacts = NonNullable<Facts['host']>;

/** @throws Rejection `too_large`, `malformed` */
export function parseFacts(text: string): Facts {
  if (text.length > limits.facts) throw new Rejection('too_large', `facts of ${text.length} characters`);
  return parseJson(text, facts, 'facts', 'facts');
}
