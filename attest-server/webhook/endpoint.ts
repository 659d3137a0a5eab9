import { X509Certificate } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';

export interface WebhookConfig {
  readonly url: string;
  readonly secretFile: string;
  /** PEM file of the authorities for the receiver's certificate; null: those that Node.js trusts. */
  readonly caFile: string | null;
}

/** The receiver's address, the secrets that sign messages, and the authorities for its certificate. */
export interface Endpoint {
  readonly url: URL;
  /** Newest first. */
  readonly secrets: readonly [Buffer, ...Buffer[]];
  readonly authorities: readonly string[] | null;
}

const mostBytes = 1024 * 1024;
/** Secrets in use at a time: while they are replaced, each signs. */
const mostSecrets = 4;
const secretBytes = { least: 24, most: 64 };

/**
 * Reads the files. A secret is `whsec_` followed by base64; a file may have several, one a line, newest first.
 * @throws Error that names the setting and the file, but nothing of its content
 */
export function readEndpoint({ url, secretFile, caFile }: WebhookConfig): Endpoint {
  const lines = readSmall(secretFile, 'webhook.secretFile', true)
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  const [first, ...others] = lines.map((line) => secretOf(line, secretFile));
  if (first === undefined) throw fault('webhook.secretFile', secretFile, 'is empty: write a secret into it');
  if (others.length >= mostSecrets)
    throw fault('webhook.secretFile', secretFile, `has more than ${mostSecrets} secrets`);
  return {
    url: new URL(url),
    secrets: [first, ...others],
    authorities: caFile === null ? null : authoritiesIn(caFile),
  };
}

function secretOf(line: string, file: string): Buffer {
  const text = /^whsec_([A-Za-z0-9+/]+={0,2})$/.exec(line)?.[1];
  const bytes = Buffer.from(text ?? '', 'base64');
  if (text === undefined || bytes.length < secretBytes.least || bytes.length > secretBytes.most)
    throw fault(
      'webhook.secretFile',
      file,
      `has a line that is no secret: whsec_ and base64 of ${secretBytes.least} to ${secretBytes.most} random bytes`,
    );
  return bytes;
}

function authoritiesIn(file: string): readonly string[] {
  const text = readSmall(file, 'webhook.caFile', false);
  const found = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  if (found.length === 0) throw fault('webhook.caFile', file, 'has no certificate (PEM)');
  for (const pem of found)
    try {
      new X509Certificate(pem);
    } catch (cause) {
      throw fault('webhook.caFile', file, 'has a certificate that cannot be read', cause);
    }
  return found;
}

/** Reads a small file. A mounted Kubernetes Secret is a link owned by root: it only must not be readable by everybody. */
function readSmall(path: string, setting: string, isSecret: boolean): string {
  let file: number;
  try {
    // O_NONBLOCK: a pipe that waits under this name must not hold us.
    file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (cause) {
    throw fault(setting, path, 'cannot be opened', cause);
  }
  try {
    const found = fstatSync(file);
    if (!found.isFile()) throw fault(setting, path, 'is not a file');
    if (found.size > mostBytes) throw fault(setting, path, 'is too long');
    if (isSecret && (found.mode & 0o007) !== 0)
      throw fault(setting, path, `is open to everybody: chmod o= ${path}`);
    return readFileSync(file, 'utf8');
  } finally {
    closeSync(file);
  }
}

function fault(setting: string, path: string, text: string, cause?: unknown): Error {
  const why = cause instanceof Error && 'code' in cause ? ` (${String(cause.code)})` : '';
  return new Error(`${setting}: ${path} ${text}${why}`, { cause });
}
