import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { dirname, join, resolve, sep } from 'node:path';
import { z } from 'zod';
import { parseCertificates } from '../wire/certificates.ts';
import { limits } from '../wire/limits.ts';
import { CliError, exit } from './exit.ts';
import type { CliIo } from './io.ts';
import { unreadableFor } from './read-file.ts';
import { replaceFile } from './write-file.ts';

/** Where the server is, who asks, and whom to trust. */
export interface ServerAccess {
  readonly server: URL;
  readonly token: string;
  /** The file with that token. */
  readonly tokenFile: string;
  /** PEM of the server's authority; null: the system's. */
  readonly ca: string | null;
  /** The file with that PEM. */
  readonly caFile: string | null;
  /** The file of `npm start` that names the server; null if something else does. */
  readonly startedBy: string | null;
}

export interface ServerFlags {
  readonly server?: string;
  readonly tokenFile?: string;
  readonly caFile?: string;
  readonly context?: string;
}

const entry = z.object({
  server: z.string().optional(),
  tokenFile: z.string().optional(),
  caFile: z.string().optional(),
});
type SavedContext = z.infer<typeof entry>;
const configuration = entry.extend({
  current: z.string().optional(),
  contexts: z.record(z.string(), entry).default({}),
});

/**
 * Looks for each part in the flags, then the environment, then `./.assay/cli.json`, then
 * `$XDG_CONFIG_HOME/assay/config.json` (which may hold named contexts). Paths in a file are relative to it.
 * @throws CliError naming what is missing or unreadable
 */
export function findServerAccess(flags: ServerFlags, io: CliIo): ServerAccess {
  const chosen = flags.context === undefined ? null : contextNamed(flags.context, io);
  const sources: SavedContext[] = chosen
    ? [flags, chosen]
    : [
        flags,
        present({
          server: io.env.ASSAY_SERVER,
          tokenFile: io.env.ASSAY_TOKEN_FILE,
          caFile: io.env.ASSAY_CA_FILE,
        }),
      ];
  const startFile = join(io.cwd, '.assay', 'cli.json');
  const complete = () => sources.some(({ server }) => server) && sources.some(({ tokenFile }) => tokenFile);
  const started = chosen || complete() ? null : folderEntry(io.cwd);
  if (!chosen && !complete()) sources.push(started ?? userEntry(io) ?? {});
  const pick = (part: keyof SavedContext) => sources.find((source) => source[part])?.[part];

  const server = pick('server');
  const tokenFile = pick('tokenFile');
  const caFile = pick('caFile');
  if (server === undefined)
    throw new CliError(
      'no server is known',
      'Run npm start in this folder, or name one with --server https://HOST:8444 or ASSAY_SERVER.',
    );
  if (tokenFile === undefined)
    throw new CliError(
      'no token is known',
      'Name the file that holds yours with --token-file or ASSAY_TOKEN_FILE.',
    );
  const startedBy = started !== null && server === started.server ? startFile : null;
  return {
    server: serverUrl(server),
    token: readToken(resolve(io.cwd, tokenFile)),
    tokenFile,
    ca: caFile === undefined ? null : readAuthority(resolve(io.cwd, caFile)),
    caFile: caFile ?? null,
    startedBy,
  };
}

function readToken(path: string): string {
  const token = readText(path, 'the token file', '--token-file').trim();
  const fault = tokenFault(token);
  if (fault === null) return token;
  throw new CliError(
    `the token file ${path} ${fault}`,
    'Name the file that holds yours with --token-file; somebody with the role admin can make a token:\n  assay token create --name NAME --role reader',
  );
}

/** Says nothing about its content, which may still be a secret. */
function tokenFault(token: string): string | null {
  if (token === '') return 'is empty';
  if (token.length > limits.apiToken)
    return `holds no token: it has ${token.length} characters, and a token has ${limits.apiToken} at most`;
  return /^[\x21-\x7e]+$/.test(token)
    ? null
    : 'holds no token: a token is one word of printable characters, without blanks or lines';
}

function readAuthority(path: string): string {
  const pem = readText(path, 'the CA file', '--ca-file');
  try {
    parseCertificates(pem);
    return pem;
  } catch (cause) {
    throw new CliError(
      `the CA file ${path} holds no certificate in PEM (-----BEGIN CERTIFICATE-----)`,
      'Copy tls/ca.crt out of the state folder of the server (/var/lib/assay/tls/ca.crt where nothing else is set), and name the copy with --ca-file or ASSAY_CA_FILE.',
      exit.error,
      cause,
    );
  }
}

/** The named contexts of the user's file. */
export interface Contexts {
  readonly contexts: readonly { readonly name: string; readonly server: string | null }[];
  readonly current: string | null;
}

