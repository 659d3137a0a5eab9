import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Credential, type EndorsementKey, run, type Tpm } from 'node-tpm2';
import type { SoftwareTpm } from '../../../swtpm-fixtures/tpm.ts';

/** Runs a tool on this TPM beside the package; gives what it printed. */
export async function runTool(
  software: SoftwareTpm,
  program: string,
  args: readonly string[],
): Promise<Buffer> {
  const env = { TPM2TOOLS_TCTI: software.tcti };
  const { stdout } = await run(program, args, { timeoutMs: 20_000, maxOutputBytes: 65_536, env });
  return stdout;
}

/** What a credential is made for, and where its files may lie. */
export interface Activation {
  readonly software: SoftwareTpm;
  readonly tpm: Tpm;
  readonly ek: EndorsementKey;
  readonly folder: string;
}

/** A credential as tpm2_makecredential, an independent implementation, makes it. */
export async function makeCredential(
  { software, tpm, ek, folder }: Activation,
  secret: Buffer,
): Promise<Credential> {
  const file = (name: string) => join(folder, name);
  const size = Buffer.alloc(2);
  size.writeUInt16BE(ek.publicArea.length);
  await writeFile(file('ek.pub'), Buffer.concat([size, ek.publicArea]));
  await writeFile(file('secret'), secret);
  const { name } = await tpm.createAttestationKey();
  const files = ['-u', file('ek.pub'), '-s', file('secret'), '-o', file('credential')];
  await runTool(software, 'tpm2_makecredential', ['-T', 'none', '-n', name, ...files]);
  const blob = await readFile(file('credential'));
  const split = 8 + 2 + blob.readUInt16BE(8);
  return { credential: blob.subarray(8, split), secret: blob.subarray(split) };
}

export async function checkActivation(activation: Activation): Promise<void> {
  const secret = createHash('sha256').update('a secret').digest();
  const credential = await makeCredential(activation, secret);
  assert.deepEqual(await activation.tpm.activateCredential(credential), secret);
}
