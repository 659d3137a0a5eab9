import { readdir, stat } from 'node:fs/promises';
import { posix } from 'node:path';
import { resolveBelow } from './below-root.ts';
import { readBounded } from './read-bounded.ts';
import { portBehind, portOf, type SshPort } from './ssh-ports.ts';

/** Below the root; some systems have the one of the vendor below /usr. */
const sshdConfigs = ['etc/ssh/sshd_config', 'usr/etc/ssh/sshd_config'];
/** The most bytes of one file. */
const mostBytes = 128 * 1024;
const mostFiles = 128;
/** As sshd has it (SERVCONF_MAX_DEPTH). */
const deepest = 16;
const mostEntries = 4096;

/**
 * The ports in sshd's configuration with all that it includes; empty if there is none. sshd adds up every `Port` and
 * every port of a `ListenAddress`; both are allowed under `Match all` alone.
 * @throws Error if a file may not be read, is none of sshd's, or there are too many
 */
export async function readSshdPorts(sysroot: string, signal?: AbortSignal): Promise<readonly SshPort[]> {
  const ports: SshPort[] = [];
  let files = 0;
  const read = async (path: string, depth: number): Promise<void> => {
    if (depth > deepest) throw new Error(`/${path} is included more than ${deepest} deep`);
    if (++files > mostFiles) throw new Error(`sshd’s configuration has more than ${mostFiles} files`);
    const place = await resolveBelow(sysroot, path);
    const bytes = await readBounded(place, mostBytes, signal);
    if (bytes === null) {
      if (place === posix.join(sysroot, path)) return;
      throw new Error(`/${path} leads nowhere`);
    }
    const { words, includes } = parseSshdConfig(bytes.toString('utf8'), `/${path}`);
    for (const port of words) ports.push({ port, source: `/${path}` });
    for (const pattern of includes)
      for (const included of await matching(sysroot, pattern)) await read(included, depth + 1);
  };
  for (const path of sshdConfigs) {
    await checkIsShown(sysroot, posix.dirname(path));
    await read(path, 0);
  }
  return ports;
}

/** systemd hides a folder behind an empty one without permissions, which root can still read. */
async function checkIsShown(sysroot: string, folder: string): Promise<void> {
  const found = await stat(await resolveBelow(sysroot, folder)).catch(notThere);
  if (found !== null && (found.mode & 0o777) === 0) throw new Error(`/${folder} is hidden from the agent`);
}

function notThere(error: unknown): null {
  const code = error instanceof Error && 'code' in error ? error.code : '';
  if (code === 'ENOENT' || code === 'ENOTDIR') return null;
  throw error;
}

/**
 * One file of sshd's configuration. @param path for the error
 * @throws Error naming the line
 */
export function parseSshdConfig(
  text: string,
  path: string,
): { readonly words: readonly number[]; readonly includes: readonly string[] } {
  if (text.includes('\0')) throw new Error(`${path} is no text`);
  const words: number[] = [];
  const includes: string[] = [];
  let applies = true;
  for (const [index, line] of text.split('\n').entries()) {
    const [keyword = '', ...given] = wordsOf(line);
    const name = keyword.toLowerCase();
    if (name === 'match') applies = given.length === 1 && given[0]?.toLowerCase() === 'all';
    if (name === 'include' && applies) includes.push(...given);
    if (!applies || (name !== 'port' && name !== 'listenaddress')) continue;
    const [first] = given;
    const word = name === 'port' ? first : portBehind(first ?? '');
    // An address without a port is one of every `Port`.
    if (name === 'listenaddress' && first !== undefined && word === undefined) continue;
    const port = portOf(word ?? '');
    if (port === null) throw new Error(`${path}: line ${index + 1}: ${name} names no port`);
    words.push(port);
  }
  return { words, includes };
}

/** A keyword and its arguments, as sshd splits them: at blanks and one `=`, with quotes, up to a comment. */
function wordsOf(line: string): readonly string[] {
  const text = line.trim();
  if (text === '' || text.startsWith('#')) return [];
  const keyword = /^[^\s="]+/.exec(text)?.[0] ?? '';
  const rest = text.slice(keyword.length).replace(/^\s*=?\s*/, '');
  const given: string[] = [];
  for (const [, quoted, single, plain] of rest.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)) {
    if (plain?.startsWith('#')) break;
    given.push(quoted ?? single ?? plain ?? '');
  }
  return [keyword, ...given];
}

/** Files that an Include names, in the order of their names; a relative one is in /etc/ssh. */
async function matching(sysroot: string, pattern: string): Promise<readonly string[]> {
  const whole = posix.normalize(pattern.startsWith('/') ? pattern : `/etc/ssh/${pattern}`);
  let found: readonly string[] = [''];
  for (const step of whole.split('/').filter((part) => part !== '')) {
    if (!/[*?[]/.test(step)) {
      found = found.map((folder) => posix.join(folder, step));
      continue;
    }
    const next: string[] = [];
    for (const folder of found)
      for (const name of await namesIn(sysroot, folder))
        if (!name.startsWith('.') && matchesGlob(step, name)) next.push(posix.join(folder, name));
    found = next.sort();
    if (found.length > mostFiles) throw new Error(`Include ${pattern} names more than ${mostFiles} files`);
  }
  return found;
}

async function namesIn(sysroot: string, folder: string): Promise<readonly string[]> {
  const names = (await readdir(await resolveBelow(sysroot, folder)).catch(notThere)) ?? [];
  if (names.length > mostEntries) throw new Error(`/${folder} has more than ${mostEntries} entries`);
  return names;
}

/** One name against one glob with `*` and `?`; classes in brackets are taken for any character, which finds more. */
function matchesGlob(glob: string, name: string): boolean {
  const simple = glob.replace(/\[[^\]]*\]/g, '?');
  let [at, from, star, kept] = [0, 0, -1, 0];
  while (from < name.length) {
    const wanted = simple[at];
    if (wanted === '*') {
      star = at++;
      kept = from;
    } else if (wanted === '?' || wanted === name[from]) {
      at++;
      from++;
    } else if (star >= 0) {
      at = star + 1;
      from = ++kept;
    } else return false;
  }
  while (simple[at] === '*') at++;
  return at === simple.length;
}