export function readContexts(io: CliIo): Contexts {
  const path = userFile(io);
  const found = path === null ? null : readConfiguration(path);
  const contexts = Object.entries(found?.contexts ?? {}).map(([name, { server = null }]) => ({
    name,
    server,
  }));
  return { contexts, current: found?.current ?? null };
}

/** Writes down which context is used from now on. @throws CliError (usage) if there is none of that name */
export function useContext(name: string, io: CliIo): void {
  contextNamed(name, io);
  const path = userFile(io) ?? '';
  // Where a link leads elsewhere, the file there is the one that is kept.
  replaceFile(
    realpathSync(path),
    (text) => `${JSON.stringify({ ...z.looseObject({}).parse(JSON.parse(text)), current: name }, null, 2)}\n`,
  );
}

/** The source that names a server here with precedence over the context in use; null if there is none. */
export function findsElsewhere(io: CliIo): string | null {
  if (io.env.ASSAY_SERVER && io.env.ASSAY_TOKEN_FILE) return 'ASSAY_SERVER';
  const path = join(io.cwd, '.assay', 'cli.json');
  return existsSync(path) ? path : null;
}

function serverUrl(text: string): URL {
  const url = URL.parse(text);
  // A token never travels in the clear, not even on loopback: whoever takes the port would get it.
  if (url === null || url.protocol !== 'https:' || url.username || url.password)
    throw new CliError(
      `the server ${text} is not an https:// address`,
      'Write it like https://HOST:8444.',
      exit.usage,
    );
  return url;
}

function userFile(io: CliIo): string | null {
  const home = io.env.XDG_CONFIG_HOME || (io.env.HOME ? join(io.env.HOME, '.config') : null);
  return home === null ? null : join(home, 'assay', 'config.json');
}

function contextNamed(name: string, io: CliIo): SavedContext {
  const path = userFile(io);
  const found = path === null ? null : readConfiguration(path);
  const context = found !== null && Object.hasOwn(found.contexts, name) ? found.contexts[name] : undefined;
  if (context === undefined || path === null)
    throw new CliError(
      `there is no context ${name}`,
      `Contexts are kept in ${path ?? '$XDG_CONFIG_HOME/assay/config.json'}; it has ${Object.keys(found?.contexts ?? {}).join(', ') || 'none'}.`,
      exit.usage,
    );
  return besideFile(context, path);
}

function userEntry(io: CliIo): SavedContext | null {
  const path = userFile(io);
  const found = path === null ? null : readConfiguration(path);
  if (found === null || path === null) return null;
  return found.current === undefined ? besideFile(found, path) : contextNamed(found.current, io);
}

/** @throws CliError if it names a token that lies elsewhere */
function folderEntry(cwd: string): SavedContext | null {
  const path = join(cwd, '.assay', 'cli.json');
  const found = readConfiguration(path);
  if (found === null) return null;
  const entry = besideFile(found, path);
  // Attack: a folder that somebody else made names his server, and your token for it.
  if (entry.tokenFile !== undefined && !isBelow(entry.tokenFile, dirname(path)))
    throw new CliError(
      `${path} names a token outside of its folder, which may not be for the server that it names`,
      'Name server and token with --server and --token-file, or another context with --context.',
    );
  return entry;
}

/** Wherever links lead; a file that cannot be found is read in vain, and that is reported. */
function isBelow(file: string, folder: string): boolean {
  try {
    return realpathSync(file).startsWith(join(realpathSync(folder), sep));
  } catch {
    return true;
  }
}

function readConfiguration(path: string): z.infer<typeof configuration> | null {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return null;
    throw new CliError(`${path} ${unreadableFor(cause)}`, 'See whether you may read it.', exit.error, cause);
  }
  try {
    return configuration.parse(JSON.parse(text));
  } catch (cause) {
    const how =
      'It is JSON with the members server, tokenFile and caFile, or contexts with these by name: correct it, or move it away.';
    throw new CliError(`${path} is not a configuration of assay`, how, exit.error, cause);
  }
}

function besideFile({ server, tokenFile, caFile }: SavedContext, path: string): SavedContext {
  const beside = (file: string | undefined) =>
    file === undefined ? undefined : resolve(dirname(path), file);
  return present({ server, tokenFile: beside(tokenFile), caFile: beside(caFile) });
}

function present(parts: Record<keyof SavedContext, string | undefined>): SavedContext {
  const { server, tokenFile, caFile } = parts;
  return { ...(server && { server }), ...(tokenFile && { tokenFile }), ...(caFile && { caFile }) };
}

function readText(path: string, what: string, option: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new CliError(
      `${what} ${path} ${unreadableFor(cause)}`,
      `Name another one with ${option}.`,
      exit.error,
      cause,
    );
  }
}
