import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { ImaEntry } from '../../../../attest-server/verify/ima/proven-list.ts';

const hex = z.string().transform((text) => Buffer.from(text, 'hex'));
const measured = {
  made: z.string(),
  key: z.string(),
  kind: z.enum(['ima', 'verity']),
  algorithm: z.string(),
  digest: hex,
};
const recorded = z.object({
  keys: z.record(z.string(), z.object({ publicKey: z.string(), certificate: z.string() })),
  files: z.array(z.object({ ...measured, signature: hex })),
  appended: z.array(
    z.object({
      made: z.string(),
      key: z.string(),
      attributes: z.boolean(),
      algorithm: z.string(),
      digest: hex,
      signature: hex,
    }),
  ),
  portable: z.array(
    z.object({
      ...measured,
      evm: hex,
      attributes: z.array(z.tuple([z.string(), hex])),
      uid: z.int(),
      gid: z.int(),
      mode: z.int(),
    }),
  ),
});

/** What evmctl and openssl signed: by whom, and over which digest or metadata. */
export const signatures = recorded.parse(
  JSON.parse(
    readFileSync(
      join(import.meta.dirname, '../../../../swtpm-fixtures/recorded/ima-signatures/signatures.json'),
      'utf8',
    ),
  ),
);

/** An entry of a list, as `walk` shows it. */
export function entryOf(parts: Partial<ImaEntry>): ImaEntry {
  return {
    index: 0,
    pcr: 10,
    template: 'ima-sig',
    isViolation: false,
    algorithm: 'sha256',
    kind: 'ima',
    digest: Buffer.alloc(32),
    name: '/usr/bin/program',
    nameBytes: Buffer.from('/usr/bin/program'),
    signature: null,
    appended: null,
    evm: null,
    data: null,
    ...parts,
  };
}

/** The entry of a recorded signature of `security.ima`. */
export function signedEntry({
  kind,
  algorithm,
  digest,
  signature,
}: (typeof signatures.files)[number]): ImaEntry {
  return entryOf({ kind, algorithm, digest, signature });
}

/** The entry of a recorded portable signature. */
export function portableEntry(of: (typeof signatures.portable)[number]): ImaEntry {
  const { algorithm, digest, evm, attributes, uid, gid, mode } = of;
  return entryOf({
    template: 'evm-sig',
    algorithm,
    digest,
    evm: { signature: evm, attributes: attributes.map(([name, value]) => ({ name, value })), uid, gid, mode },
  });
}

/** The entry of a module with a recorded signature appended to it; the digest of all its bytes is another one. */
export function appendedEntry({
  algorithm,
  digest,
  signature,
}: (typeof signatures.appended)[number]): ImaEntry {
  return entryOf({ template: 'ima-modsig', appended: { signature, algorithm, digest } });
}
