import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { zstdCompressSync } from 'node:zlib';
import { DigestList } from '../../attest-server/formats/digest-list.ts';
import { keepsContent } from '../../attest-server/formats/initrd-kinds.ts';
import type { InitrdManifest } from '../../attest-server/formats/initrd-manifest.ts';
import { linkDigest } from '../../attest-server/formats/link-digest.ts';
import type { ListedFile } from '../../attest-server/formats/packed-list.ts';
import { readInitrd } from '../attest-server/verify/initrd/read-initrd.ts';
import { debianInitrd } from './debian-initrd.ts';
import { listOfPackages } from './package-list.ts';

/** Records what an initrd of Debian's holds, and of its packages' files those that are in it: run as root. */
await using made = await debianInitrd('initramfs-tools', 'MODULES=list\\n');
const manifest = await readInitrd(made.image, { keepsContent });
const list = await listOfPackages(made.packages);
const folder = join(import.meta.dirname, '../../swtpm-fixtures/recorded-initrds/debian13');
await mkdir(folder, { recursive: true });
await writeFile(join(folder, 'manifest.json.zst'), zstdCompressSync(JSON.stringify(manifest)));
await writeFile(join(folder, 'packages.list'), DigestList.of(inManifest(list, manifest)).toBytes());

function* inManifest(all: DigestList, { entries }: InitrdManifest): Generator<ListedFile> {
  const held = new Set(
    entries.map(({ sha256, target }) => sha256 ?? linkDigest(target ?? '').toString('hex')),
  );
  for (const file of all.files()) if (held.has(file.digest.toString('hex'))) yield file;
}
