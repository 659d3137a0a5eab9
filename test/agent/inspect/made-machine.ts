import { mkdir, mkdtemp, open, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { run } from 'node-tpm2/run';
import { parseLuksHeader } from '../../../attest-server/wire/luks-header.ts';

const bounds = { timeoutMs: 60_000, maxOutputBytes: 1 << 20 };
const passphrase = Buffer.from('correct horse');

/** cryptsetup on a file, with a derivation of keys that takes no time. */
export async function cryptsetup(...args: readonly string[]): Promise<void> {
  await run('cryptsetup', ['--batch-mode', ...args, '--key-file', '-'], { ...bounds, input: passphrase });
}

export const quick = ['--pbkdf', 'pbkdf2', '--pbkdf-force-iterations', '1000'];

/** A file with a new volume, made by cryptsetup. */
export async function luksImage(
  path: string,
  { type = 'luks2', args = [] }: { readonly type?: string; readonly args?: readonly string[] } = {},
): Promise<string> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, '');
  await truncate(path, 32 * 1024 * 1024);
  const costs = type === 'luks1' ? ['--pbkdf-force-iterations', '1000'] : quick;
  await cryptsetup('luksFormat', '--type', type, ...costs, ...args, path);
  return path;
}

/** One keyslot more, with the same passphrase, which cryptsetup reads from its standard input twice. */
export async function addKey(path: string, folder: string): Promise<void> {
  const key = join(folder, 'another-key');
  await writeFile(key, 'another', { mode: 0o600 });
  await cryptsetup('luksAddKey', ...quick, path, key);
  await rm(key);
}

/** Bytes of a file changed in place. */
export async function overwrite(path: string, at: number, bytes: Uint8Array): Promise<void> {
  const file = await open(path, 'r+');
  await file.write(bytes, 0, bytes.length, at);
  await file.close();
}

/** What the parser says of a file that it may read wherever it wants, and where it wanted to read. */
export async function parsed(path: string, isVolume = false) {
  return parsedBytes(await readFile(path), isVolume);
}

export function parsedBytes(bytes: Buffer, isVolume = false) {
  const chunks: Parameters<typeof parseLuksHeader>[0][number][] = [];
  for (let round = 0; round < 8; round++) {
    const { header, faults, wants } = parseLuksHeader(chunks, isVolume);
    if (wants.length === 0) return { header, faults, read: chunks.map(({ at, asked }) => [at, at + asked]) };
    for (const { at, asked } of wants) chunks.push({ at, asked, bytes: bytes.subarray(at, at + asked) });
  }
  throw new Error('the parser asks without an end');
}

/** A folder that stands for `/`: block devices in sysfs, and files in place of their nodes. */
export class MadeMachine implements AsyncDisposable {
  readonly root: string;

  private constructor(root: string) {
    this.root = root;
  }

  static async make(): Promise<MadeMachine> {
    const made = new MadeMachine(await mkdtemp(join(tmpdir(), 'assay-inspect-')));
    await made.put('proc/swaps', 'Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n');
    await made.put('proc/keys', '');
    await mkdir(join(made.root, 'sys/class/block'), { recursive: true });
    return made;
  }

  at(path: string): string {
    return join(this.root, path);
  }

  async put(path: string, content: string | Uint8Array, mode = 0o644): Promise<void> {
    await mkdir(dirname(this.at(path)), { recursive: true });
    await writeFile(this.at(path), content, { mode });
  }

  /** A device; its node is a file that is put there by somebody else. */
  async device(name: string, device: string, slaves: readonly string[] = []): Promise<void> {
    await this.put(`sys/class/block/${name}/dev`, `${device}\n`);
    await this.put(`sys/class/block/${name}/size`, '65536\n');
    for (const slave of slaves) await this.put(`sys/class/block/${name}/slaves/${slave}/dev`, '');
  }

  /** A mapping that is live, by its UUID; behind it lies a file of zeros. */
  async mapping(name: string, device: string, uuid: string, slaves: readonly string[], dmName = name) {
    await this.device(name, device, slaves);
    await this.put(`sys/class/block/${name}/dm/name`, `${dmName}\n`);
    await this.put(`sys/class/block/${name}/dm/uuid`, `${uuid}\n`);
    await this.put(`sys/class/block/${name}/dm/suspended`, '0\n');
    await this.put(`dev/${name}`, Buffer.alloc(65_536));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.root, { recursive: true });
  }
}
