import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, it } from 'mocha';
import type { InitrdEntry } from '../../../../attest-server/formats/initrd-manifest.ts';
import { newc } from '../../../../swtpm-fixtures/newc.ts';
import { faultsOf, made, readInitrd } from './read-initrd.ts';

const recorded = join(import.meta.dirname, '../../../../swtpm-fixtures/recorded-initrds');
const names = globSync(join(recorded, '*.img')).map((path) => basename(path, '.img'));

/** Images of which nothing is known; the kernel made something of them all the same. */
const faulty: Readonly<Record<string, readonly string[]>> = {
  bootconfig: ['trailing'],
  badSum: ['malformed'],
};

/** As an image behind another one. */
const read = (name: string) =>
  readInitrd(Buffer.concat([newc([]), readFileSync(join(recorded, `${name}.img`))]));

describe('recorded images, and what a kernel made of them', () => {
  it('are there', () => {
    assert.ok(names.length >= 7, names.join());
  });

  for (const name of names)
    it(`${name} is told as the kernel made it, or has a fault (rows 181, 182)`, async () => {
      const manifest = await read(name);
      const kernel = readFileSync(join(recorded, `${name}.txt`), 'utf8')
        .split('\n')
        .filter(Boolean);
      assert.deepEqual(faultsOf(manifest), faulty[name] ?? []);
      const ours = [...made(manifest).values()].filter(({ path }) => !ofKernel.has(path)).map(line);
      assert.deepEqual(ours.sort(), kernel.sort());
    });
});

const ofKernel: ReadonlySet<string> = new Set(['.', 'dev', 'root', 'dev/console']);

/** An entry as the kernel's tree was written down. */
function line({ path, mode, uid = 0, gid = 0, bytes, sha256, target, device = [0, 0] }: InitrdEntry): string {
  if (target !== undefined) return `L /${path} ${target}`;
  const attributes = `/${path} ${(mode & 0o7777).toString(8)} ${uid} ${gid}`;
  if ((mode & 0o170000) === 0o040000) return `D ${attributes}`;
  if (sha256 !== undefined) return `F ${attributes} ${bytes} ${sha256}`;
  return `N ${attributes} ${device.map((number) => number.toString(16)).join(' ')}`;
}
