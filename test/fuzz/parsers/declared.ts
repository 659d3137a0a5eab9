import { declaredNamespace } from '../../../attest-server/formats/declared.ts';
import { manifestText, parseManifest } from '../../../attest-server/verify/declared/manifest.ts';
import {
  isSignedByMinisign,
  parseMinisignKey,
  parseMinisignSignature,
} from '../../../attest-server/verify/declared/minisign.ts';
import { parseSigners } from '../../../attest-server/verify/declared/signers.ts';
import {
  isSignedBySsh,
  parseSshKey,
  parseSshSignature,
} from '../../../attest-server/verify/declared/ssh-signature.ts';
import type { FuzzedParser } from '../fuzzed-parser.ts';
import { recordings } from '../recordings.ts';
import { isBeyond, isRejection } from './refusals.ts';

const seeds = 'test/fuzz/seeds/declared';
const room = 'attest-server/verify/declared';
const message = Buffer.from('what nobody signed');
const blobOf = (line: Buffer) => Buffer.from(line.toString('latin1').split(' ')[1] ?? '', 'base64');

export const declaredManifest: FuzzedParser = {
  sources: [`${room}/manifest.ts`],
  form: { kind: 'text', words: ['assay declared 1', 'serial ', 'restore ', '  references/', '../'] },
  most: 16 * 1024,
  seeds: () => recordings(`${seeds}/manifest`),
  parse: (bytes) => {
    const manifest = parseManifest(bytes);
    if (manifestText(manifest) !== bytes.toString('latin1'))
      throw new Error('a manifest is written in two ways');
    if (manifest.files.some(({ path }) => path.split('/').includes('..'))) throw new Error('a path leads up');
    return manifest.files.length;
  },
  isDeclared: isRejection,
  isPastHeader: (error) => isRejection(error) && error.field !== 'line 1',
};

/** A signature without its armour, which is base64. */
export const sshSignature: FuzzedParser = {
  sources: [`${room}/ssh-signature.ts`],
  form: { kind: 'big-endian' },
  most: 4 * 1024,
  seeds: () =>
    recordings(`${seeds}/*.sig`).map((file) =>
      Buffer.from(file.toString('latin1').replaceAll(/-----.*-----|\s/g, ''), 'base64'),
    ),
  parse: (bytes) => {
    const armoured = `-----BEGIN SSH SIGNATURE-----\n${bytes.toString('base64')}\n-----END SSH SIGNATURE-----\n`;
    const given = parseSshSignature(Buffer.from(armoured));
    for (const key of recordings(`${seeds}/{ed25519,ecdsa-*,rsa}.pub`))
      if (
        isSignedBySsh(
          message,
          { ...given, publicKey: blobOf(key) },
          parseSshKey(blobOf(key)),
          declaredNamespace,
        )
      )
        throw new Error('a key signed what nobody signed');
    return given.algorithm;
  },
  isDeclared: isRejection,
  isPastHeader: isBeyond(10),
};

export const sshKey: FuzzedParser = {
  sources: [`${room}/ssh-signature.ts`],
  form: { kind: 'big-endian' },
  most: 2 * 1024,
  seeds: () => recordings(`${seeds}/{ed25519,ecdsa-*,rsa}.pub`).map(blobOf),
  parse: (bytes) => parseSshKey(bytes).type,
  isDeclared: isRejection,
  isPastHeader: isBeyond(4),
};

export const minisignSignature: FuzzedParser = {
  sources: [`${room}/minisign.ts`],
  form: { kind: 'text', words: ['untrusted comment: ', 'trusted comment: '] },
  most: 2 * 1024,
  seeds: () => recordings(`${seeds}/*.minisig`),
  parse: (bytes) => {
    const given = parseMinisignSignature(bytes);
    const [file = Buffer.alloc(0)] = recordings(`${seeds}/minisign.pub`);
    const key = parseMinisignKey(file.toString('latin1').split('\n')[1] ?? '');
    if (isSignedByMinisign(message, { ...given, id: key.id }, key))
      throw new Error('a key signed what nobody signed');
    return given.trustedComment;
  },
  isDeclared: isRejection,
  isPastHeader: (error) => isRejection(error) && error.field !== 'signature',
};

/** Keys of the settings, and files of them. */
export const signers: FuzzedParser = {
  sources: [`${room}/signers.ts`, `${room}/ssh-signature.ts`, `${room}/minisign.ts`],
  form: { kind: 'text' },
  most: 4 * 1024,
  seeds: () => recordings(`${seeds}/*.pub`),
  parse: (bytes) =>
    parseSigners(bytes.toString('latin1')).map(({ name }) => {
      // It stands in the log as it is.
      if (!/^[\x21-\x7e]{1,64}$/.test(name)) throw new Error('a key has a name that is none');
      return name;
    }),
  isDeclared: isRejection,
  isPastHeader: isBeyond(4),
};
