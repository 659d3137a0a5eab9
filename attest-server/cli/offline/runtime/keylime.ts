import { z } from 'zod';
import type { ListedFile } from '../../../formats/packed-list.ts';
import { hasPrototype } from '../../../wire/prototype-key.ts';
import { Rejection } from '../../../wire/rejection.ts';
import { inOurWords } from '../../../wire/shape-fault.ts';

/** A runtime policy of Keylime, or an older allow-list. */
export interface KeylimePolicy {
  readonly files: readonly ListedFile[];
  readonly keyrings: readonly { readonly keyring: string; readonly digest: string }[];
  /** Paths that it leaves out, as it writes them: regular expressions that match a path's start. */
  readonly excludes: readonly string[];
  /** The parts of it that are passed over, a line each, for people. */
  readonly notes: readonly string[];
}

/**
 * JSON as keylime_create_policy writes it (`digests`; `hashes` before Keylime 6.5), or lines of digest and path as sha256sum does.
 * @throws Rejection `malformed`: its field is the member, or `line N`
 */
export function parseKeylime(text: string): KeylimePolicy {
  return /^\s*\{/.test(text) ? parsePolicy(text) : parseLines(text);
}

/**
 * The same paths as a glob of a policy file, where a regular expression is plain enough to tell; else null. Keylime asks
 * whether the start of a path matches.
 */
export function globOfExclude(expression: string): string | null {
  const found = /^\^?((?:[A-Za-z0-9_/@:,=~-]|\\[.\-+_ ])+)(\.\*|\(\/\.\*\)\?|\$)?\$?$/.exec(expression);
  if (found === null) return null;
  const [, literal = '', end] = found;
  return `${literal.replaceAll('\\', '')}${end === '$' ? '' : '*'}`;
}

const hex = z.string().regex(/^([0-9a-f]{40}|[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128})$/i, 'not a digest');
const digests = z.record(z.string(), z.array(hex));
const policy = z.looseObject({
  digests: digests.optional(),
  hashes: digests.optional(),
  excludes: z.array(z.string()).nullable().optional(),
  exclude: z.array(z.string()).nullable().optional(),
  keyrings: digests.optional(),
  'ima-buf': digests.optional(),
  'verification-keys': z.unknown().optional(),
});

function parsePolicy(text: string): KeylimePolicy {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new Rejection('malformed', 'it is not JSON', { field: 'file', cause });
  }
  if (hasPrototype(value)) throw new Rejection('malformed', 'it names __proto__', { field: 'file' });
  const result = policy.safeParse(value, inOurWords);
  if (!result.success) {
    const [issue] = result.error.issues;
    throw new Rejection('malformed', issue?.message ?? 'no policy', {
      field: issue?.path.join('.') || 'file',
    });
  }
  const { keyrings = {}, excludes, exclude } = result.data;
  const named = result.data.digests ?? result.data.hashes;
  if (named === undefined) throw new Rejection('malformed', 'it has no member digests', { field: 'digests' });
  const files = Object.entries(named).flatMap(([path, each]) =>
    each.map((digest) => listed(path, digest, `digests.${path}`)),
  );
  return {
    files: files.filter(isFile),
    keyrings: Object.entries(keyrings).flatMap(([keyring, each]) =>
      each.map((digest) => ({ keyring, digest: digest.toLowerCase() })),
    ),
    excludes: (excludes ?? exclude ?? []).filter((each) => each !== ''),
    notes: [
      ...(Object.keys(result.data['ima-buf'] ?? {}).length > 0
        ? ['ima-buf: the rules of the policy say which measured buffers are good']
        : []),
      ...(result.data['verification-keys']
        ? ['verification-keys: put keys that sign files under runtime.signers of the policy']
        : []),
    ],
  };
}

function parseLines(text: string): KeylimePolicy {
  const files = text.split('\n').flatMap((line, index) => {
    if (/^\s*(#|$)/.test(line)) return [];
    // sha256sum writes a backslash first where it writes `\n` for a line break within a name.
    const found = /^(\\?)([0-9a-fA-F]+)\s+\*?(\S.*)$/.exec(line.replace(/\r$/, ''));
    const [, escaped = '', digest = '', path = ''] = found ?? [];
    const field = `line ${index + 1}`;
    if (found === null || !hex.safeParse(digest).success)
      throw new Rejection('malformed', 'no line of a digest and a path', { field });
    return [listed(escaped === '' ? path : unescaped(path), digest, field)];
  });
  return { files: files.filter(isFile), keyrings: [], excludes: [], notes: [] };
}

function unescaped(path: string): string {
  return path.replace(/\\([\\nr])/g, (_, letter: string) => ({ n: '\n', r: '\r' })[letter] ?? '\\');
}

function listed(path: string, digest: string, field: string): ListedFile {
  if (path === '' || path.includes('\0') || Buffer.byteLength(path) > 4096)
    throw new Rejection('malformed', 'no path', { field });
  return { digest: Buffer.from(digest, 'hex'), path, package: null };
}

/** The first entry of each list is no file: the boot is judged by the quoted PCRs. */
function isFile({ path }: ListedFile): boolean {
  return path !== 'boot_aggregate';
}
