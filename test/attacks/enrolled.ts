import { createPrivateKey, createPublicKey } from 'node:crypto';
import { z } from 'zod';
import { forgedTpm } from '../attest-server/forged-tpm.ts';
import { replayedValues } from '../attest-server/policy/made-proof.ts';
import { types } from '../attest-server/verify/boot/made-boot.ts';
import { ekTemplate, madeArea, type SoftwareKey } from '../attest-server/verify/software-key.ts';
import { event, header } from '../attest-server/verify/tpm/log-builder.ts';
import type { Machine } from '../bench/population.ts';

/** The keys of an enrolled node, as its owner takes them to another program. PEM. */
export const enrolledKeys = z.strictObject({ name: z.string(), ak: z.string(), ek: z.string() });

export function keysOf({ name, tpm }: Machine): z.infer<typeof enrolledKeys> {
  const pem = ({ privateKey }: SoftwareKey) => privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  return { name, ak: pem(tpm.ak), ek: pem(tpm.ek) };
}

export function machineOf({ name, ak, ek }: z.infer<typeof enrolledKeys>): Machine {
  const key = (pem: string, template = {}): SoftwareKey => {
    const privateKey = createPrivateKey(pem);
    const publicKey = createPublicKey(privateKey);
    return { kind: 'p256', privateKey, publicKey, publicArea: madeArea('p256', publicKey, template) };
  };
  return { name, tpm: forgedTpm(key(ak), key(ek, ekTemplate)) };
}

/**
 * A log of so many images that the firmware started, and the PCRs that it replays to: whoever is root extends PCR 4 as he
 * likes, and says that it was the firmware.
 * @param seed tells one log from another
 */
export function logOfImages(count: number, seed: string): { readonly log: Buffer; readonly sha256: Buffer } {
  const images = Array.from({ length: count }, (_, index) =>
    event(4, types.application, image(`${seed}-${index}`), ['sha256']),
  );
  const separators = [0, 1, 2, 3, 4, 5, 6, 7].map((pcr) =>
    event(pcr, types.separator, Buffer.alloc(4), ['sha256']),
  );
  const log = Buffer.concat([header(['sha256']), ...separators, ...images]);
  return { log, sha256: replayedValues(log, 'sha256') };
}

/** UEFI_IMAGE_LOAD_EVENT with the path of a file. PC Client PFP 1.06, section 10.2.3. */
function image(name: string): Buffer {
  const text = Buffer.from(`\\${name}\0`, 'utf16le');
  const path = Buffer.concat([
    Buffer.of(4, 4, (text.length + 4) & 255, 0),
    text,
    Buffer.of(0x7f, 0xff, 4, 0),
  ]);
  const head = Buffer.alloc(32);
  head.writeBigUInt64LE(BigInt(path.length), 24);
  return Buffer.concat([head, path]);
}
