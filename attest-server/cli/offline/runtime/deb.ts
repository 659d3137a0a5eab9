import { createReadStream } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { start, startError } from 'node-tpm2/run';
import { linkDigest } from '../../../formats/link-digest.ts';
import { mergedUsr } from '../../../formats/merged-usr.ts';
import type { ListedFile } from '../../../formats/packed-list.ts';
import { Rejection } from '../../../wire/rejection.ts';
import { readTar } from './tar.ts';

/**
 * The files and symbolic links of a Debian package (deb(5)), each with SHA-256: the package itself carries MD5 alone.
 * @throws Rejection `malformed`, `too_large`; ToolError if `xz` is needed and not installed
 */
export async function* readDeb(path: string): AsyncGenerator<ListedFile> {
  const members = await readMembers(path);
  const name = await packageOf(path, members);
  const digests = new Map<string, Buffer>();
  for await (const entry of readTar(unpacked(path, memberNamed(members, 'data.tar')))) {
    if ('target' in entry) {
      yield { digest: linkDigest(entry.target), path: mergedUsr(entry.path), package: name };
      continue;
    }
    const digest = 'digest' in entry ? entry.digest : digests.get(entry.linkTo);
    if (digest === undefined)
      throw new Rejection('malformed', `${entry.path} is a link to a file that is not before it`, {
        field: 'data.tar',
      });
    digests.set(entry.path, digest);
    yield { digest, path: mergedUsr(entry.path), package: name };
  }
}

interface ArMember {
  readonly name: string;
  readonly at: number;
  readonly size: number;
}

const magic = '!<arch>\n';
const headerSize = 60;
const mostMembers = 16;
const mostControlBytes = 1024 * 1024;

/** The members of an archive of ar (ar(5)), as far as a package needs them. */
async function readMembers(path: string): Promise<readonly ArMember[]> {
  await using file = await open(path);
  const { size: whole } = await file.stat();
  if ((await bytesAt(file, 0, magic.length, whole)).toString('latin1') !== magic)
    throw malformed('it is no archive of ar', 'magic', 0);
  const members: ArMember[] = [];
  for (let at = magic.length; at < whole; ) {
    if (members.length === mostMembers) throw malformed(`more than ${mostMembers} members`, 'name', at);
    const header = (await bytesAt(file, at, headerSize, whole)).toString('latin1');
    const name = header.slice(0, 16).replace(/\/? *$/, '');
    const size = /^([0-9]{1,10}) *$/.exec(header.slice(48, 58))?.[1];
    if (size === undefined || header.slice(58) !== '`\n') throw malformed('no header', 'size', at);
    const begin = at + headerSize;
    if (begin + Number(size) > whole) throw malformed('a member is longer than the file', 'size', at);
    members.push({ name, at: begin, size: Number(size) });
    at = begin + Number(size) + (Number(size) % 2);
  }
  if (members[0]?.name !== 'debian-binary')
    throw malformed('it does not begin with debian-binary', 'name', magic.length);
  return members;
}

function memberNamed(members: readonly ArMember[], name: string): ArMember {
  const found = members.find((member) => member.name === name || member.name.startsWith(`${name}.`));
  if (found === undefined) throw malformed(`it has no ${name}`, 'name', magic.length);
  return found;
}

/** Name and version, as dpkg calls them. */
async function packageOf(path: string, members: readonly ArMember[]): Promise<string> {
  for await (const entry of readTar(unpacked(path, memberNamed(members, 'control.tar')), {
    keepUpTo: mostControlBytes,
  })) {
    if (entry.path !== '/control' || !('text' in entry) || entry.text === null) continue;
    const control = entry.text.toString('utf8');
    const [name, version] = ['Package', 'Version'].map(
      (field) => new RegExp(`^${field}:[ \\t]*(\\S+)[ \\t]*$`, 'mi').exec(control)?.[1],
    );
    if (name === undefined || version === undefined)
      throw malformed('it names no package and version', 'control', 0);
    return `${name} ${version}`;
  }
  throw malformed('it has no file control', 'control.tar', 0);
}

/** The bytes of a member, unpacked as its name says. */
function unpacked(path: string, { name, at, size }: ArMember): AsyncIterable<Buffer> {
  if (size === 0) throw malformed(`${name} is empty`, 'size', at);
  const packed = createReadStream(path, { start: at, end: at + size - 1 });
  switch (name.split('.')[2] ?? '') {
    case '':
      return packed;
    case 'gz':
      return through(packed, createGunzip(), name);
    case 'zst':
      return through(packed, createZstdDecompress(), name);
    case 'xz':
      return throughXz(packed, name);
    default:
      throw malformed(`${name} is packed in a way that is not known here (gz, xz, zst are)`, 'name', at);
  }
}

async function* through(
  packed: NodeJS.ReadableStream,
  unpack: NodeJS.ReadWriteStream,
  name: string,
): AsyncGenerator<Buffer> {
  const done = pipeline(packed, unpack);
  // Told by the loop below, which ends in the same error.
  done.catch(() => {});
  try {
    for await (const chunk of unpack) yield Buffer.from(chunk);
    await done;
  } catch (cause) {
    throw new Rejection('malformed', `${name} cannot be unpacked`, { field: name, cause });
  }
}

/** Node unpacks no xz. */
async function* throughXz(packed: NodeJS.ReadableStream, name: string): AsyncGenerator<Buffer> {
  const child = start('xz', ['--decompress', '--stdout', '--memlimit-decompress=1GiB'], { stdio: 'pipe' });
  const { stdin, stdout } = child;
  if (stdin === null || stdout === null) throw new Error('xz has no pipes');
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', (cause) => reject(startError('xz', cause)));
    child.once('close', resolve);
  });
  // It may end before it has read all; its exit says whether that is a fault.
  const fed = pipeline(packed, stdin).catch(() => {});
  ended.catch(() => {});
  child.stderr?.resume();
  try {
    for await (const chunk of stdout) yield chunk;
    const code = await ended;
    if (code !== 0) throw new Rejection('malformed', `${name} cannot be unpacked`, { field: name });
  } finally {
    child.kill('SIGKILL');
    await fed;
  }
}

async function bytesAt(file: FileHandle, at: number, count: number, whole: number): Promise<Buffer> {
  if (at + count > whole) throw malformed('it ends early', 'header', at);
  const bytes = Buffer.alloc(count);
  const { bytesRead } = await file.read(bytes, 0, count, at);
  if (bytesRead < count) throw malformed('it ends early', 'header', at);
  return bytes;
}

function malformed(what: string, field: string, offset: number): Rejection {
  return new Rejection('malformed', `no Debian package: ${what}`, { field, offset });
}
