import { readFile } from 'node:fs/promises';
import { parseSigners, type Signer } from '../verify/declared/signers.ts';

/** Keys of the settings, in their order. @throws Error naming an invalid one */
export async function readSigners(keys: readonly string[]): Promise<readonly Signer[]> {
  const signers: Signer[] = [];
  for (const key of keys) {
    const isFile = isKeyFile(key);
    try {
      const found = parseSigners(isFile ? await readFile(key, 'utf8') : key);
      if (found.length === 0) throw new Error('there is no key in it');
      signers.push(...found);
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      const what = isFile ? key : `${key.slice(0, 24)}…`;
      throw new Error(`declared.keys: ${what} is no public key of SSH or minisign: ${why}`, { cause });
    }
  }
  return signers;
}

/** Whether an entry of the settings names a file, and is not the key itself. */
export function isKeyFile(key: string): boolean {
  return !/^(ssh-|ecdsa-|sk-)\S+\s|^RW[A-Za-z0-9+/]{54}(\s|$)/.test(key);
}
