import { z } from 'zod';
import { partNames } from './evidence.ts';
import { limits } from './limits.ts';
import { nodeName } from './messages.ts';
import { parseJson } from './parse-json.ts';
import { Rejection } from './rejection.ts';

/** On one line. */
const cause = z.string().regex(/^[\x20-\x7e]{0,256}$/);
const word = z.string().regex(/^[\x21-\x7e]{1,64}$/);
const port = z.int().min(1).max(65_535);
/** `0.0.0.0:22`, `[::]:22` */
const socket = z.string().regex(/^[0-9a-f.:[\]]{3,64}$/);

/** The node's own claims. The quote signs the exact bytes, which proves who said it, not that it is true. */
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
      /** kernel.kexec_load_disabled; absent if the kernel cannot load another one. */
      kexecLoadDisabled: z.boolean(),
      lockdown: z.enum(['none', 'integrity', 'confidentiality']),
      /** btime of /proc/stat: when its kernel started by its own clock, in seconds since the epoch. */
      bootTime: z.int().min(0).max(0xffff_ffff),
      /** SMBIOS, lower case. */
      systemUuid: z.string().regex(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/),
      /** /proc/sys/kernel/tainted: a bit for each thing that the kernel has gone through. */
      tainted: z.int().min(0),
      /** TCP ports on which something listens in the host's network, loopback too; ascending. */
      listening: z.array(port).max(limits.listening),
      ssh: z.object({
        /** Where its configuration has SSH listen, besides 22, and which file says so. */
        ports: z.array(z.object({ port, source: cause })).max(32),
        /** Sockets that listen on 22 or on one of these ports. */
        sockets: z.array(socket).max(32),
        /** Daemons that run in the host's network; `sockets` null if it may not be seen which are theirs. */
        daemons: z.array(z.object({ name: word, sockets: z.array(socket).max(16).nullable() })).max(16),
      }),
      /** By name, as far as the kernel has them: see sysctls.ts. */
      sysctls: z
        .record(z.string().regex(/^[a-z0-9_.]{1,64}$/), z.string().regex(/^-?[0-9]{1,20}$/))
        .refine((given) => Object.keys(given).length <= 128, 'too many sysctls'),
      /** Whether the clock is set by others, and by what; null if no file says whether it is. */
      timeSync: z.object({ by: word, synchronized: z.boolean().nullable() }),
      /** The package manager asks for a reboot. */
      rebootRequired: z.boolean(),
      /** The newest kernel below /boot, as it calls itself. */
      newestKernel: z.string().regex(/^[\x21-\x7e]{1,128}$/),
      /** Packages that the package manager knows newer ones of. */
      updates: z.object({ all: z.int().min(0), security: z.int().min(0).nullable() }),
      /** Container runtimes that are installed as packages. */
      runtimes: z.array(z.object({ name: word, version: word })).max(8),
      /** Why one of these is missing or not complete, by its name. */
      unread: z
        .record(z.string().regex(/^[A-Za-z0-9]{1,32}$/), cause)
        .refine((given) => Object.keys(given).length <= 32, 'too many causes'),
    })
    .partial()
    .optional(),
  /** SHA-256 of each part that does not grow, but for `boot`, which stands in the binding. */
  parts: z.partialRecord(z.enum(partNames), z.string().regex(/^[0-9a-f]{64}$/)).optional(),
  /** Which collectors failed or were late, and why: by their part's name, or `host`. */
  unavailable: z.record(z.string().regex(/^[A-Za-z0-9]{1,32}$/), cause).optional(),
});
export type Facts = z.infer<typeof facts>;
/** The node's claims about its machine and kernel. */
export type HostFacts = NonNullable<Facts['host']>;

/** @throws Rejection `too_large`, `malformed` */
export function parseFacts(text: string): Facts {
  if (text.length > limits.facts) throw new Rejection('too_large', `facts of ${text.length} characters`);
  return parseJson(text, facts, 'facts', 'facts');
}
