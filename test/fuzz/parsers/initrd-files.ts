import { atOnce } from '../../../attest-server/formats/in-steps.ts';
import { InitrdContents } from '../../../attest-server/policy/boot/initrd/contents.ts';
import { madeContext, madeOnHost } from '../../../attest-server/policy/boot/initrd/initrd-rules.ts';
import { parseKmodIndex } from '../../../attest-server/policy/boot/initrd/kmod-index.ts';
import { parseLibraryCache } from '../../../attest-server/policy/boot/initrd/library-cache.ts';
import { recordedManifest } from '../../swtpm-fixtures/recorded-initrd.ts';
import type { FuzzedParser } from '../fuzzed-parser.ts';
import { isBeyond, isRejection } from './refusals.ts';

const folder = 'attest-server/policy/boot/initrd';
const most = 48 * 1024;
const never = () => false;

/** What is kept of the recorded initrd, as far as it is short: path and bytes. */
function recorded(pattern: RegExp): readonly (readonly [string, Buffer])[] {
  const { entries, contents } = recordedManifest();
  return entries.flatMap(({ path, sha256 = '' }) => {
    const kept = contents[sha256];
    const bytes = kept === undefined || !pattern.test(path) ? null : Buffer.from(kept, 'base64');
    return bytes === null || bytes.length > most ? [] : [[path, bytes] as const];
  });
}

const bytesOf = (pattern: RegExp) => recorded(pattern).map(([, bytes]) => bytes);

export const kmodIndex: FuzzedParser = {
  sources: [`${folder}/kmod-index.ts`],
  form: { kind: 'big-endian' },
  most,
  seeds: () => bytesOf(/\/modules\.[a-z.]+\.bin$/),
  parse: (bytes) => [...parseKmodIndex(bytes)].length,
  isDeclared: isRejection,
  isPastHeader: isBeyond(9),
};

export const libraryCache: FuzzedParser = {
  sources: [`${folder}/library-cache.ts`],
  form: { kind: 'little-endian' },
  most,
  seeds: () => bytesOf(/ld\.so\.cache$/),
  parse: (bytes) => [...parseLibraryCache(bytes)].length,
  isDeclared: isRejection,
  isPastHeader: isBeyond(30),
};

const manifest = recordedManifest();
/** What its files speak of. */
const few = {
  ...manifest,
  entries: manifest.entries.filter(({ path }) => /^scripts\/|\.ko|\.so/.test(path)),
};

/** A line with a path, and what the file there holds. */
export const initrdFile: FuzzedParser = {
  sources: ['initrd-rules', 'modules', 'literal-lines', 'contents'].map((name) => `${folder}/${name}.ts`),
  form: {
    kind: 'text',
    words: ['install ', 'softdep ', 'pre: ', 'alias ', '/scripts/init-top/', 'PATH=', '$(', '"$@"', '../'],
  },
  most,
  seeds: () =>
    recorded(/./).map(([path, bytes]) => Buffer.concat([Buffer.from(`${path}\n`), bytes.subarray(0, 8192)])),
  parse(bytes) {
    const end = bytes.indexOf('\n');
    const path = bytes.toString('latin1', 0, Math.max(0, end));
    const file = bytes.subarray(end + 1);
    const entry = { path, mode: 0o100644, bytes: file.length, sha256: '0'.repeat(64) };
    const held = {
      ...few,
      entries: [...few.entries, entry],
      contents: { [entry.sha256]: file.toString('base64') },
    };
    return atOnce(madeOnHost(entry, madeContext(atOnce(InitrdContents.of(held)))))?.fault ?? null;
  },
  isDeclared: never,
  isPastHeader: never,
};
