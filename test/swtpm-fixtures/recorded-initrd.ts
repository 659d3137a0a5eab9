import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { zstdDecompressSync } from 'node:zlib';
import { DigestList } from '../../attest-server/formats/digest-list.ts';
import type { InitrdManifest } from '../../attest-server/formats/initrd-manifest.ts';
import type { Reference } from '../../attest-server/formats/reference.ts';
import type { ReadInitrd } from '../../attest-server/verify/read-initrd.ts';
import { type RuntimeChange, runtimeReference } from '../attest-server/policy/made-files.ts';

const folder = join(import.meta.dirname, '../../swtpm-fixtures/recorded-initrds/debian13');

/** What an initrd holds that mkinitramfs made on Debian 13 (test/vm/record-initrd.ts). */
export function recordedManifest(): InitrdManifest {
  return JSON.parse(zstdDecompressSync(readFileSync(join(folder, 'manifest.json.zst'))).toString());
}

/** As if it had been read of an image that was measured: its seal is for the compiler alone. */
export function asRead(manifest: InitrdManifest): ReadInitrd {
  return { image: manifest.image, whole: () => afterOthers(manifest) } as ReadInitrd;
}

function* afterOthers(manifest: InitrdManifest): Generator<void, InitrdManifest> {
  yield;
  return manifest;
}

/** Of the files of its packages those that are in it. */
export function recordedPackages(change: RuntimeChange = {}): Reference {
  const list = DigestList.fromBytes(readFileSync(join(folder, 'packages.list')));
  return runtimeReference(list, { name: 'debian-13', ...change });
}
