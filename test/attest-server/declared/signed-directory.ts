import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { run } from 'node-tpm2/run';
import type { Reference } from '../../../attest-server/formats/reference.ts';
import { runAssay } from '../cli/cli-fixture.ts';

const bounds = { timeoutMs: 30_000, maxOutputBytes: 1 << 20 };

/** A directory as people keep it in Git, and keys of ssh-keygen to sign it with. */
export interface SignedDirectory extends AsyncDisposable {
  readonly directory: string;
  /** Path of the public key by the name of the key. */
  publicKey(key: string): string;
  write(path: string, content: string | Reference): Promise<void>;
  remove(path: string): Promise<void>;
  /** `assay declare`, and `ssh-keygen -Y sign`. */
  declare(key?: string, ...args: readonly string[]): Promise<void>;
  sign(key?: string, namespace?: string): Promise<void>;
}

export async function signedDirectory(keys: readonly string[] = ['merge']): Promise<SignedDirectory> {
  const folder = await mkdtemp(join(tmpdir(), 'assay-declared-'));
  const directory = join(folder, 'fleet');
  await mkdir(directory);
  for (const key of keys)
    await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', key, '-f', join(folder, key)], bounds);
  const at = (path: string) => join(directory, path);
  const sign: SignedDirectory['sign'] = async (key = 'merge', namespace = 'declared@assay.dev') => {
    await rm(at('manifest.sig'), { force: true });
    await run(
      'ssh-keygen',
      ['-q', '-Y', 'sign', '-n', namespace, '-f', join(folder, key), at('manifest')],
      bounds,
    );
  };
  return {
    directory,
    publicKey: (key) => join(folder, `${key}.pub`),
    async write(path, content) {
      await mkdir(dirname(at(path)), { recursive: true });
      await writeFile(at(path), typeof content === 'string' ? content : JSON.stringify(content));
    },
    remove: (path) => rm(at(path)),
    async declare(key, ...args) {
      const { code, err } = await runAssay(['declare', directory, ...args]);
      assert.equal(code, 0, err);
      await sign(key);
    },
    sign,
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}

/** Changes a file in place, as somebody without a key would. */
export async function change(path: string, from: string | RegExp, to: string): Promise<void> {
  const before = await readFile(path, 'utf8');
  const after = before.replace(from, to);
  assert.notEqual(after, before);
  await writeFile(path, after);
}
