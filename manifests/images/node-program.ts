import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { readLocked } from './package-lock.ts';
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
  const { version, integrity } = readLocked(root)[`node_modules/${name}`] ?? {};
  if (version === undefined || integrity === undefined)
    throw new Error(`package-lock.json does not pin ${name}`);
  const made = join(folder, `${name}-${version}`);
  const archive = `${made}.tgz`;
  // What an earlier build kept counts by its bytes alone: it may be cut off, or somebody else's.
  if (!existsSync(archive) || integrityOf(readFileSync(archive)) !== integrity) {
    rmSync(archive, { force: true });
    // npm asks no registry for what it has in its own cache.
    await tool('npm', [
      'pack',
      `${name}@${version}`,
      '--prefer-offline',
      '--silent',
      '--pack-destination',
      folder,
    ]).catch((cause: unknown) => {
      throw new Error(`${name} ${version} could not be fetched by npm`, { cause });
    });
    checkIntegrity(readFileSync(archive), integrity, `${name} ${version}`);
  }
  rmSync(made, { recursive: true, force: true });
  mkdirSync(made);
  const wanted = ['package/bin/node', 'package/LICENSE'];
  await tool('tar', [
    '--extract',
    '--gzip',
    '--file',
    archive,
    '--directory',
    made,
    '--strip-components=1',
    ...wanted,
  ]);
  const program = join(made, 'node');
  await tool(`${lib}-strip`, ['--strip-all', '-o', program, join(made, 'bin/node')]);
  rmSync(join(made, 'bin'), { recursive: true });
  return { name, version, integrity, program, licence: join(made, 'LICENSE') };
}

/** @throws Error where the bytes are not those that were pinned */
export function checkIntegrity(bytes: Uint8Array, integrity: string, name: string): void {
  if (!/^sha512-[A-Za-z0-9+/]+={0,2}$/.test(integrity))
    throw new Error(`package-lock.json pins ${name} by no SHA-512: ${integrity}`);
  const found = integrityOf(bytes);
  if (found !== integrity)
    throw new Error(`${name} has the digest ${found}, and package-lock.json says ${integrity}`);
}

function integrityOf(bytes: Uint8Array): string {
  return `sha512-${createHash('sha512').update(bytes).digest('base64')}`;
}
