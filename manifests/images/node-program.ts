import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { type Architecture, architectures } from './recipe.ts';
import type { Tool } from './tool.ts';

export interface NodeProgram {
  readonly name: string;
  readonly version: string;
  /** As package-lock.json has it: `sha512-` and base64. */
  readonly integrity: string;
  /** Stripped of its symbols. */
  readonly program: string;
  readonly licence: string;
}

const lock = z.object({
  packages: z.record(
    z.string(),
    z.object({ version: z.string().optional(), integrity: z.string().optional() }),
  ),
});

/**
 * The Node.js that package-lock.json pins, for any architecture, checked and stripped. It is not run.
 * @throws Error where it is another one than package-lock.json says
 */
export async function fetchNode(
  tool: Tool,
  architecture: Architecture,
  { root, folder }: { readonly root: string; readonly folder: string },
): Promise<NodeProgram> {
  const { node, lib } = architectures[architecture];
  const name = `node-linux-${node}`;
  const { packages } = lock.parse(JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')));
  const { version, integrity } = packages[`node_modules/${name}`] ?? {};
  if (version === undefined || integrity === undefined)
    throw new Error(`package-lock.json does not pin ${name}`);
  const made = join(
    folder,
    `${name}-${version}-${createHash('sha256').update(integrity).digest('hex').slice(0, 12)}`,
  );
  const [program, licence] = [join(made, 'node'), join(made, 'LICENSE')];
  const result = { name, version, integrity, program, licence };
  if (existsSync(made)) return result;
  const unpacked = `${made}.part`;
  rmSync(unpacked, { recursive: true, force: true });
  mkdirSync(unpacked, { recursive: true });
  // npm asks no registry for what it has in its own cache.
  await tool('npm', [
    'pack',
    `${name}@${version}`,
    '--prefer-offline',
    '--silent',
    '--pack-destination',
    unpacked,
  ]).catch((cause: unknown) => {
    throw new Error(`${name} ${version} could not be fetched by npm`, { cause });
  });
  const archive = join(unpacked, `${name}-${version}.tgz`);
  checkIntegrity(readFileSync(archive), integrity, `${name} ${version}`);
  const wanted = ['package/bin/node', 'package/LICENSE'];
  await tool('tar', [
    '--extract',
    '--gzip',
    '--file',
    archive,
    '--directory',
    unpacked,
    '--strip-components=1',
    ...wanted,
  ]);
  await tool(`${lib}-strip`, ['--strip-all', '-o', join(unpacked, 'node'), join(unpacked, 'bin/node')]);
  rmSync(archive);
  rmSync(join(unpacked, 'bin'), { recursive: true });
  renameSync(unpacked, made);
  return result;
}

/** @throws Error where the bytes are not those that were pinned */
export function checkIntegrity(bytes: Uint8Array, integrity: string, name: string): void {
  const [, algorithm, wanted] = /^(sha512)-([A-Za-z0-9+/]+={0,2})$/.exec(integrity) ?? [];
  if (algorithm === undefined) throw new Error(`package-lock.json pins ${name} by no SHA-512: ${integrity}`);
  const found = createHash(algorithm).update(bytes).digest('base64');
  if (found !== wanted)
    throw new Error(`${name} has the digest sha512-${found}, and package-lock.json says ${integrity}`);
}
