import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TrustRoots, trustRoots } from '../verify/endorsement-chain.ts';
import { type Certificate, parseCertificate } from '../verify/x509/certificate.ts';

/** The folder of the authorities that come with the program (their sources are in SOURCES.md). */
const builtinRoots = import.meta.dirname;

/** A certificate and the file that it is in. */
export interface RootFile {
  readonly file: string;
  readonly certificate: Certificate;
}

/** The content of a folder: `*.pem` are roots, `intermediates/*.pem` are authorities below them. */
export interface RootsFolder {
  readonly roots: readonly RootFile[];
  readonly intermediates: readonly RootFile[];
}

/**
 * Reads a folder of authorities.
 * @param name a folder, or `builtin` for those that come with the program
 * @throws Error for a folder that cannot be read or holds no root, and for a certificate that cannot be parsed
 */
export function readRootsFolder(name: string): RootsFolder {
  const dir = name === 'builtin' ? builtinRoots : name;
  const roots = filesIn(dir).flatMap((file) => certificatesIn(dir, file));
  if (roots.length === 0) throw new Error(`${dir} holds no certificate in a *.pem file: name another folder`);
  const below = join(dir, 'intermediates');
  const names = readdirSync(dir).includes('intermediates') ? filesIn(below) : [];
  return { roots, intermediates: names.flatMap((file) => certificatesIn(below, file)) };
}

/** The authorities of all these folders; without a folder no endorsement is trusted. */
export function readTrustRoots(names: readonly string[]): TrustRoots {
  const folders = names.map(readRootsFolder);
  const certificates = (files: readonly RootFile[]) => files.map(({ certificate }) => certificate);
  return trustRoots(
    folders.flatMap(({ roots }) => certificates(roots)),
    folders.flatMap(({ intermediates }) => certificates(intermediates)),
  );
}

function filesIn(dir: string): readonly string[] {
  try {
    return readdirSync(dir)
      .filter((name) => name.endsWith('.pem'))
      .sort();
  } catch (cause) {
    throw new Error(`${dir} is not a folder that can be read`, { cause });
  }
}

const pem = /-----BEGIN CERTIFICATE-----([\s\S]+?)-----END CERTIFICATE-----/g;

function certificatesIn(dir: string, file: string): readonly RootFile[] {
  const path = join(dir, file);
  return [...readFileSync(path, 'latin1').matchAll(pem)].map(([, base64 = '']) => ({
    file,
    certificate: parseIn(path, base64),
  }));
}

function parseIn(path: string, base64: string): Certificate {
  try {
    return parseCertificate(Buffer.from(base64, 'base64'), 'certificate');
  } catch (cause) {
    throw new Error(`${path}: ${cause instanceof Error ? cause.message : cause}`, { cause });
  }
}
